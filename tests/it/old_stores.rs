//! Stores of earlier versions are read.

use std::fs;
use std::path::Path;

use kdx::spec::{ModelSource, Purpose, RunId};
use kdx::store::Store;

use crate::support::root;
use crate::sweeps::Place;

/// A place whose store is a copy of that of version 1.
fn with_old_store() -> Place {
    let place = Place::new("");
    copy(&root().join("tests/stores/v1"), &place.path().join("runs"));
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_store_of_version_1_is_listed_shown_verified_reported_and_compared() {
    let place = with_old_store();
    let list = place.succeeds(&["ls", "old"]);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let list: Vec<String> = list.lines().map(words).collect();
    assert!(list.iter().any(|line| line.starts_with("c8274cf2425d32ab finished teacher 2.7630")), "{list:?}");
    assert!(
        list.iter().any(|line| line.starts_with("4b7ef7dbff870b39 finished temperature=1.0 2.7700")),
        "{list:?}"
    );
    let show = place.succeeds(&["show", "4b7e"]);
    assert!(show.contains("teacher       c8274cf2425d32ab, finished"), "{show}");
    assert!(show.contains("held out      hard loss 2.7700") && show.contains("hidden_size = 8"), "{show}");
    assert!(place.succeeds(&["verify"]).contains("3 runs read, 0 damaged"));

    place.succeeds(&["report", "old"]);
    let runs = fs::read_to_string(place.path().join("reports/old/runs.csv")).unwrap();
    let header = runs.lines().next().unwrap();
    for column in ["teacher.hidden_size", "teacher.train.steps", "student.hidden_size", "teacher_run"] {
        assert!(header.split(',').any(|name| name == column), "{column} in {header}");
    }
    assert!(runs.contains("c8274cf2425d32ab"), "{runs}");
    place.succeeds(&["compare", "old", "reports/old"]);
    assert!(place.succeeds(&["gc", "--runs"]).lines().all(|line| !line.contains("removed")));
    assert_eq!(place.succeeds(&["rm", "old", "--dry-run"]).matches("would remove").count(), 4);
}

#[test]
fn a_record_of_version_1_says_what_one_of_today_says() {
    let place = with_old_store();
    let store = Store::new(place.path().join("runs"));
    let record = store.run_dir(&RunId("61149d8817c9fa3c".to_owned())).record().unwrap();
    let stage = record.spec.stage();
    let teacher = RunId("c8274cf2425d32ab".to_owned());
    assert_eq!(stage.teachers[0].model, ModelSource::Run(teacher.clone()));
    assert_eq!(stage.purpose_of(&teacher), Some(Purpose::Teacher));
    assert_eq!((stage.loss.temperature, stage.train.steps, stage.evaluate.every), (2.0, Some(4), 2));
    assert_eq!(record.recompute_id(), Ok(None), "its id was made in another way");
    let experiment = store.experiment("old").unwrap();
    assert_eq!(experiment.needs.iter().map(|need| &need.run_id).collect::<Vec<_>>(), [&teacher]);
}
