//! The page for browsers: one file that needs nothing beside it.

use std::fmt::Write;

use minijinja::Environment;
use minijinja::value::{Serde, Value};
use serde::Serialize;

use super::error::ReportError;
use super::page::Page;
use super::plots::style::{dark_colors, hex};

/// Fills in `index.html`. Everything that comes from an experiment is escaped.
pub fn render(page: &Page) -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct View<'a> {
        #[serde(flatten)]
        page: &'a Page,
        style: &'static str,
        script: &'static str,
        dark_plots: String,
    }
    let mut environment = Environment::new();
    // A name that ends with .html turns escaping on.
    environment.add_template("index.html", include_str!("templates/index.html"))?;
    environment.add_filter("urlencode", |text: String| url_encoded(&text));
    environment.add_filter("labelled", labelled);
    let view = View {
        page,
        style: include_str!("templates/style.css"),
        script: include_str!("templates/sort.js"),
        dark_plots: dark_plots(),
    };
    // The engine drops the newline at the end of a template.
    Ok(environment.get_template("index.html")?.render(Serde(view))? + "\n")
}

/// An image with a role and a name for those who cannot see it.
fn labelled(svg: String, title: String) -> Value {
    let open = format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(&title));
    Value::from_safe_string(svg.replacen("<svg ", &open, 1))
}

/// Rules that repaint the plots on a dark page: a style sheet outweighs the attributes of an SVG.
fn dark_plots() -> String {
    let (neutrals, series) = dark_colors();
    let mut css = "@media (prefers-color-scheme: dark) {\n".to_owned();
    for (scope, colors) in [("figure svg", neutrals), (".series svg", series)] {
        for (light, dark) in colors {
            let (light, dark) = (hex(light), hex(dark));
            let _ = writeln!(
                css,
                "{scope} [fill=\"{light}\"]{{fill:{dark}}}{scope} [stroke=\"{light}\"]{{stroke:{dark}}}"
            );
        }
    }
    css + "}"
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Percent-encodes all but unreserved characters (RFC 3986).
pub fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(byte as char);
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
