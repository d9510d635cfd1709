//! What is not TOML, and bases.

use super::{Wrong, added, replaced};

pub fn rows() -> Vec<Wrong> {
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
