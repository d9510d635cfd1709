//! What kdx writes can be read and written by those whom the umask allows it, and by nobody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::sweeps::{Place, TINY, signal, wait_for};

/// A sweep with a umask of its own: the shell becomes kdx.
fn sweep(place: &Place, umask: &str) -> Child {
    Command::new("sh")
        .args(["-c", "umask $0 && exec \"$@\"", umask, env!("CARGO_BIN_EXE_kdx"), "sweep", "tiny.toml"])
        .current_dir(place.path())
        .env_remove("KDX_STORE")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell")
}

/// Everything below `path`, and itself, with the modes of its directories and of its files.
fn modes(path: &Path, found: &mut Vec<(String, bool, u32)>) {
    let metadata = fs::symlink_metadata(path).expect("metadata");
    found.push((path.display().to_string(), metadata.is_dir(), metadata.permissions().mode() & 0o777));
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            modes(&entry.expect("an entry").path(), found);
        }
    }
}

fn assert_modes(place: &Place, of_files: u32, of_directories: u32, written: &[&str]) {
    let mut found = Vec::new();
    modes(&place.path().join("runs"), &mut found);
    for (path, is_directory, mode) in &found {
        let expected = if *is_directory { of_directories } else { of_files };
        assert_eq!(format!("{mode:o}"), format!("{expected:o}"), "{path}");
    }
    for part in written {
        assert!(found.iter().any(|(path, ..)| path.contains(part)), "no {part} in {found:?}");
    }
}

#[test]
fn all_that_a_sweep_writes_has_the_permissions_that_the_umask_allows() {
    for (umask, of_files, of_directories) in [("027", 0o640, 0o750), ("002", 0o664, 0o775)] {
        let place = Place::new(TINY);
        assert!(sweep(&place, umask).wait().expect("kdx ends").success());
        let written = [
            "/model/model.safetensors",
            "/model/tokenizer.json",
            "/best/model.safetensors",
            "/summary.json",
            "/metrics.jsonl",
            "/log.txt",
            "/lease.",
            "/experiments/tiny.json",
            "/cache/signals/",
            "/cache/tokens/",
        ];
        assert_modes(&place, of_files, of_directories, &written);
    }
}

#[test]
fn a_checkpoint_has_the_permissions_that_the_umask_allows() {
    let text = TINY.replace("steps = 6\n", "steps = 1000000\ncheckpoint_every = 0.05\n");
    let place = Place::new(&text);
    let mut sweep = sweep(&place, "027");
    let has_checkpoint = |run: &std::path::PathBuf| run.join("checkpoint/checkpoint.json").exists();
    wait_for("a checkpoint", || place.runs().iter().any(has_checkpoint));
    signal(sweep.id(), Signal::INT);
    sweep.wait().expect("kdx ends");
    assert_modes(&place, 0o640, 0o750, &["/weights.safetensors", "/checkpoint/checkpoint.json"]);
}
