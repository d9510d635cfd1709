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

use std::collections::BTreeMap;
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

const MOST_LINES: usize = 400;

/// Files that are longer, and how long they may be. It only gets shorter.
const LONG_FILES: [(&str, usize); 3] =
    [("kernels/cpu/loss/tests.rs", 410), ("report/page.rs", 413), ("report/plots/panel.rs", 470)];

/// As `max_width` of `rustfmt.toml`, which leaves comments and texts alone.
const MOST_COLUMNS: usize = 110;

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
    let breaches = circles.iter().map(|(files, way)| format!("{} files need each other: {way}", files.len()));
    expect_none(&breaches.collect());
}

#[test]
fn files_are_short() {
    expect_none(&rules::find_long_files(&read_sources(), MOST_LINES, &LONG_FILES));
}

#[test]
fn lines_fit_the_page() {
    expect_none(&rules::find_wide_lines(&read_sources(), MOST_COLUMNS));
}
