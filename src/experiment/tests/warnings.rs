//! What is allowed, and questionable.

use super::{Bench, COMPLETE};

fn warnings(overrides: &[&str], grid: &str) -> Vec<String> {
    let bench = Bench::new();
    bench.write("e.toml", &format!("{COMPLETE}\n{grid}"));
    let experiment = bench.load_file("e.toml", overrides, &[]).unwrap();
    experiment.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn ordinary_experiments_have_none() {
    assert_eq!(
        warnings(&[], "[grid]\nloss.temperature = [1, 10]\nloss.alpha = [0, 1]"),
        Vec::<String>::new()
    );
}

#[test]
fn a_hot_temperature_is_named_with_its_place() {
    let found = warnings(&[], "[grid]\nloss.temperature = [1, 10.5, 20]");
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("e.toml:13:24: `loss.temperature = 10.5` is above 10"), "{}", found[0]);
    let found = warnings(&["loss.temperature=11"], "");
    assert!(found[0].starts_with("--set loss.temperature=11: `loss.temperature = 11`"), "{}", found[0]);
    // One place, one warning.
    assert_eq!(warnings(&[], "[grid]\nloss.temperature = { linspace = [11, 20, 10] }").len(), 1);
    assert_eq!(warnings(&["loss.kind=logit_mse", "loss.alpha=1"], "").len(), 0);
    // The lowest that is no error.
    assert_eq!(warnings(&["loss.temperature=0.001"], "").len(), 0);
}

#[test]
fn a_teacher_far_above_twenty_times_the_student_is_named() {
    assert_eq!(warnings(&["teacher.hidden_size=1024"], "").len(), 1);
    let found = warnings(&["teacher.hidden_size=1024"], "");
    assert!(found[0].contains("teacher.hidden_size") && found[0].contains("times the student's parameters"));
    assert_eq!(warnings(&["teacher.hidden_size=128"], "").len(), 0);
}

#[test]
fn values_that_nothing_uses_are_named() {
    for (overrides, grid, key) in [
        (&["loss.beta=0.3"][..], "", "loss.beta"),
        (&["loss.skew=0.3"], "", "loss.skew"),
        (&["loss.kind=logit_mse", "loss.temperature=3"], "", "loss.temperature"),
        (&["loss.kind=none", "loss.alpha=0.5"], "", "loss.alpha"),
        (&[], "[grid]\nloss.beta = [0.1, 0.2]", "loss.beta"),
        (&["train.steps=5", "train.epochs=2"], "", "train.epochs"),
        (&["schedule.kind=minimind", "schedule.warmup_steps=2"], "", "schedule.warmup_steps"),
        (&["evaluate.every=3"], "", "evaluate.every"),
        (&["student.partial=true"], "", "student.partial"),
        (&["teacher.top_k=8"], "", "teacher.top_k"),
        (&["teacher.signal=hidden", "teacher.cache_budget=3"], "", "teacher.cache_budget"),
    ] {
        let found = warnings(overrides, grid);
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        assert!(found[0].contains(&format!("`{key}` changes nothing")), "{}", found[0]);
    }
    assert!(warnings(&["loss.beta=0.3"], "[grid]\nloss.kind = [\"js\", \"tvd\"]").is_empty());
}

#[test]
fn values_of_a_base_need_not_be_used() {
    let bench = Bench::new();
    bench.write("base.toml", &format!("{COMPLETE}\n[loss]\nbeta = 0.3\n[train]\nepochs = 3"));
    bench.write("e.toml", "extends = \"base.toml\"\n[train]\nsteps = 5");
    assert!(bench.load_file("e.toml", &[], &[]).unwrap().warnings.is_empty());
    assert_eq!(bench.load_file("base.toml", &[], &[]).unwrap().warnings.len(), 1);
}

#[test]
fn an_exclusion_that_matches_nothing_is_named() {
    let found = warnings(&[], "[grid]\nloss.alpha = [0, 1]\n[[exclude]]\nloss.alpha = 0.5");
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("e.toml:14:1: this [[exclude]] matches no point"), "{}", found[0]);
}

#[test]
fn held_out_data_that_is_trained_on_is_named() {
    let found = warnings(&["data.validation=train.jsonl"], "");
    assert!(found[0].contains("`data.validation` names a file of `data.train`"), "{}", found[0]);
}
