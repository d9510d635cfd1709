//! What stands behind the paths of an experiment.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::experiment::read::paths;

/// What a path must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Expected {
    File,
    /// A directory with `tokenizer.json`, or that file.
    Tokenizer,
    /// A directory with `config.json`.
    Model,
}

/// Remembers what was found, so that a path that many points share is looked at once.
#[derive(Debug, Default)]
pub(super) struct Files(HashMap<(PathBuf, Expected), Option<(String, String)>>);

impl Files {
    /// What is wrong with a path, and what to do about it.
    pub fn find_fault(&mut self, path: &Path, expected: Expected) -> Option<(String, String)> {
        if let Some(known) = self.0.get(&(path.to_owned(), expected)) {
            return known.clone();
        }
        let fault = look_for_fault(path, expected);
        self.0.insert((path.to_owned(), expected), fault.clone());
        fault
    }
}

fn look_for_fault(path: &Path, expected: Expected) -> Option<(String, String)> {
    let relative = "relative paths start at the directory of the file that holds them".to_owned();
    if !path.exists() {
        let near = paths::find_nearest_entry(path).map(|near| format!("did you mean {near}?"));
        return Some((format!("{} does not exist", path.display()), near.unwrap_or(relative)));
    }
    let (is_directory, missing) = match expected {
        Expected::File => (false, None),
        Expected::Tokenizer => (true, Some("tokenizer.json")),
        Expected::Model => (true, Some("config.json")),
    };
    if expected == Expected::File && path.is_dir() {
        let help = "name the file, or several in a list".to_owned();
        return Some((format!("{} is a directory, not a file", path.display()), help));
    }
    if expected == Expected::Model && !path.is_dir() {
        let help = "name the Hugging Face directory, with `config.json` and `model.safetensors`".to_owned();
        return Some((format!("{} is a file, not a directory", path.display()), help));
    }
    let missing = missing.filter(|name| is_directory && path.is_dir() && !path.join(name).exists())?;
    Some((
        format!("{} has no {missing}", path.display()),
        format!("a Hugging Face directory has a {missing}"),
    ))
}
