//! Axes, zips, included and excluded points.

use super::{Wrong, added, replaced};

pub fn rows() -> Vec<Wrong> {
    vec![
        added(
            "an axis with a slip",
            "[grid]\n\"los.temperature\" = [1]",
            &["e.toml:12:1", "unknown key `los.temperature` in [grid]", "did you mean `loss.temperature`?"],
        ),
        added(
            "an axis without its section",
            "[grid]\nalpha = [0.1]",
            &["e.toml:12:1", "unknown key `alpha` in [grid]", "did you mean `loss.alpha`?"],
        ),
        added(
            "an axis that nothing resembles",
            "[grid]\nfrobnicate = [1]",
            &["e.toml:12:1", "unknown key `frobnicate` in [grid]", "the sections are data, teacher"],
        ),
        added(
            "a key of the top in the grid",
            "[grid]\nbaseline = true",
            &["e.toml:12:1", "belongs at the top of the file"],
        ),
        added(
            "an axis about all runs",
            "[grid]\nresources.threads = [1]",
            &["e.toml:12:1", "cannot vary between runs", "[resources]"],
        ),
        added(
            "an axis without values",
            "[grid]\nloss.alpha = []",
            &["e.toml:12:14", "the axis `loss.alpha` has no values"],
        ),
        added(
            "an axis of one bare value",
            "[grid]\nloss.alpha = 0.5",
            &["e.toml:12:14", "the axis `loss.alpha` must be a list, found 0.5"],
        ),
        added(
            "a value out of range in an axis",
            "[grid]\nloss.temperature = [1, 2, 0]",
            &["e.toml:12:27", "`loss.temperature` must be a number greater than 0, found 0"],
        ),
        added(
            "a value of the wrong type in an axis",
            "[grid]\nstudent.layers = [1, \"2\"]",
            &["e.toml:12:22", "`student.layers` must be a whole number", "found the text \"2\""],
        ),
        added(
            "a word with a slip in an axis",
            "[grid]\nloss.kind = [\"js\", \"tdv\"]",
            &["e.toml:12:20", "`loss.kind` is \"tdv\"", "did you mean `tvd`?"],
        ),
        added(
            "an unknown key in an axis of sections",
            "[grid]\nstudent = [{ layers = 1, hiden_size = 8 }]",
            &[
                "e.toml:12:26",
                "unknown key `student.hiden_size` in [student]",
                "did you mean `student.hidden_size`?",
            ],
        ),
        added(
            "an axis of sections with a bare value",
            "[grid]\nstudent = [3]",
            &["e.toml:12:12", "`student` must be a table, found 3"],
        ),
        added(
            "an axis twice",
            "[grid]\n\"loss.alpha\" = [0]\nloss.alpha = [1]",
            &["e.toml:13:6", "`loss.alpha` is an axis twice", "remove one of them"],
        ),
        added(
            "an axis and a zip of one key",
            "[grid]\nloss.alpha = [0]\n[[zip]]\nloss.alpha = [1]\ntrain.seed = [1]",
            &["e.toml:14:6", "`loss.alpha` is an axis twice"],
        ),
        replaced(
            "seeds twice",
            "[data]\n",
            "seeds = [1]\ngrid.train.seed = [2]\n[data]\n",
            &["e.toml:1:1", "`train.seed` is an axis twice"],
        ),
        added(
            "a rule with a slip",
            "[grid]\nloss.alpha = { linspce = [0, 1, 3] }",
            &["e.toml:12:16", "unknown rule `linspce`", "did you mean `linspace`?"],
        ),
        added(
            "two rules",
            "[grid]\nloss.alpha = { linspace = [0, 1, 3], range = [0, 1, 0.5] }",
            &["e.toml:12:14", "exactly one of linspace, logspace, range"],
        ),
        added(
            "a rule with two numbers",
            "[grid]\nloss.alpha = { linspace = [0, 1] }",
            &["e.toml:12:27", "`linspace` of the axis `loss.alpha` must be [a, b, n], found 2 items"],
        ),
        added(
            "a rule with text",
            "[grid]\nloss.alpha = { range = [0, 1, \"x\"] }",
            &["e.toml:12:24", "must be [start, stop, step]", "found the text \"x\""],
        ),
        added(
            "a rule with half a count",
            "[grid]\nloss.alpha = { linspace = [0, 1, 2.5] }",
            &["e.toml:12:34", "`loss.alpha`", "n must be a whole number from 2"],
        ),
        added(
            "ratios from zero",
            "[grid]\noptimizer.learning_rate = { logspace = [0, 1, 3] }",
            &["e.toml:12:41", "`optimizer.learning_rate`", "both ends must be above 0"],
        ),
        added(
            "steps in the wrong direction",
            "[grid]\ntrain.seed = { range = [0, 5, -1] }",
            &["e.toml:12:31", "`train.seed`", "steps of -1 never lead from 0 to 5"],
        ),
        added(
            "a range that is empty",
            "[grid]\ntrain.seed = { range = [5, 5, 1] }",
            &["e.toml:12:14", "the axis `train.seed` has no values"],
        ),
        added(
            "a rule that leaves the bounds",
            "[grid]\nloss.alpha = { linspace = [0, 2, 5] }",
            &["e.toml:12:14", "`loss.alpha` must be a number from 0 to 1, found 1.5"],
        ),
        added(
            "a rule that makes fractions",
            "[grid]\nstudent.hidden_size = { linspace = [16, 32, 4] }",
            &["e.toml:12:36", "`student.hidden_size` must be a whole number", "makes 21.3333333333"],
        ),
        added(
            "a rule for words",
            "[grid]\nloss.kind = { range = [0, 1, 1] }",
            &["e.toml:12:13", "`loss.kind` must be one of", "no rule makes such values"],
        ),
        added(
            "a zip of unequal lists",
            "[[zip]]\ntrain.seed = [1, 2]\ntrain.steps = [1, 2, 3]",
            &["e.toml:13:7", "equally long", "`train.seed` has 2, `train.steps` has 3"],
        ),
        added("a zip without keys", "[[zip]]", &["e.toml:11:1", "this [[zip]] has no keys"]),
        added(
            "a zip in single brackets",
            "[zip]\ntrain.seed = [1, 2]",
            &["e.toml:11:1", "`zip` must be a list of tables, found a table", "two brackets"],
        ),
        added(
            "an unknown key in a zip",
            "[[zip]]\ntrain.sed = [1, 2]\ntrain.steps = [1, 2]",
            &["e.toml:12:7", "unknown key `train.sed` in [[zip]]", "did you mean `train.seed`?"],
        ),
        added(
            "an unknown key in an included point",
            "[[include]]\nloss.betta = 0.1",
            &["e.toml:12:6", "unknown key `loss.betta` in [[include]]", "did you mean `loss.beta`?"],
        ),
        added(
            "a list in an included point",
            "[[include]]\nloss.beta = [0.1, 0.2]",
            &["e.toml:12:13", "`loss.beta` must be a number", "found a list"],
        ),
        added(
            "a value out of range in an excluded point",
            "[[exclude]]\nloss.alpha = 2",
            &["e.toml:12:14", "`loss.alpha` must be a number from 0 to 1, found 2"],
        ),
        added("an exclusion without keys", "[[exclude]]", &["e.toml:11:1", "this [[exclude]] has no keys"]),
        added(
            "points without end",
            "[grid]\nloss.alpha = { linspace = [0, 1, 1000] }\nloss.temperature = { linspace = [1, 2, 2000] }",
            &["e.toml:13:6", "the grid has 2000000 points", "`loss.temperature` has 2000"],
        ),
        added(
            "a rule without end",
            "[grid]\ntrain.seed = { range = [0, 9223372036854775807, 1] }",
            &["e.toml:12:49", "`train.seed`", "more than 100000 values"],
        ),
    ]
}
