//! Keys that contradict each other, and files that are not there.

use super::{RIGHT, Wrong, added, replaced};

pub fn rows() -> Vec<Wrong> {
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
            &["e.toml:1:1", "[student] has neither sizes nor a `path` nor a `run`"],
        ),
        replaced(
            "an empty student",
            "hidden_size = 16\nlayers = 1\n",
            "",
            &["e.toml:8:1", "[student] has neither sizes nor a `path` nor a `run`"],
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
            &["e.toml:5:1", "[teacher] has neither sizes nor a `path` nor a `run`"],
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
        replaced(
            "a signal of no teacher",
            "hidden_size = 32\nlayers = 2\n",
            "signal = \"hidden\"\n",
            &["e.toml:5:1", "[teacher] has neither sizes nor a `path` nor a `run`"],
        ),
        replaced(
            "a signal that is none",
            "layers = 2\n",
            "layers = 2\nsignal = \"top_k\"\n",
            &["e.toml:8:10", "`teacher.signal` is \"top_k\"", "did you mean `topk`?"],
        ),
        replaced(
            "no logits at all",
            "layers = 2\n",
            "layers = 2\nsignal = \"topk\"\ntop_k = 0\n",
            &["e.toml:9:9", "`teacher.top_k` must be a whole number of at least 1, found 0"],
        ),
        replaced(
            "a budget below nothing",
            "layers = 2\n",
            "layers = 2\ncache_budget = -1\n",
            &["e.toml:8:16", "`teacher.cache_budget` must be a number of at least 0, found -1"],
        ),
        Wrong {
            name: "more logits than tokens",
            text: RIGHT.replace("layers = 2", "layers = 2\nsignal = \"topk\"\ntop_k = 21")
                + "vocab_size = 20",
            says: &["e.toml:9:9", "`teacher.top_k = 21` is more than the tokens", "student.vocab_size = 20"],
        },
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
            "a temperature that single precision cannot tell from none",
            "[grid]\nloss.temperature = [1, 0.0009]",
            &["e.toml:12:24", "`loss.temperature = 0.0009` is below 0.001", "rounding"],
        ),
        added(
            "a mixture of nothing",
            "[loss]\nkind = \"js\"\nbeta = 0.0",
            &["e.toml:13:8", "`loss.beta = 0`", "zero whatever the student does"],
        ),
        added(
            "a distribution against itself",
            "[loss]\nkind = \"skew_reverse_kl\"\nskew = 1",
            &["e.toml:13:8", "`loss.skew = 1`", "the `skew_reverse_kl` loss zero whatever the student does"],
        ),
    ]
}
