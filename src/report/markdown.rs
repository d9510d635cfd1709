//! The page for terminals, pull requests and wikis: GitHub-flavoured Markdown.

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, escape_formatter};

use super::error::ReportError;
use super::html::url_encoded;
use super::page::Page;

/// Fills in `summary.md`. Everything that comes from an experiment is escaped.
pub fn render(page: &Page) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
    environment.set_formatter(|out, state, value| match state.auto_escape() {
        AutoEscape::Custom(_) if !value.is_safe() => {
            if !(value.is_undefined() || value.is_none()) {
                out.write_str(&escape(&value.to_string()))?;
            }
            Ok(())
        }
        AutoEscape::Custom(_) => Ok(out.write_str(&value.to_string())?),
        _ => escape_formatter(out, state, value),
    });
    environment.add_filter("urlencode", |text: String| Value::from_safe_string(url_encoded(&text)));
    environment.add_template("summary.md", include_str!("templates/summary.md"))?;
    // The engine drops the newline at the end of a template.
    Ok(environment.get_template("summary.md")?.render(Serde(page))? + "\n")
}

/// Text that Markdown shows as it is, in a table cell too.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_markup() {
        assert_eq!(escape("a|b<script>_x_\n[y](z)"), "a\\|b\\<script\\>\\_x\\_ \\[y\\](z)");
    }
}
