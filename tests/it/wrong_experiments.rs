//! Wrong experiment files: each gets one error that says where, what and what instead, none panics.

use std::fs;
use std::path::Path;

use kdx::experiment::{Problems, Surroundings, load_in};
use miette::{GraphicalReportHandler, GraphicalTheme, NarratableReportHandler};
use proptest::prelude::*;
use tempfile::TempDir;

/// An experiment with nothing wrong; what a row adds begins in line 11.
const RIGHT: &str = r#"[data]
train = "train.jsonl"
validation = "valid.jsonl"
tokenizer = "tokenizer"
[teacher]
hidden_size = 32
layers = 2
[student]
hidden_size = 16
layers = 1
"#;

struct Wrong {
    /// What is wrong.
    name: &'static str,
    /// The file, after a replacement in [`RIGHT`] or as an addition to it.
    text: String,
    /// What the message must say, in every rendering that shows it.
    says: &'static [&'static str],
}

/// A row whose text stands after a right experiment.
fn added(name: &'static str, text: &str, says: &'static [&'static str]) -> Wrong {
    Wrong { name, text: format!("{RIGHT}{text}"), says }
}

/// A row whose text stands in place of a part of a right experiment.
fn replaced(name: &'static str, part: &str, text: &str, says: &'static [&'static str]) -> Wrong {
    assert!(RIGHT.contains(part), "{name}");
    Wrong { name, text: RIGHT.replace(part, text), says }
}

fn names_and_types() -> Vec<Wrong> {
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

fn values() -> Vec<Wrong> {
    vec![
        added(
            "a word with a slip",
            "[loss]\nkind = \"forwrd_kl\"",
            &["e.toml:12:8", "`loss.kind` is \"forwrd_kl\"", "did you mean `forward_kl`?"],
        ),
        added(
            "a word that nothing resembles",
            "[schedule]\nkind = \"zigzag\"",
            &[
                "e.toml:12:8",
                "`schedule.kind` must be one of `minimind`, `cosine`",
                "found the text \"zigzag\"",
            ],
        ),
        added(
            "no temperature",
            "[loss]\ntemperature = 0",
            &["e.toml:12:15", "`loss.temperature` must be a number greater than 0, found 0"],
        ),
        added(
            "a temperature below zero",
            "[loss]\ntemperature = -1.5",
            &["e.toml:12:15", "greater than 0, found -1.5"],
        ),
        added(
            "an endless temperature",
            "[loss]\ntemperature = inf",
            &["e.toml:12:15", "`loss.temperature`", "found inf"],
        ),
        added("no number", "[loss]\nalpha = nan", &["e.toml:12:9", "`loss.alpha`", "found NaN"]),
        added(
            "an alpha above one",
            "[loss]\nalpha = 1.5",
            &["e.toml:12:9", "`loss.alpha` must be a number from 0 to 1, found 1.5"],
        ),
        added(
            "a decay that never decays",
            "[optimizer]\nbeta2 = 1",
            &["e.toml:12:9", "`optimizer.beta2` must be a number of at least 0 and less than 1, found 1"],
        ),
        added(
            "no epochs",
            "[train]\nepochs = 0",
            &["e.toml:12:10", "`train.epochs` must be a whole number of at least 1, found 0"],
        ),
        added(
            "a negative seed",
            "[train]\nseed = -1",
            &["e.toml:12:8", "`train.seed` must be a whole number of at least 0, found -1"],
        ),
        added(
            "a seed beyond 64 bits",
            "[train]\nseed = 99999999999999999999",
            &["e.toml:12:8", "`train.seed`", "found 99999999999999999999"],
        ),
        added(
            "a number beyond all bits",
            "[train]\nseed = 999999999999999999999999999999999999999999",
            &["e.toml:12:8", "too large"],
        ),
        added(
            "no attempts",
            "[resources]\nattempts = 0",
            &["e.toml:12:12", "`resources.attempts` must be a whole number from 1 to 4294967295, found 0"],
        ),
        added(
            "no runs at once",
            "[resources]\nper_device = 0",
            &[
                "e.toml:12:14",
                "`resources.per_device` must be `auto` or a whole number of at least 1, found 0",
            ],
        ),
        added(
            "a confidence of certainty",
            "[compare]\nconfidence = 1.0",
            &["e.toml:12:14", "`compare.confidence`", "less than 1"],
        ),
    ]
}

fn grids() -> Vec<Wrong> {
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

fn rules() -> Vec<Wrong> {
    vec![
        replaced(
            "heads that do not divide",
            "layers = 1\n",
            "layers = 1\nheads = 3\n",
            &[
                "e.toml:11:9",
                "`hidden_size = 16` is not divisible by `heads = 3`",
                "`heads` can be 1, 2, 4, 8",
            ],
        ),
        replaced(
            "heads of odd width",
            "layers = 1\n",
            "layers = 1\nheads = 16\n",
            &["e.toml:9:15", "[student]", "the heads are 1 wide", "must be even"],
        ),
        replaced(
            "a width that is odd",
            "hidden_size = 16",
            "hidden_size = 17",
            &["e.toml:9:15", "`hidden_size = 17`", "must be even"],
        ),
        replaced(
            "key-value heads that do not divide",
            "layers = 1\n",
            "layers = 1\nkv_heads = 3\n",
            &["e.toml:11:12", "`heads = 8` is not divisible by `kv_heads = 3`", "1, 2, 4, 8"],
        ),
        added(
            "heads that do not divide in an axis",
            "[grid]\nteacher.heads = [4, 5]",
            &["e.toml:12:21", "[teacher]: `hidden_size = 32` is not divisible by `heads = 5`"],
        ),
        replaced(
            "a student without layers",
            "layers = 1\n",
            "",
            &["e.toml:9:15", "[student]: `layers` is missing"],
        ),
        replaced(
            "no student",
            "[student]\nhidden_size = 16\nlayers = 1\n",
            "",
            &["e.toml:1:1", "[student] has neither sizes nor a `path`"],
        ),
        replaced(
            "an empty student",
            "hidden_size = 16\nlayers = 1\n",
            "",
            &["e.toml:8:1", "[student] has neither sizes nor a `path`"],
        ),
        replaced(
            "no teacher",
            "[teacher]\nhidden_size = 32\nlayers = 2\n",
            "",
            &[
                "e.toml:1:1",
                "a soft loss (`loss.kind`) needs a teacher",
                "add [teacher]",
                "loss.kind = \"none\"",
            ],
        ),
        replaced(
            "an empty teacher",
            "hidden_size = 32\nlayers = 2\n",
            "",
            &["e.toml:5:1", "[teacher] has neither sizes nor a `path`"],
        ),
        replaced(
            "a teacher with a path and sizes",
            "layers = 2\n",
            "layers = 2\npath = \"model\"\n",
            &["e.toml:8:8", "[teacher] has both a `path` and sizes (`teacher.hidden_size`)"],
        ),
        replaced(
            "training of a teacher that is read",
            "hidden_size = 32\nlayers = 2\n",
            "path = \"model\"\n[teacher.train]\nsteps = 5\n",
            &["e.toml:7:1", "[teacher.train] is for a teacher that kdx trains"],
        ),
        replaced(
            "a teacher that is not there",
            "hidden_size = 32\nlayers = 2\n",
            "path = \"modle\"\n",
            &["e.toml:6:8", "`teacher.path`", "modle does not exist", "did you mean model?"],
        ),
        replaced(
            "a teacher that is a file",
            "hidden_size = 32\nlayers = 2\n",
            "path = \"train.jsonl\"\n",
            &["e.toml:6:8", "`teacher.path`", "is a file, not a directory"],
        ),
        replaced(
            "a teacher without a configuration",
            "hidden_size = 32\nlayers = 2\n",
            "path = \"tokenizer\"\n",
            &["e.toml:6:8", "`teacher.path`", "has no config.json"],
        ),
        Wrong {
            name: "a teacher with fewer tokens",
            text: RIGHT.replace("layers = 2", "layers = 2\nvocab_size = 10") + "vocab_size = 20",
            says: &["e.toml:8:14", "`teacher.vocab_size = 10` is smaller than `student.vocab_size = 20`"],
        },
        Wrong {
            name: "random models of tokens that nothing explains",
            text: RIGHT.replace("tokenizer = \"tokenizer\"", "format = \"tokenized\"") + "vocab_size = 20",
            says: &["e.toml:4:10", "`teacher.vocab_size` is missing"],
        },
        replaced("no data", "train = \"train.jsonl\"\n", "", &["e.toml:1:1", "`data.train` is missing"]),
        replaced(
            "an empty list of data",
            "\"train.jsonl\"",
            "[]",
            &["e.toml:2:9", "`data.train` is missing"],
        ),
        replaced(
            "data that is not there",
            "\"train.jsonl\"",
            "\"trian.jsonl\"",
            &["e.toml:2:9", "`data.train`", "trian.jsonl does not exist", "did you mean train.jsonl?"],
        ),
        replaced(
            "data that is a directory",
            "\"valid.jsonl\"",
            "\"tokenizer\"",
            &["e.toml:3:14", "`data.validation`", "is a directory, not a file"],
        ),
        added(
            "data that is not there in an axis",
            "[grid]\ndata.train = [\"train.jsonl\", \"far/away.jsonl\"]",
            &["e.toml:12:30", "`data.train`", "away.jsonl does not exist"],
        ),
        replaced(
            "a directory without a tokenizer",
            "\"tokenizer\"",
            "\"model\"",
            &["e.toml:4:13", "`data.tokenizer`", "has no tokenizer.json"],
        ),
        replaced(
            "text without a tokenizer",
            "tokenizer = \"tokenizer\"",
            "format = \"text\"",
            &["e.toml:4:10", "`data.tokenizer` is missing", "kdx tokenizer train"],
        ),
        replaced(
            "prompts without a name",
            "[teacher]",
            "format = \"prompt_response\"\nresponse = \"a\"\n[teacher]",
            &["e.toml:5:10", "`data.prompt` is missing", "prompt = \"question\""],
        ),
        replaced(
            "a prompt without a response",
            "[teacher]",
            "prompt = \"q\"\n[teacher]",
            &["`data.response` is missing", "response = \"answer\""],
        ),
        added(
            "a warm-up that is all",
            "[train]\nsteps = 10\n[schedule]\nwarmup_steps = 10",
            &["e.toml:14:16", "`schedule.warmup_steps = 10` is the whole training", "`train.steps` is 10"],
        ),
        added(
            "a warm-up of the teacher that is all",
            "[teacher.train]\nsteps = 10\n[teacher.schedule]\nwarmup_steps = 11",
            &["e.toml:14:16", "`teacher.schedule.warmup_steps = 11`"],
        ),
        added(
            "a decay before the warm-up ends",
            "[train]\nsteps = 10\n[schedule]\nkind = \"wsd\"\nwarmup_steps = 6\ndecay_ratio = 0.5",
            &["e.toml:16:15", "`schedule.decay_ratio = 0.5`", "more than there are"],
        ),
        added(
            "a mixture of nothing",
            "[loss]\nkind = \"js\"\nbeta = 0.0",
            &["e.toml:13:8", "`loss.beta = 0`", "zero whatever the student does"],
        ),
        added(
            "a distribution against itself",
            "[loss]\nkind = \"skew_reverse_kl\"\nskew = 1",
            &["e.toml:13:8", "`loss.skew = 1`", "always zero"],
        ),
    ]
}

fn syntax() -> Vec<Wrong> {
    vec![
        added(
            "text without quotes",
            "[loss]\nkind = forward_kl",
            &[
                "e.toml:12:8",
                "this is not TOML: text must be in quotes, found forward_kl",
                "write \"forward_kl\"",
            ],
        ),
        added("a truth in capitals", "[train]\nseed = True", &["e.toml:12:8", "found True", "write true"]),
        added(
            "words without quotes in an axis",
            "[grid]\nloss.kind = [js, tvd]",
            &["e.toml:12:14", "this is not TOML: text must be in quotes, found js"],
        ),
        added("an open bracket", "[loss\nkind = \"js\"", &["e.toml:11:6", "this is not TOML", "`]`"]),
        added(
            "a key twice",
            "[loss]\nalpha = 0\nalpha = 1",
            &["e.toml:13:1", "this is not TOML", "duplicate key"],
        ),
        added("an open text", "[loss]\nkind = \"js", &["e.toml:12:11", "this is not TOML"]),
        added("a key without a value", "[loss]\nalpha", &["e.toml:12:6", "this is not TOML"]),
        Wrong { name: "JSON", text: "{\"data\": {}}".to_owned(), says: &["e.toml:1:1", "this is not TOML"] },
        replaced(
            "a base that is no path",
            "[data]\n",
            "extends = 3\n[data]\n",
            &["e.toml:1:11", "`extends` must be the path of a file, found 3"],
        ),
        replaced(
            "a base that is not there",
            "[data]\n",
            "extends = \"bsae.toml\"\n[data]\n",
            &["e.toml:1:11", "`extends`: cannot read bsae.toml", "did you mean base.toml?"],
        ),
        replaced(
            "a base that is the file itself",
            "[data]\n",
            "extends = \"e.toml\"\n[data]\n",
            &["e.toml:1:11", "goes in a circle: e.toml → e.toml"],
        ),
        replaced(
            "a base that comes back",
            "[data]\n",
            "extends = \"back.toml\"\n[data]\n",
            &["back.toml:1:11", "goes in a circle: e.toml → back.toml → e.toml"],
        ),
        replaced(
            "a base with an error",
            "[data]\n",
            "extends = \"wrong.toml\"\n[data]\n",
            &["wrong.toml:2:9", "`loss.alpha` must be a number from 0 to 1, found 7"],
        ),
    ]
}

/// A directory with what right experiments name.
fn surroundings() -> (TempDir, Surroundings) {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("train.jsonl", "{}\n"),
        ("valid.jsonl", "{}\n"),
        ("tokenizer/tokenizer.json", "{}"),
        ("model/config.json", "{}"),
        ("base.toml", RIGHT),
        ("back.toml", "extends = \"e.toml\""),
        ("wrong.toml", "[loss]\nalpha = 7"),
    ] {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let directory = root.path().to_owned();
    (root, Surroundings { variables: Vec::new(), directory })
}

fn load(text: &[u8], overrides: &[String]) -> Result<usize, Problems> {
    let (root, surroundings) = surroundings();
    fs::write(root.path().join("e.toml"), text).unwrap();
    load_in(Path::new("e.toml"), overrides, &surroundings).map(|experiment| experiment.points.len())
}

/// The problems as a terminal shows them.
fn drawn(problems: &Problems) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(400);
    let mut out = String::new();
    handler.render_report(&mut out, problems).unwrap();
    out
}

/// The problems as a screen reader tells them.
fn told(problems: &Problems) -> String {
    let mut out = String::new();
    NarratableReportHandler::new().render_report(&mut out, problems).unwrap();
    out
}

#[test]
fn the_experiment_that_the_rows_start_from_is_right() {
    assert_eq!(load(RIGHT.as_bytes(), &[]).unwrap(), 1);
}

#[test]
fn every_wrong_experiment_gets_the_error_that_it_deserves() {
    let rows: Vec<Wrong> =
        [names_and_types(), values(), grids(), rules(), syntax()].into_iter().flatten().collect();
    assert!(rows.len() >= 100);
    let mut failures = Vec::new();
    for row in rows {
        let problems = match load(row.text.as_bytes(), &[]) {
            Ok(points) => {
                failures.push(format!("{}: no error, {points} points", row.name));
                continue;
            }
            Err(problems) => problems,
        };
        let plain = format!("{problems:#}");
        let (drawn, told) = (drawn(&problems), told(&problems));
        for said in row.says {
            if !plain.contains(said) {
                failures.push(format!("{}: {said:?} is not in\n{plain}", row.name));
            }
            // The place stands at the excerpt's head; a screen reader is told the line alone.
            if !said.contains(".toml:") && !drawn.contains(said) {
                failures.push(format!("{}: {said:?} is not in\n{drawn}", row.name));
            }
            if let Some((file, place)) = said.split_once(".toml:") {
                let line = place.split(':').next().unwrap();
                if !drawn.contains(&format!("{file}.toml:{place}")) || !told.contains(&format!("{file}.toml"))
                {
                    failures.push(format!("{}: {said:?} is not in\n{drawn}\n{told}", row.name));
                }
                if !told.contains(&format!("line {line}")) {
                    failures.push(format!("{}: line {line} is not in\n{told}", row.name));
                }
            }
        }
        // Wrong syntax confuses the parser about what follows; everything else is one problem.
        let is_syntax = row.says.iter().any(|said| said.starts_with("this is not TOML"));
        if problems.as_slice().len() != 1 && !is_syntax {
            failures.push(format!("{}: more than one problem\n{plain}", row.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn flags_and_variables_are_named_in_place_of_a_file() {
    let rows: &[(&[&str], &[(&str, &str)], &[&str])] = &[
        (
            &["loss.temperature=0"],
            &[],
            &["--set loss.temperature=0: ", "`loss.temperature` must be a number greater than 0"],
        ),
        (&["loss.temprature=2"], &[], &["--set loss.temprature=2: ", "did you mean `temperature`?"]),
        (&["loss.temperature"], &[], &["--set loss.temperature: ", "has no value", "--set key=value"]),
        (&["=2"], &[], &["--set =2: ", "is not a key"]),
        (&["a b=2"], &[], &["--set a b=2: ", "`a b` is not a key"]),
        (&["loss=[1, 2"], &[], &["`loss` must be a table", "[1, 2"]),
        (&["grid.loss.alpha=0.5"], &[], &["the axis `loss.alpha` must be a list"]),
        (&["extends=base.toml"], &[], &["`extends` is only for files"]),
        (&["student.heads=3"], &[], &["--set student.heads=3: ", "not divisible", "e.toml:9:15"]),
        (&["data.train=nowhere.jsonl"], &[], &["--set data.train=nowhere.jsonl: ", "does not exist"]),
        (
            &[],
            &[("KDX_LOSS__TEMPERATURE", "hot")],
            &["environment variable KDX_LOSS__TEMPERATURE: ", "found the text \"hot\""],
        ),
        (
            &[],
            &[("KDX_LOSS__TEMPRATURE", "2")],
            &["environment variable KDX_LOSS__TEMPRATURE: ", "did you mean `temperature`?"],
        ),
        (&[], &[("KDX_LOS__ALPHA", "2")], &["environment variable KDX_LOS__ALPHA: ", "did you mean `loss`?"]),
        (&[], &[("KDX___", "2")], &["environment variable KDX___: ", "unknown key"]),
    ];
    for (overrides, variables, says) in rows {
        let (root, mut surroundings) = surroundings();
        fs::write(root.path().join("e.toml"), RIGHT).unwrap();
        surroundings.variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let problems = load_in(Path::new("e.toml"), &overrides, &surroundings).unwrap_err();
        let plain = format!("{problems:#}");
        for said in *says {
            assert!(plain.contains(said), "{said:?} is not in\n{plain}");
        }
        assert_eq!(problems.as_slice().len(), 1, "{plain}");
        let drawn = drawn(&problems);
        let source = variables
            .first()
            .map_or("[--set:1:".to_owned(), |(name, _)| format!("[environment variable {name}:1:"));
        assert!(drawn.contains(&source), "{drawn}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let (root, surroundings) = surroundings();
    fs::write(root.path().join("latin.toml"), b"[data]\ntrain = \"\xe9\"").unwrap();
    fs::write(root.path().join("bad name.toml"), RIGHT).unwrap();
    for (path, says) in [
        ("bsae.toml", ["cannot read bsae.toml", "did you mean base.toml?"]),
        ("tokenizer", ["cannot read tokenizer", "irectory"]),
        ("latin.toml", ["cannot read latin.toml", "line 2 is not UTF-8"]),
        ("", ["cannot read", ""]),
        ("bad name.toml", ["bad name.toml:1:1", "cannot be the `name`"]),
    ] {
        let problems = load_in(Path::new(path), &[], &surroundings).unwrap_err();
        let plain = format!("{problems:#}");
        assert!(says.iter().all(|said| plain.contains(said)), "{plain}");
    }
}

#[test]
fn all_problems_of_all_layers_are_reported_at_once() {
    let (root, surroundings) = surroundings();
    let text = "extends = \"wrong.toml\"\n[data]\ntrian = \"train.jsonl\"\nvalidation = \"nowhere.jsonl\"\n\
                [loss]\ntemperature = 0\nkind = \"jss\"\n[teacher]\nhidden_size = 30\nheads = 4\nlayers = 1\n\
                [student]\nlayers = 0\nhidden_size = 16\n[grid]\nloss.skew = [0.1, 2]\n";
    fs::write(root.path().join("e.toml"), text).unwrap();
    let problems =
        load_in(Path::new("e.toml"), &["train.epochs=none".to_owned()], &surroundings).unwrap_err();
    let found: Vec<String> = problems
        .as_slice()
        .iter()
        .map(|problem| format!("{} {problem}", problem.place().unwrap_or_default()))
        .collect();
    let expected = [
        "e.toml:3:1 unknown key `trian`",
        "e.toml:4:14 `data.validation`: ",
        "e.toml:6:15 `loss.temperature` must be",
        "e.toml:7:8 `loss.kind` is \"jss\"",
        "e.toml:10:9 [teacher]: `hidden_size = 30` is not divisible by `heads = 4`",
        "e.toml:13:10 `student.layers` must be",
        "e.toml:16:19 `loss.skew` must be",
        "wrong.toml:2:9 `loss.alpha` must be",
        "--set train.epochs=none `train.epochs` must be",
    ];
    // Nothing is said about `data.train`: it is there, with a slip.
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn a_problem_is_drawn_with_its_line() {
    let problems = load(format!("{RIGHT}[loss]\ntemprature = 2 # hot\n").as_bytes(), &[]).unwrap_err();
    insta::assert_snapshot!(drawn(&problems).trim_end(), @r#"
      × 1 problem in e.toml

    Error: 
      × unknown key `temprature` in [loss], did you mean `temperature`?
        ╭─[e.toml:12:1]
     11 │ [loss]
     12 │ temprature = 2 # hot
        · ─────┬────
        ·      ╰── did you mean `temperature`?
        ╰────
    "#);
}

#[test]
fn two_places_of_one_problem_are_drawn_together() {
    let text = RIGHT.replace("layers = 1\n", "layers = 1\nheads = 3\n");
    let problems = load(text.as_bytes(), &[]).unwrap_err();
    insta::assert_snapshot!(drawn(&problems).trim_end(), @r#"
      × 1 problem in e.toml

    Error: 
      × [student]: `hidden_size = 16` is not divisible by `heads = 3`
        ╭─[e.toml:11:9]
      8 │ [student]
      9 │ hidden_size = 16
        ·               ─┬
        ·                ╰── with this
     10 │ layers = 1
     11 │ heads = 3
        ·         ┬
        ·         ╰── `student.heads`
        ╰────
      help: with this `hidden_size`, `heads` can be 1, 2, 4, 8
    "#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Files that were cut, overwritten and stuck together load, or say why not.
    #[test]
    fn no_damage_makes_kdx_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8, "\\PC{0,6}|[\\[\\]{}=.\"'\n,#0-9e-]{0,4}"), 1..5),
    ) {
        let mut text = format!(
            "name = \"x\"\nseeds = [1, 2]\nbaseline = true\nextends = \"base.toml\"\n[loss]\nkind = \"js\"\n\
             temperature = 2.5\n[grid]\n\"loss.alpha\" = {{ linspace = [0, 1, 3] }}\nstudent = [{{ layers = 1 }}]\n\
             [[zip]]\ntrain.steps = [1, 2]\ntrain.epochs = [3, 4]\n[[include]]\nloss.beta = 0.3\n\
             [[exclude]]\nloss.alpha = 0.5\n[compare.metrics.\"validation/hard_loss\"]\nrelative = 0.1\n"
        );
        for (place, length, with) in cuts {
            let start = text.char_indices().map(|(at, _)| at).nth(place.index(text.chars().count().max(1))).unwrap_or(0);
            let end = text[start..].char_indices().map(|(at, _)| start + at).nth(length).unwrap_or(text.len());
            text.replace_range(start..end, &with);
        }
        if let Err(problems) = load(text.as_bytes(), &[]) {
            prop_assert!(!problems.as_slice().is_empty());
            let drawn = drawn(&problems);
            prop_assert!(drawn.contains("problem"), "{}", drawn);
        }
    }

    /// The same for arguments of `--set`.
    #[test]
    fn no_argument_makes_kdx_panic(argument in "\\PC{0,20}|(grid|loss|student|zip|seeds|\"data\")[.=\\[\\]{}\"'a-z0-9, -]{0,20}") {
        if let Err(problems) = load(RIGHT.as_bytes(), &[argument]) {
            let plain = format!("{problems:#}");
            prop_assert!(plain.contains("problem"), "{}", plain);
        }
    }
}
