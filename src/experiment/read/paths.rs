//! Paths in experiment files: what relative ones are relative to.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::experiment::{key, suggest};
use crate::spec::PATH_KEYS;

/// Makes the paths of a value absolute, if the key holds paths.
pub(crate) fn make_paths_absolute(key: &str, value: &mut Value, directory: &Path) {
    if PATH_KEYS.contains(&key) {
        change_paths(value, directory);
        return;
    }
    if let Value::Object(object) = value {
        for (name, value) in object {
            make_paths_absolute(&key::join(key, name), value, directory);
        }
    }
}

fn change_paths(value: &mut Value, directory: &Path) {
    match value {
        Value::String(path) => {
            *path = make_absolute(directory, Path::new(&*path)).to_string_lossy().into_owned()
        }
        Value::Array(paths) => paths.iter_mut().for_each(|path| change_paths(path, directory)),
        _ => {}
    }
}

/// A path from a directory on, without `.` and, where that changes nothing, without `..`.
pub(crate) fn make_absolute(directory: &Path, path: &Path) -> PathBuf {
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
pub(crate) fn find_nearest_entry(missing: &Path) -> Option<String> {
    let wanted = missing.file_name().and_then(OsStr::to_str)?;
    let entries =
        std::fs::read_dir(missing.parent().filter(|parent| !parent.as_os_str().is_empty())?).ok()?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str().map(str::to_owned)).collect();
    names.sort();
    suggest::find_nearest(wanted, names.iter().map(String::as_str)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_start_at_the_directory_and_lose_their_dots() {
        let directory = Path::new("/nowhere/experiments");
        assert_eq!(
            make_absolute(directory, Path::new("../toydata/./a.jsonl")),
            Path::new("/nowhere/toydata/a.jsonl")
        );
        assert_eq!(make_absolute(directory, Path::new("/etc/x")), Path::new("/etc/x"));
        assert_eq!(make_absolute(Path::new("/"), Path::new("../../x")), Path::new("/x"));
    }

    #[cfg(unix)]
    #[test]
    fn dots_behind_a_symbolic_link_stay() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("far/away")).unwrap();
        std::fs::write(root.path().join("far/x"), "").unwrap();
        std::os::unix::fs::symlink(root.path().join("far/away"), root.path().join("link")).unwrap();
        let found = make_absolute(root.path(), Path::new("link/../x"));
        assert!(found.exists(), "{}", found.display());
    }

    #[test]
    fn only_path_keys_are_changed() {
        let mut value = serde_json::json!({ "train": ["a", "/b"], "prompt": "a", "tokenizer": "t" });
        make_paths_absolute("data", &mut value, Path::new("/d"));
        let expected = serde_json::json!({ "train": ["/d/a", "/b"], "prompt": "a", "tokenizer": "/d/t" });
        assert_eq!(value, expected);
    }

    #[test]
    fn conditional_keys_are_keys() {
        for conditional in &crate::spec::relevance::CONDITIONAL {
            let key = conditional.key;
            assert!(crate::experiment::schema::shape::Shapes::get().field(key).is_some(), "{key}");
        }
    }

    #[test]
    fn path_keys_are_keys() {
        for key in PATH_KEYS {
            assert!(crate::experiment::schema::shape::Shapes::get().field(key).is_some(), "{key}");
        }
    }
}
