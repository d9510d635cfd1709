//! Paths in experiment files: what relative ones are relative to.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::spec::PATH_KEYS;

/// Makes the paths of a value absolute, if the key holds paths.
pub(super) fn absolute_under(key: &str, value: &mut Value, directory: &Path) {
    if PATH_KEYS.contains(&key) {
        make_absolute(value, directory);
        return;
    }
    if let Value::Object(object) = value {
        for (name, value) in object {
            absolute_under(&super::check::joined(key, name), value, directory);
        }
    }
}

fn make_absolute(value: &mut Value, directory: &Path) {
    match value {
        Value::String(path) => *path = absolute(directory, Path::new(&*path)).to_string_lossy().into_owned(),
        Value::Array(paths) => paths.iter_mut().for_each(|path| make_absolute(path, directory)),
        _ => {}
    }
}

/// A path from a directory on, without `.` and, where that changes nothing, without `..`.
pub(super) fn absolute(directory: &Path, path: &Path) -> PathBuf {
    let joined = directory.join(path);
    let mut short = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if short.file_name().is_some() => drop(short.pop()),
            Component::ParentDir if short.has_root() => {}
            other => short.push(other),
        }
    }
    // Behind a symbolic link, `..` is not the directory before it.
    match (std::fs::canonicalize(&joined), std::fs::canonicalize(&short)) {
        (Ok(real), Ok(guess)) if real != guess => joined,
        (Ok(_), Err(_)) => joined,
        _ => short,
    }
}

/// The name in a directory that is nearest to one that is not there.
pub(super) fn nearest_entry(missing: &Path) -> Option<String> {
    let wanted = missing.file_name().and_then(OsStr::to_str)?;
    let entries =
        std::fs::read_dir(missing.parent().filter(|parent| !parent.as_os_str().is_empty())?).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str().map(str::to_owned)).collect();
    names.sort();
    super::suggest::nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_directory_and_lose_their_dots() {
        let directory = Path::new("/nowhere/experiments");
        assert_eq!(
            absolute(directory, Path::new("../toydata/./a.jsonl")),
            Path::new("/nowhere/toydata/a.jsonl")
        );
        assert_eq!(absolute(directory, Path::new("/etc/x")), Path::new("/etc/x"));
        assert_eq!(absolute(Path::new("/"), Path::new("../../x")), Path::new("/x"));
    }

    #[cfg(unix)]
    #[test]
    fn dots_behind_a_symbolic_link_stay() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("far/away")).unwrap();
        std::fs::write(root.path().join("far/x"), "").unwrap();
        std::os::unix::fs::symlink(root.path().join("far/away"), root.path().join("link")).unwrap();
        let found = absolute(root.path(), Path::new("link/../x"));
        assert!(found.exists(), "{}", found.display());
    }

    #[test]
    fn only_path_keys_are_changed() {
        let mut value = serde_json::json!({ "train": ["a", "/b"], "prompt": "a", "tokenizer": "t" });
        absolute_under("data", &mut value, Path::new("/d"));
        let expected = serde_json::json!({ "train": ["/d/a", "/b"], "prompt": "a", "tokenizer": "/d/t" });
        assert_eq!(value, expected);
    }

    #[test]
    fn conditional_keys_are_keys() {
        for conditional in &crate::spec::relevance::CONDITIONAL {
            let key = conditional.key;
            assert!(super::super::shape::Shapes::get().field(key).is_some(), "{key}");
        }
    }

    #[test]
    fn path_keys_are_keys() {
        for key in PATH_KEYS {
            assert!(super::super::shape::Shapes::get().field(key).is_some(), "{key}");
        }
    }
}
