//! Values out of range, and words that are not there.

use super::{Wrong, added};

pub fn rows() -> Vec<Wrong> {
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
