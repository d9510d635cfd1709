//! Spaces to draw from, and what stops runs early.

use super::{RIGHT, Wrong, added};

pub fn rows() -> Vec<Wrong> {
    vec![
        added(
            "a space without samples",
            "[search.space]\nloss.alpha = { uniform = [0, 1] }",
            &["e.toml:11:9", "[search.space] needs `search.samples`", "samples = 20"],
        ),
        added(
            "no samples at all",
            "[search]\nsamples = 0",
            &["e.toml:12:11", "`search.samples` must be a whole number from 1 to 100000, found 0"],
        ),
        added(
            "a key of the search with a slip",
            "[search]\nprunner = \"asha\"",
            &["e.toml:12:1", "unknown key `prunner` in [search]", "did you mean `pruner`?"],
        ),
        added(
            "a space with a slip",
            "[search]\nspce = {}",
            &["e.toml:12:1", "unknown key `spce` in [search]", "did you mean `space`?"],
        ),
        added(
            "a space that is no table",
            "[search]\nsamples = 1\nspace = 3",
            &["e.toml:13:9", "`search.space` must be a table, found 3"],
        ),
        added(
            "an unknown key in a space",
            "[search]\nsamples = 1\n[search.space]\nloss.temprature = { uniform = [1, 2] }",
            &[
                "e.toml:14:6",
                "unknown key `loss.temprature` in [search.space]",
                "did you mean `loss.temperature`?",
            ],
        ),
        added(
            "a distribution with a slip",
            "[search]\nsamples = 1\n[search.space]\nloss.alpha = { unifrom = [0, 1] }",
            &["e.toml:14:", "unifrom", "`uniform`"],
        ),
        added(
            "a bare value in a space",
            "[search]\nsamples = 1\n[search.space]\nloss.alpha = 0.5",
            &["e.toml:14:14", "`loss.alpha` in [search.space] must be a distribution, found 0.5"],
        ),
        added(
            "two distributions",
            "[search]\nsamples = 1\n[search.space]\nloss.alpha = { uniform = [0, 1], choice = [0] }",
            &["e.toml:14:14", "exactly one of uniform, log_uniform, int, choice"],
        ),
        added(
            "a distribution with one end",
            "[search]\nsamples = 1\n[search.space]\nloss.alpha = { uniform = [0] }",
            &["e.toml:14:26", "`uniform` of `loss.alpha` must be [a, b], found 1 items"],
        ),
        added(
            "a distribution beyond the bounds",
            "[search]\nsamples = 1\n[search.space]\nloss.alpha = { uniform = [0, 2] }",
            &["e.toml:14:30", "`loss.alpha` must be a number from 0 to 1, found 2"],
        ),
        added(
            "a distribution from high to low",
            "[search]\nsamples = 1\n[search.space]\nloss.temperature = { uniform = [4, 1] }",
            &["e.toml:14:32", "`uniform` of `loss.temperature` needs a < b"],
        ),
        added(
            "ratios from zero",
            "[search]\nsamples = 1\n[search.space]\nloss.alpha = { log_uniform = [0, 1] }",
            &["e.toml:14:30", "needs both ends above 0"],
        ),
        added(
            "fractions of layers",
            "[search]\nsamples = 1\n[search.space]\nstudent.layers = { uniform = [1, 3] }",
            &["e.toml:14:20", "`student.layers` must be a whole number", "`uniform` draws fractions"],
        ),
        added(
            "numbers for words",
            "[search]\nsamples = 1\n[search.space]\nloss.kind = { int = [1, 3] }",
            &["e.toml:14:15", "`loss.kind` must be one of", "`int` draws numbers"],
        ),
        added(
            "whole numbers between fractions",
            "[search]\nsamples = 1\n[search.space]\nloss.temperature = { int = [1.5, 3] }",
            &["e.toml:14:28", "`int` of `loss.temperature` must be [a, b], found a fraction"],
        ),
        added(
            "a wrong word to choose from",
            "[search]\nsamples = 1\n[search.space]\nloss.kind = { choice = [\"js\", \"tdv\"] }",
            &["e.toml:14:31", "`loss.kind` is \"tdv\"", "did you mean `tvd`?"],
        ),
        added(
            "nothing to choose from",
            "[search]\nsamples = 1\n[search.space]\nloss.kind = { choice = [] }",
            &["e.toml:14:24", "`choice` of `loss.kind` must be a list of values, found an empty list"],
        ),
        added(
            "a rule of the grid in a space",
            "[search]\nsamples = 1\n[search.space]\nloss.alpha = { linspace = [0, 1, 3] }",
            &["e.toml:14:16", "`linspace` lists all values of `loss.alpha`", "[grid]"],
        ),
        added(
            "a distribution in the grid",
            "[grid]\nloss.alpha = { uniform = [0, 1] }",
            &["e.toml:12:16", "`uniform` draws values of `loss.alpha` at random", "[search.space]"],
        ),
        added(
            "an axis that is drawn as well",
            "[grid]\nloss.alpha = [0]\n[search]\nsamples = 1\n[search.space]\nloss.alpha = { uniform = [0, 1] }",
            &["e.toml:16:6", "`loss.alpha` is an axis twice"],
        ),
        added(
            "a search as an axis",
            "[grid]\nsearch.eta = [2, 3]",
            &["e.toml:12:1", "cannot vary between runs", "[search]"],
        ),
        added(
            "a pruner that is not there",
            "[search]\npruner = \"hyperband\"",
            &["e.toml:12:10", "`search.pruner` must be one of `none`, `asha`, `median`"],
        ),
        added(
            "a metric by a wrong name",
            "[search]\nmetric = \"hard-los\"",
            &["e.toml:12:10", "`search.metric` is \"hard-los\", did you mean `hard_loss`?", "`perplexity`"],
        ),
        added(
            "a metric that a run has only at its end",
            "[search]\nmetric = \"wall_seconds\"",
            &["e.toml:12:10", "`search.metric` must be one of `loss`, `hard_loss`", "\"wall_seconds\""],
        ),
        added(
            "halving by one",
            "[search]\neta = 1",
            &["e.toml:12:7", "`search.eta` must be a whole number of at least 2, found 1"],
        ),
        added(
            "a pruner without evaluations",
            "[search]\npruner = \"asha\"",
            &["e.toml:12:10", "`search.pruner = \"asha\"` judges runs while they train", "evaluate.every"],
        ),
        Wrong {
            name: "a pruner without data",
            text: format!(
                "{}[search]\npruner = \"median\"",
                RIGHT.replace("validation = \"valid.jsonl\"\n", "")
            ),
            says: &["e.toml:11:10", "`search.pruner = \"median\"` needs held-out data", "`data.validation`"],
        },
        added(
            "a metric that not every run has",
            "[evaluate]\nevery = 2\n[search]\npruner = \"asha\"\nmetric = \"soft_loss\"\n[loss]\nkind = \"none\"",
            &["e.toml:15:10", "`search.metric = \"soft_loss\"` is not measured in every run", "hard_loss"],
        ),
    ]
}
