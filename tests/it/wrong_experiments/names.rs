//! Keys that are not there, and values of the wrong type.

use super::{Wrong, added, replaced};

pub fn rows() -> Vec<Wrong> {
    vec![
        added(
            "a key with a slip",
            "[loss]\ntemprature = 2",
            &["e.toml:12:1", "unknown key `temprature` in [loss]", "did you mean `temperature`?"],
        ),
        added(
            "a key of another section",
            "[train]\ntemperature = 2",
            &["e.toml:12:1", "`temperature` belongs in [loss]"],
        ),
        added(
            "a key of several other sections",
            "[schedule]\nbatch_size = 2",
            &["e.toml:12:1", "belongs in [train] or [evaluate]"],
        ),
        added(
            "a key of a subsection",
            "[teacher.schedule]\nepochs = 2",
            &[
                "e.toml:12:1",
                "unknown key `epochs` in [teacher.schedule]",
                "`epochs` belongs in [teacher.train]",
            ],
        ),
        added(
            "a key of the top in a section",
            "[loss]\nbaseline = true",
            &["e.toml:12:1", "at the top of the file"],
        ),
        added(
            "another tool's name",
            "[optimizer]\nlr = 0.1",
            &["e.toml:12:1", "unknown key `lr` in [optimizer]", "did you mean `learning_rate`?"],
        ),
        added(
            "a key that nothing resembles",
            "[loss]\nfrobnicate = 1",
            &["e.toml:12:1", "unknown key `frobnicate` in [loss]", "kind, temperature, alpha"],
        ),
        added(
            "a section with a slip",
            "[optimiser]\nbeta1 = 0.5",
            &["e.toml:11:2", "unknown key `optimiser` at the top of the file", "did you mean `optimizer`?"],
        ),
        replaced(
            "a key at the top",
            "[data]\n",
            "temperature = 2\n[data]\n",
            &["e.toml:1:1", "`temperature` belongs in [loss]"],
        ),
        added(
            "text for a number",
            "[loss]\ntemperature = \"2\"",
            &[
                "e.toml:12:15",
                "`loss.temperature` must be a number greater than 0, found the text \"2\"",
                "without quotes",
            ],
        ),
        added("a section twice", "[data]\n", &["e.toml:11:2", "this is not TOML", "duplicate key"]),
        replaced(
            "a number for a path",
            "\"train.jsonl\"",
            "3",
            &["e.toml:2:9", "`data.train` must be text or a list", "found 3"],
        ),
        replaced(
            "a fraction for a whole number",
            "layers = 1",
            "layers = 1.5",
            &["e.toml:10:10", "`student.layers` must be a whole number of at least 1, found 1.5"],
        ),
        added("a subsection that is none", "[data.x]", &["e.toml:11:7", "unknown key `x` in [data]"]),
        replaced(
            "a quoted truth",
            "[teacher]",
            "shuffle = \"false\"\n[teacher]",
            &["e.toml:5:11", "`data.shuffle` must be true or false", "without quotes: false"],
        ),
        replaced(
            "a value for a section",
            "[data]\n",
            "loss = \"js\"\n[data]\n",
            &["e.toml:1:8", "`loss` must be a table, found the text \"js\"", "[loss] is a section"],
        ),
        added(
            "a list for a single value",
            "[loss]\ntemperature = [1, 2]",
            &["e.toml:12:15", "`loss.temperature` must be a number", "found a list", "under [grid]"],
        ),
        added(
            "a date",
            "[train]\nseed = 2026-01-01",
            &["e.toml:12:8", "`train.seed`", "found the time 2026-01-01"],
        ),
        replaced(
            "a baseline that is no truth",
            "[data]\n",
            "baseline = 1\n[data]\n",
            &["e.toml:1:12", "`baseline` must be true or false, found 1"],
        ),
        replaced(
            "a name that no file can have",
            "[data]\n",
            "name = \"a/b\"\n[data]\n",
            &["e.toml:1:8", "\"a/b\" cannot be the `name`", "letters, digits"],
        ),
        added(
            "a tolerance with a slip",
            "[compare.metrics.\"validation/hard_loss\"]\nrelativ = 0.1",
            &["e.toml:12:1", "unknown key `relativ`", "did you mean `relative`?"],
        ),
    ]
}
