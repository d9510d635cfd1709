//! The comparison for a terminal.

use std::fmt::Write;

use super::{Comparison, Row, Verdict};
use crate::report::format;
use crate::report::statistics::Sample;

/// Verdicts `same` that a terminal shows at most.
const MOST_SAME: usize = 40;

/// The cells of a row: verdict, configuration, metric, base, head, change, allowed, why.
pub(super) fn cells(row: &Row, confidence: f64) -> [String; 8] {
    let sample = |sample: Option<Sample>| match sample {
        Some(s) if s.n > 1 => {
            format!("{} (n = {})", format::with_margin(s.mean, s.margin(confidence)), s.n)
        }
        Some(s) => format::loss(s.mean),
        None => "–".to_owned(),
    };
    let change = row.difference.map_or_else(
        || "–".to_owned(),
        |difference| {
            if difference.mean == 0.0 && difference.tested.is_none_or(|t| t.margin == 0.0) {
                return "0".to_owned();
            }
            let margin = difference.tested.map(|t| t.margin);
            let digits = format::precision(margin).min(4);
            let mut text = format::signed(difference.mean, digits);
            if let Some(margin) = margin {
                let _ = write!(text, " ± {}", format::decimals(margin, digits));
            }
            if let Some(base) = row.base.filter(|base| base.mean != 0.0) {
                let _ = write!(text, " ({} %)", format::signed(difference.mean / base.mean.abs() * 100.0, 1));
            }
            text
        },
    );
    [
        row.verdict.as_str().to_owned(),
        row.label.clone(),
        row.metric.clone().unwrap_or_else(|| "–".to_owned()),
        sample(row.base),
        sample(row.head),
        change,
        row.allowed.map_or_else(|| "–".to_owned(), format::loss),
        row.reason.clone(),
    ]
}

/// What the columns of [`cells`] are called.
pub(super) const HEADINGS: [&str; 8] =
    ["verdict", "configuration", "metric", "base", "head", "change", "allowed", "how surely"];

/// A line that says it all: `worse than main: 2 worse, 1 missing, 9 same`.
pub(super) fn summary(comparison: &Comparison) -> String {
    let counts: Vec<String> =
        comparison.counts().iter().map(|(verdict, n)| format!("{n} {}", verdict.as_str())).collect();
    let verdict = if comparison.is_failure() { "worse than" } else { "no worse than" };
    let counts = if counts.is_empty() { "nothing finished".to_owned() } else { counts.join(", ") };
    format!("{} is {verdict} {}: {counts}", comparison.head, comparison.base)
}

/// The comparison as an aligned table; `colour` for a terminal that shows it.
pub fn render(comparison: &Comparison, colour: bool) -> String {
    let same = comparison.rows.iter().filter(|row| row.verdict == Verdict::Same).count();
    let hidden = same.saturating_sub(MOST_SAME);
    // Verdicts `same` come last.
    let shown = &comparison.rows[..comparison.rows.len() - hidden];
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(shown.iter().map(|row| cells(row, comparison.confidence)));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);

    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let verdict = index.checked_sub(1).map(|row| shown[row].verdict);
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            // Numbers end where the numbers below them end.
            let is_number = (3..=6).contains(&column);
            let (before, after) = if is_number { (padding.as_str(), "") } else { ("", padding.as_str()) };
            let cell = if column == 0 { painted(cell, verdict, colour) } else { cell.clone() };
            let gap = if column == 0 { "" } else { "  " };
            let _ = write!(text, "{gap}{before}{cell}{after}");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    if hidden > 0 {
        let _ = writeln!(out, "… and {hidden} more the same");
    }
    for note in &comparison.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let verdict = if comparison.is_failure() { Verdict::Worse } else { Verdict::Better };
    let _ = writeln!(out, "\n{}", painted(&summary(comparison), Some(verdict), colour));
    out
}

fn painted(text: &str, verdict: Option<Verdict>, colour: bool) -> String {
    let code = match verdict {
        _ if !colour => return text.to_owned(),
        // Headings.
        None => "1",
        Some(Verdict::Worse | Verdict::Missing) => "1;31",
        Some(Verdict::Better) => "32",
        Some(Verdict::New) => "36",
        Some(Verdict::Same) => return text.to_owned(),
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
