//! The comparison for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Comparison;

/// Raised when the shape below changes.
const FORMAT_VERSION: u32 = 1;

/// The comparison as indented JSON: `format_version`, `ok`, `counts` by verdict, and all of
/// [`Comparison`]. Numbers that are infinite (intervals without degrees of freedom) are null.
pub fn render(comparison: &Comparison) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct View<'a> {
        format_version: u32,
        ok: bool,
        counts: BTreeMap<&'static str, usize>,
        #[serde(flatten)]
        comparison: &'a Comparison,
    }
    serde_json::to_string_pretty(&View {
        format_version: FORMAT_VERSION,
        ok: !comparison.is_failure(),
        counts: comparison.counts().into_iter().map(|(verdict, n)| (verdict.as_str(), n)).collect(),
        comparison,
    })
}
