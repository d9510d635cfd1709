//! The comparison for a pull request or the summary of a CI job: GitHub-flavoured Markdown.

use std::fmt::Write;

use super::text::{HEADINGS, cells, summary};
use super::{Comparison, Row, Verdict};
use crate::report::markdown::escape;

/// The comparison as a table; verdicts `same` are folded.
pub fn render(comparison: &Comparison) -> String {
    let sign = if comparison.is_failure() { "❌" } else { "✅" };
    let mut out = format!("### {sign} {}\n", escape(&summary(comparison)));
    let (same, notable): (Vec<&Row>, Vec<&Row>) =
        comparison.rows.iter().partition(|row| row.verdict == Verdict::Same);
    if !notable.is_empty() {
        out.push('\n');
        table(&mut out, &notable, comparison.confidence);
    }
    if !same.is_empty() {
        let _ = writeln!(out, "\n<details><summary>{} the same</summary>\n", same.len());
        table(&mut out, &same, comparison.confidence);
        out.push_str("\n</details>\n");
    }
    for note in &comparison.notes {
        let _ = writeln!(out, "\n> {}", escape(note));
    }
    out
}

fn table(out: &mut String, rows: &[&Row], confidence: f64) {
    let _ = writeln!(out, "| {} |", HEADINGS.join(" | "));
    out.push_str("| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n");
    for row in rows {
        let mut cells = cells(row, confidence).map(|cell| escape(&cell));
        if row.verdict.is_failure() {
            cells[0] = format!("**{}**", cells[0]);
        }
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
}
