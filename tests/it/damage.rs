//! Run directories that were damaged: named, and repeated alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::sweeps::{Place, TINY, both, json, state};

type Damage = (&'static str, fn(&Path));

fn truncate(path: &Path) {
    let bytes = fs::read(path).expect("a file");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("a shorter file");
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).expect("another file");
}

fn another_version(path: &Path) {
    let text = fs::read_to_string(path).expect("a file");
    fs::write(path, text.replace("\"format_version\": 2", "\"format_version\": 7")).expect("another file");
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("a file");
}

fn results(place: &Place) -> Vec<(Vec<u8>, Vec<u8>)> {
    let read = |run: &PathBuf, name: &str| fs::read(run.join(name)).expect(name);
    let runs = place.runs().into_iter().filter(|run| !is_aside(run));
    runs.map(|run| (read(&run, "metrics.jsonl"), read(&run, "model/model.safetensors"))).collect()
}

fn is_aside(run: &Path) -> bool {
    run.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".damaged-"))
}

/// When each file of the other runs was last changed.
fn others(place: &Place, victim: &Path) -> Vec<(PathBuf, SystemTime)> {
    let runs = place.runs().into_iter().chain(place.needs());
    let runs = runs.filter(|run| run != victim && !is_aside(run));
    let files = runs
        .flat_map(|run| ["run.json", "status.json", "summary.json", "metrics.jsonl"].map(|f| run.join(f)));
    files
        .map(|file| (file.clone(), fs::metadata(&file).and_then(|m| m.modified()).expect("a time")))
        .collect()
}

#[test]
fn a_damaged_run_is_named_and_repeated_alone() {
    let place = Place::new(TINY);
    place.succeeds(&["sweep", "tiny.toml"]);
    let whole = results(&place);
    let victim = place.runs()[1].clone();
    let seen_by_a_sweep: [(&str, &[Damage]); 5] = [
        (
            "run.json",
            &[
                ("cut", truncate),
                ("flipped", flip),
                ("of another version", another_version),
                ("missing", remove),
            ],
        ),
        ("status.json", &[("cut", truncate), ("of another version", another_version), ("missing", remove)]),
        (
            "summary.json",
            &[
                ("cut", truncate),
                ("flipped", flip),
                ("of another version", another_version),
                ("missing", remove),
            ],
        ),
        ("metrics.jsonl", &[("cut", truncate), ("missing", remove)]),
        ("model/model.safetensors", &[("cut", truncate), ("missing", remove)]),
    ];
    for (name, damages) in seen_by_a_sweep {
        for (how, damage) in damages {
            let before = others(&place, &victim);
            damage(&victim.join(name));
            let ls = place.kdx(&["ls", "tiny"]);
            assert!(!ls.status.success() && both(&ls).contains(name), "{name} {how}: {}", both(&ls));
            place.succeeds(&["ls"]);
            let output = place.succeeds(&["sweep", "tiny.toml"]);
            let file = victim.join(name).strip_prefix(place.path()).expect("a path").display().to_string();
            assert!(output.contains("begins again") && output.contains(&file), "{name} {how}: {output}");
            assert!(output.contains("1 finished"), "{name} {how}: {output}");
            assert_eq!(json(&victim.join("status.json"))["attempt"], 1);
            assert!(others(&place, &victim) == before, "{name} {how}: another run was touched");
            assert!(results(&place) == whole, "{name} {how}: other results");
        }
    }
    assert_eq!(place.runs().iter().filter(|run| is_aside(run)).count(), 15);
    place.succeeds(&["gc", "--runs"]);
    assert_eq!(place.runs().len(), 3);
}

#[test]
fn a_flipped_bit_is_found_by_verification_and_in_reports() {
    let place = Place::new(TINY);
    place.succeeds(&["sweep", "tiny.toml"]);
    place.succeeds(&["verify"]);
    let whole = results(&place);
    let victim = place.runs()[0].clone();
    for name in ["metrics.jsonl", "model/model.safetensors", "model/config.json"] {
        flip(&victim.join(name));
        let output = place.kdx(&["verify", "tiny"]);
        assert!(!output.status.success() && both(&output).contains(name), "{}", both(&output));
        if name == "metrics.jsonl" {
            let report = both(&place.kdx(&["report", "tiny"]));
            assert!(report.contains("metrics.jsonl") && report.contains("kdx verify --reset"), "{report}");
        }
        let output = place.succeeds(&["verify", "--reset"]);
        assert!(output.contains("set aside as") && output.contains("1 damaged"), "{output}");
        assert!(!victim.exists());
        let output = place.succeeds(&["sweep", "tiny.toml"]);
        assert!(output.contains("1 finished"), "{output}");
        place.succeeds(&["verify"]);
        assert!(results(&place) == whole, "{name}");
    }
}

#[test]
fn a_damaged_status_of_a_run_that_is_not_done_stops_nothing() {
    let place = Place::new(TINY);
    place.succeeds(&["sweep", "tiny.toml"]);
    let whole = results(&place);
    let run = place.runs()[2].clone();
    // Begun, and killed before its first checkpoint.
    for name in ["summary.json", "model/model.safetensors"] {
        remove(&run.join(name));
    }
    let text = fs::read_to_string(run.join("status.json")).expect("a status").replace("finished", "running");
    fs::write(run.join("status.json"), &text).expect("a status");
    for (file, damage) in
        [("status.json", truncate as fn(&Path)), ("status.json", remove), ("run.json", truncate)]
    {
        fs::write(run.join("status.json"), &text).expect("a status");
        damage(&run.join(file));
        let output = place.succeeds(&["sweep", "tiny.toml"]);
        assert!(output.contains(file) && output.contains("1 finished"), "{output}");
        assert_eq!(state(&run), "finished");
        assert!(results(&place) == whole);
        remove(&run.join("summary.json"));
    }
}

#[test]
fn a_killed_run_whose_checkpoint_is_damaged_is_set_aside() {
    let place = Place::new(TINY);
    place.succeeds(&["sweep", "tiny.toml"]);
    let whole = results(&place);
    let victim = place.runs()[0].clone();
    // As a worker leaves it that was killed, on a disk that lost a byte.
    let status = fs::read_to_string(victim.join("status.json")).expect("a status");
    fs::write(victim.join("status.json"), status.replace("finished", "running")).expect("a status");
    remove(&victim.join("summary.json"));
    assert!(place.succeeds(&["ls", "tiny"]).contains("killed"));
    assert!(
        place.succeeds(&["show", &victim.file_name().expect("an id").to_string_lossy()]).contains("killed")
    );
    fs::create_dir(victim.join("checkpoint")).expect("a directory");
    fs::write(victim.join("checkpoint/checkpoint.json"), "{").expect("a checkpoint");
    let output = place.succeeds(&["verify", "--reset"]);
    assert!(output.contains("set aside as") && output.contains("checkpoint.json"), "{output}");
    assert!(!victim.exists());
    place.succeeds(&["sweep", "tiny.toml"]);
    assert!(results(&place) == whole);
}
