//! The batch script of a job array.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde::Serialize;

use super::error::SlurmError;
use crate::spec::SlurmConfig;

/// The script of experiments that name no template of their own.
pub const DEFAULT_TEMPLATE: &str = include_str!("script.sh.j2");

/// What a template can use.
#[derive(Debug, Clone, Serialize)]
pub struct Script<'a> {
    /// The job's name; kdx finds its jobs by it.
    pub name: &'a str,
    /// The experiment's name.
    pub experiment: &'a str,
    /// The array, as `1-12%4`.
    pub array: String,
    /// The task file: line N has the run and the log file of task N, with tabs between.
    pub tasks: &'a Path,
    /// Where Slurm's own messages about a task go, with `%a` for its number.
    pub output: &'a Path,
    /// The store; absolute.
    pub store: &'a Path,
    /// The kdx to run.
    pub program: &'a Path,
    /// The device to train on, as `cpu`.
    pub device: String,
    /// Seconds without a sign of life after which a worker ends itself; 0 for never.
    pub stall_timeout: f64,
    /// The section `[slurm]`, all keys.
    pub slurm: &'a SlurmConfig,
}

impl Script<'_> {
    /// The script as text, by the experiment's own template or the built-in one.
    ///
    /// # Errors
    /// Where the template cannot be read, is no template, or uses what there is not.
    pub fn render(&self) -> Result<String, SlurmError> {
        let Some(path) = &self.slurm.template else {
            return self.render_with(DEFAULT_TEMPLATE, Path::new("the built-in template"));
        };
        let source = std::fs::read_to_string(path)
            .map_err(|error| SlurmError::Template { path: path.clone(), reason: error.to_string() })?;
        self.render_with(&source, path)
    }

    fn render_with(&self, source: &str, path: &Path) -> Result<String, SlurmError> {
        let failed = |error: minijinja::Error| {
            let line = error.line().map_or(String::new(), |line| format!("line {line}: "));
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            SlurmError::Template { path: path.to_owned(), reason: format!("{line}{detail}") }
        };
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(failed)?);
        environment.add_filter("quote", |text: String| quoted(&text));
        let mut text = environment.render_str(source, Value::from(Serde(self))).map_err(failed)?;
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }
}

/// A word as a shell, and `sbatch` in its `#SBATCH` lines, reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let word_is_plain = !word.is_empty() && word.chars().all(is_plain);
    if word_is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::spec::GpuRequest;

    fn script(slurm: &SlurmConfig) -> Script<'_> {
        Script {
            name: "kdx-temps-1",
            experiment: "temps",
            array: "1-3%2".to_owned(),
            tasks: Path::new("/store/slurm/temps/kdx-temps-1.tasks"),
            output: Path::new("/store/slurm/temps/kdx-temps-1_%a.out"),
            store: Path::new("/my store"),
            program: Path::new("/usr/bin/kdx"),
            device: "cpu".to_owned(),
            stall_timeout: 600.0,
            slurm,
        }
    }

    #[test]
    fn the_script_asks_for_what_the_section_says() {
        let slurm = SlurmConfig {
            partition: Some("short,long".into()),
            account: Some("lab".into()),
            time: Some("04:00:00".into()),
            cpus: 8,
            memory: Some("16G".into()),
            gpus: Some(GpuRequest::Typed("a100:1".into())),
            constraint: Some("amx&ib".into()),
            extra: vec!["--exclude=n7".into()],
            setup: vec!["module load gcc".into()],
            ..SlurmConfig::default()
        };
        let text = script(&slurm).render().unwrap();
        for line in [
            "#SBATCH --array=1-3%2",
            "#SBATCH --cpus-per-task=8",
            "#SBATCH --signal=B:TERM@60",
            "#SBATCH --time=04:00:00",
            "#SBATCH --partition=short,long",
            "#SBATCH --account=lab",
            "#SBATCH --mem=16G",
            "#SBATCH --gres=gpu:a100:1",
            "#SBATCH --constraint='amx&ib'",
            "#SBATCH --exclude=n7",
            "module load gcc",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("--qos"), "{text}");
        assert!(text.contains("exec /usr/bin/kdx --store '/my store' worker"), "{text}");
        // Options behind the first command would be ignored by sbatch.
        let last_option = text.rfind("#SBATCH").unwrap();
        assert!(last_option < text.find("set -euo").unwrap());
    }

    #[test]
    fn without_a_section_nothing_is_asked_for_that_a_cluster_may_lack() {
        let text = script(&SlurmConfig::default()).render().unwrap();
        for option in ["--partition", "--account", "--time", "--mem", "--gres", "--constraint"] {
            assert!(!text.contains(option), "{option}\n{text}");
        }
    }

    #[test]
    fn a_wrong_template_is_named_with_its_line() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("job.j2");
        std::fs::write(&path, "#!/bin/bash\n{{ progam }}\n").unwrap();
        let slurm = SlurmConfig { template: Some(path.clone()), ..SlurmConfig::default() };
        let error = script(&slurm).render().unwrap_err().to_string();
        assert!(error.contains("job.j2") && error.contains("line 2"), "{error}");
        let slurm = SlurmConfig { template: Some(PathBuf::from("/no/such.j2")), ..SlurmConfig::default() };
        assert!(script(&slurm).render().is_err());
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("/a/b-c_1.2"), "/a/b-c_1.2");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
