//! Which keys mean something under which soft loss: a temperature means nothing to labels alone.

use std::collections::HashMap;

use polars::prelude::*;
use serde_json::Value;

use super::columns::{KIND, NO_SOFT_LOSS};
use crate::spec::RunConfig;
use crate::spec::relevance;

/// Whether a key belongs to what a student is taught with, in contrast to what it is.
pub fn is_of_loss(key: &str) -> bool {
    key.starts_with("loss.") || key.starts_with("teacher.")
}

/// Whether a key of `[loss]` means something to a run with this `loss.kind`. Other keys always do,
/// and so do all where the kind is not known.
pub fn counts(key: &str, kind: Option<&str>) -> bool {
    if !key.starts_with("loss.") {
        return true;
    }
    let known = kind.and_then(|kind| serde_json::from_value(Value::String(kind.to_owned())).ok());
    let Some(kind) = known else { return true };
    let mut config = RunConfig::default();
    config.loss.kind = kind;
    relevance::counts(key, &config)
}

/// Whether a run has a place on the axis of this key: students without a soft loss have none on
/// those of `[teacher]` either, which only measures them.
pub fn has_place(key: &str, kind: Option<&str>) -> bool {
    counts(key, kind) && !(key != KIND && is_of_loss(key) && kind == Some(NO_SOFT_LOSS))
}

/// For each row of a runs table, whether it has a place on the axis of `key`.
pub fn places(runs: &DataFrame, key: &str) -> PolarsResult<Vec<bool>> {
    let Ok(kinds) = runs.column(KIND) else { return Ok(vec![true; runs.height()]) };
    let mut known: HashMap<Option<&str>, bool> = HashMap::new();
    let place =
        |kind| *known.entry(kind).or_insert_with(|| has_place(key, kind) && !is_none_on_kind(key, kind));
    Ok(kinds.str()?.iter().map(place).collect())
}

/// The same as an expression, to leave the others out of a query.
pub fn in_place(runs: &DataFrame, key: &str) -> PolarsResult<Expr> {
    let Ok(kinds) = runs.column(KIND) else { return Ok(lit(true)) };
    let places = places(runs, key)?;
    let mut out: Vec<&str> = Vec::new();
    for (kind, place) in kinds.str()?.iter().zip(places) {
        if let Some(kind) = kind.filter(|kind| !place && !out.contains(kind)) {
            out.push(kind);
        }
    }
    Ok(out.into_iter().fold(lit(true), |all, kind| all.and(col(KIND).neq_missing(lit(kind)))))
}

/// `none` is a reference on the axis of the kinds, not one of them.
fn is_none_on_kind(key: &str, kind: Option<&str>) -> bool {
    key == KIND && kind == Some(NO_SOFT_LOSS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_loss_count_where_the_kind_has_them() {
        for (key, kind, expected) in [
            ("loss.temperature", "forward_kl", true),
            ("loss.temperature", "logit_mse", false),
            ("loss.temperature", "none", false),
            ("loss.alpha", "logit_mse", true),
            ("loss.alpha", "none", false),
            ("loss.beta", "js", true),
            ("loss.beta", "tvd", false),
            ("loss.skew", "skew_reverse_kl", true),
            ("loss.kind", "none", true),
            ("student.layers", "none", true),
            ("teacher.layers", "none", true),
            ("loss.temperature", "of another version", true),
        ] {
            assert_eq!(counts(key, Some(kind)), expected, "{key} {kind}");
        }
        assert!(counts("loss.temperature", None));
        assert!(!has_place("teacher.layers", Some("none")) && has_place("teacher.layers", Some("js")));
    }

    #[test]
    fn rows_without_a_place_are_left_out() {
        let runs = df!(KIND => [Some("js"), Some("none"), Some("logit_mse"), None]).unwrap();
        assert_eq!(places(&runs, "loss.temperature").unwrap(), [true, false, false, true]);
        assert_eq!(places(&runs, KIND).unwrap(), [true, false, true, true]);
        let rows = |key: &str| {
            let kept = runs.clone().lazy().filter(in_place(&runs, key).unwrap()).collect().unwrap();
            kept.height()
        };
        assert_eq!((rows("loss.temperature"), rows("loss.alpha"), rows("student.layers")), (2, 3, 4));
        let none = df!("seed" => [1u64]).unwrap();
        assert_eq!(places(&none, "loss.temperature").unwrap(), [true]);
    }
}
