//! `kdx report`.

use std::path::Path;

use serde_json::json;

use crate::support::sweep::{End, Sweep, grid, one_axis, sizes};

/// Not a check: writes reports for people to look at, into the folder that KDX_LOOK names.
#[test]
#[ignore = "writes reports to look at"]
fn reports_to_look_at() {
    let out = std::env::var("KDX_LOOK").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
    let write = |sweep: &Sweep, name: &str| {
        kdx::report::write(&sweep.store(), name, &Path::new(&out).join(name)).unwrap();
    };
    write(&grid(), "temps");
    write(&sizes(), "sizes");
    write(&one_axis("two", "loss.temperature", &[json!(1.0), json!(4.0)]), "two");
    write(&one_axis("rates", "optimizer.learning_rate", &[json!(1e-4), json!(3e-4), json!(1e-3)]), "rates");
    let kinds = ["forward_kl", "reverse_kl", "js", "skew_forward_kl", "skew_reverse_kl", "tvd", "logit_mse"];
    write(&one_axis("kinds", "loss.kind", &kinds.map(|k| json!(k))), "kinds");
    write(&one_axis("one", "loss.temperature", &[json!(2.0)]), "one");
    let mut none = Sweep::new("unfinished", &["loss.temperature"]);
    none.run(&[("loss.temperature", json!(1.0))], End::Failed);
    none.run(&[("loss.temperature", json!(2.0))], End::Running);
    none.run(&[("loss.temperature", json!(4.0))], End::Planned);
    write(&none, "unfinished");
}
