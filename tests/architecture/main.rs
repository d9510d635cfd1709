//! The house stands: its modules import only from those below them, no two files need each other, and files
//! and lines stay short.
//!
//! The sources are read as text: `use` and paths written in full, each followed through what modules pass on
//! (`pub use`) to the file that defines the name.

mod made_up;
mod module;
mod rules;
mod tokens;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use rules::Breaches;
use tree::Tree;

/// From the ground up: a module imports from those before it, and from no other.
const FLOORS: [&str; 17] = [
    "interrupt",
    "thread_log",
    "kernels",
    "spec",
    "store",
    "model",
    "data",
    "cache",
    "distill",
    "experiment",
    "schedule",
    "track",
    "report",
    "compare",
    "bench",
    "cli",
    "main",
];

/// Modules whose files still go in circles among themselves. It only gets shorter.
const CIRCLES: [&str; 7] = ["bench", "cache", "distill", "kernels", "report", "schedule", "store"];

const MOST_LINES: usize = 400;

/// Files that are longer, and how long they may be. It only gets shorter.
const LONG_FILES: [(&str, usize); 11] = [
    ("kernels/cpu/loss/mod.rs", 421),
    ("kernels/cube/row_loss.rs", 402),
    ("kernels/extension.rs", 477),
    ("model/config.rs", 582),
    ("report/page.rs", 481),
    ("report/plots/curves.rs", 408),
    ("report/plots/panel.rs", 470),
    ("schedule/dispatcher.rs", 550),
    ("schedule/plan.rs", 456),
    ("schedule/slurm/dispatch.rs", 432),
    ("store/checkpoint.rs", 418),
];

/// As `max_width` of `rustfmt.toml`, which leaves comments and texts alone.
const MOST_COLUMNS: usize = 110;

/// Files with wider lines, and how many. It only gets shorter.
const WIDE_FILES: [(&str, usize); 62] = [
    ("bench/error.rs", 1),
    ("bench/mod.rs", 4),
    ("bench/report.rs", 5),
    ("bench/step.rs", 1),
    ("bench/tensor_peak.rs", 3),
    ("bench/traffic.rs", 2),
    ("cache/error.rs", 1),
    ("cache/writer.rs", 1),
    ("compare/mod.rs", 1),
    ("distill/teacher/choose.rs", 2),
    ("experiment/tests/identity.rs", 2),
    ("kernels/adamw.rs", 3),
    ("kernels/cpu/adamw.rs", 1),
    ("kernels/cpu/amx.rs", 9),
    ("kernels/cpu/attention/forward.rs", 1),
    ("kernels/cpu/attention/local.rs", 1),
    ("kernels/cpu/attention/mod.rs", 4),
    ("kernels/cpu/attention/tests.rs", 2),
    ("kernels/cpu/loss/mod.rs", 5),
    ("kernels/cpu/loss/passes.rs", 5),
    ("kernels/cpu/loss/reference.rs", 1),
    ("kernels/cpu/loss/rows.rs", 4),
    ("kernels/cpu/loss/tests.rs", 2),
    ("kernels/cpu/micro.rs", 4),
    ("kernels/cpu/norm.rs", 8),
    ("kernels/cpu/pack.rs", 1),
    ("kernels/cpu/rotary.rs", 1),
    ("kernels/cpu/swiglu.rs", 1),
    ("kernels/cpu/transpose.rs", 4),
    ("kernels/cpu/vector.rs", 3),
    ("kernels/cube/adamw.rs", 2),
    ("kernels/cube/attention.rs", 1),
    ("kernels/cube/chunk.rs", 1),
    ("kernels/cube/heads.rs", 1),
    ("kernels/cube/loss.rs", 1),
    ("kernels/cube/mod.rs", 1),
    ("kernels/cube/operand.rs", 4),
    ("kernels/cube/row_loss.rs", 2),
    ("kernels/flex/attention.rs", 1),
    ("kernels/mod.rs", 1),
    ("kernels/ops.rs", 1),
    ("model/error.rs", 1),
    ("model/weights.rs", 1),
    ("report/findings.rs", 1),
    ("report/tables.rs", 1),
    ("schedule/device/choice.rs", 2),
    ("schedule/device/name.rs", 1),
    ("schedule/dispatcher.rs", 2),
    ("schedule/failure.rs", 4),
    ("schedule/gpu_memory.rs", 5),
    ("schedule/host/client.rs", 1),
    ("schedule/host/mod.rs", 2),
    ("schedule/host/serve.rs", 2),
    ("schedule/plan.rs", 7),
    ("schedule/process.rs", 2),
    ("schedule/search/candidates.rs", 3),
    ("schedule/worker.rs", 2),
    ("spec/mod.rs", 1),
    ("store/checkpoint.rs", 1),
    ("store/lease/mod.rs", 1),
    ("store/mod.rs", 1),
    ("store/records.rs", 1),
];

/// The files under `src`, by their paths there.
fn read_sources() -> BTreeMap<String, String> {
    fn visit(directory: &Path, root: &Path, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, root, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    visit(&root, &root, &mut files);
    files
}

fn read_tree(files: &BTreeMap<String, String>) -> Tree {
    Tree::read(files.iter().map(|(file, text)| (file.as_str(), text.as_str())))
}

fn expect_none(breaches: &Breaches) {
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn modules_import_only_from_below() {
    expect_none(&rules::find_upward_arrows(&read_tree(&read_sources()), &FLOORS));
}

#[test]
fn no_files_go_in_circles() {
    let circles = rules::find_circles(&read_tree(&read_sources()).arrows());
    let is_known = |module: &str, files: &BTreeSet<String>| {
        files.iter().all(|file| file.strip_prefix(module).is_some_and(|rest| rest.starts_with('/')))
    };
    let mut breaches = Breaches::new();
    for (files, way) in &circles {
        if !CIRCLES.iter().any(|module| is_known(module, files)) {
            breaches.push(format!("{} files need each other: {way}", files.len()));
        }
    }
    for module in CIRCLES {
        if !circles.iter().any(|(files, _)| is_known(module, files)) {
            breaches.push(format!("{module} has no circle any more: take it off the list"));
        }
    }
    expect_none(&breaches);
}

#[test]
fn files_are_short() {
    expect_none(&rules::find_long_files(&read_sources(), MOST_LINES, &LONG_FILES));
}

#[test]
fn lines_fit_the_page() {
    expect_none(&rules::find_wide_lines(&read_sources(), MOST_COLUMNS, &WIDE_FILES));
}
