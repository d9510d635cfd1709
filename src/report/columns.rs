//! The names of the columns in a report's tables that the program itself reads again.

use polars::prelude::DataFrame;

/// The kind of the soft loss.
pub const KIND: &str = "loss.kind";
/// What [`KIND`] says of a student that learns from labels alone.
pub const NO_SOFT_LOSS: &str = "none";
/// The key that repeats a configuration in place of changing it.
pub const SEED: &str = "train.seed";
/// Whether a run learns from labels alone.
pub const BASELINE: &str = "baseline";

/// Held-out cross-entropy on the labels, nats a token: what the pages rank by.
pub const HARD_LOSS: &str = "validation/hard_loss";
/// Fraction of held-out positions where student and teacher have the same most likely token.
pub const AGREEMENT: &str = "validation/agreement";
/// Held-out positions that count: no metric, but a number of the evaluation.
pub const VALIDATION_TOKENS: &str = "validation/tokens";

/// `split` of a row that was measured while training.
pub const TRAIN: &str = "train";
/// `split` of a row that was measured on held-out data.
pub const VALIDATION: &str = "validation";

/// The column of a held-out metric in the runs table.
pub fn name_held_out(metric: &str) -> String {
    format!("{VALIDATION}/{metric}")
}

/// The columns of held-out metrics that a runs table has.
pub fn find_held_out_columns(runs: &DataFrame) -> Vec<String> {
    let is_metric = |name: &str| {
        name.strip_prefix(VALIDATION).is_some_and(|rest| rest.starts_with('/')) && name != VALIDATION_TOKENS
    };
    let names = runs.get_column_names().into_iter().map(|name| name.as_str());
    names.filter(|name| is_metric(name)).map(str::to_owned).collect()
}

/// Whether a column of the runs table is part of the configuration: those have dotted names.
pub fn is_configuration_column(name: &str) -> bool {
    name.contains('.') && !name.contains('/')
}
