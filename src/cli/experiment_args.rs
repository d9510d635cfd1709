//! The arguments of commands that read an experiment file.

use std::path::{Path, PathBuf};

use super::global::{DEFAULT_STORE, Global};
use crate::experiment::{self, Experiment};

/// An experiment file, and keys that are set over it.
#[derive(Debug, clap::Args)]
pub struct ExperimentArgs {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Set a key, over the file and the environment: `--set loss.temperature=2`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl ExperimentArgs {
    /// Reads the experiment and prints its warnings.
    pub fn load(&self) -> miette::Result<Experiment> {
        let experiment = experiment::load(&self.file, &self.overrides)?;
        for warning in &experiment.warnings {
            eprintln!("warning: {warning}");
        }
        Ok(experiment)
    }

    /// A command that works on the same experiment, as it is typed into a shell.
    pub fn command_line(&self, global: &Global, command: &str) -> String {
        let mut words = vec!["kdx".to_owned(), command.to_owned(), self.file.display().to_string()];
        if global.store != Path::new(DEFAULT_STORE) {
            words.extend(["--store".to_owned(), global.store.display().to_string()]);
        }
        words.extend(self.overrides.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        quote_words(&words)
    }
}

/// Words as a shell reads them.
fn quote_words(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let quoted = words.iter().map(|word| {
        let word_is_plain = !word.is_empty() && word.chars().all(is_plain);
        if word_is_plain { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
