//! What was submitted: kept in the store, so that a sweep that died finds its jobs again.
//!
//! ```text
//! slurm/EXPERIMENT/
//!   submissions.json   which task of which job trains which run   replaced
//!   sweep.N            the lease of the sweep that submits
//!   NAME.sh            the batch script of a submission
//!   NAME.tasks         line N: run and log file of task N
//!   NAME_N.out         what Slurm said about task N
//! ```
//!
//! A submission is recorded, under a name that no other has, before it is made. So one that was made
//! and whose number was never recorded is found in Slurm's queue by its name, and none is made twice.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::SlurmError;
use crate::store::file::{read_json_if_there, write_atomic, write_json};
use crate::store::{FORMAT_VERSION, Lease, LeasePlace, LeaseTimes, RunId, Store, StoreError};

/// A job array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// The job's name, unlike any other's.
    pub name: String,
    /// Slurm's number; none until it has answered.
    pub job: Option<u64>,
    /// The tasks; the first has number 1.
    pub tasks: Vec<SubmittedTask>,
}

/// A task of a job array: one attempt at a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubmittedTask {
    /// The run.
    pub run: RunId,
    /// Attempts of the run before this one.
    pub attempts_before: u32,
    /// Steps that its checkpoint held before this one.
    pub steps_before: u64,
}

/// `submissions.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format_version: u32,
    submissions: Vec<Submission>,
}

/// The submissions of one experiment, and the right to change them.
#[derive(Debug)]
pub struct Submissions {
    directory: PathBuf,
    submissions: Vec<Submission>,
    _lease: Lease,
}

impl Submissions {
    /// Reads what was submitted for an experiment, and keeps others from submitting for it.
    ///
    /// # Errors
    /// [`SlurmError::Busy`] where another sweep does so already.
    pub fn open(store: &Store, experiment: &str) -> Result<Self, SlurmError> {
        let directory = store.slurm_dir(experiment);
        fs::create_dir_all(&directory).map_err(StoreError::io("create", &directory))?;
        let times = LeaseTimes::from_env()?;
        let Some(lease) = LeasePlace::new(&directory, "sweep").try_acquire(times)? else {
            return Err(SlurmError::Busy { experiment: experiment.to_owned() });
        };
        let record: Option<Record> = read_json_if_there(&directory.join(RECORD))?;
        let submissions = record.map_or_else(Vec::new, |record| record.submissions);
        Ok(Self { directory, submissions, _lease: lease })
    }

    /// All submissions that may have tasks left, the oldest first.
    pub fn all(&self) -> &[Submission] {
        &self.submissions
    }

    /// The submission of that name.
    pub fn get(&self, name: &str) -> Option<&Submission> {
        self.submissions.iter().find(|submission| submission.name == name)
    }

    /// Where the script of a submission is.
    pub fn script_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.sh"))
    }

    /// Where the task file of a submission is.
    pub fn tasks_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.tasks"))
    }

    /// Where Slurm's messages about the tasks of a submission are, with `%a` for the task's number.
    pub fn output_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}_%a.out"))
    }

    /// Records a submission that is about to be made, with its files.
    pub fn add(&mut self, submission: Submission, script: &str, store: &Store) -> Result<(), StoreError> {
        let lines = task_file(&submission.tasks, store);
        write_atomic(&self.tasks_path(&submission.name), lines.as_bytes())?;
        write_atomic(&self.script_path(&submission.name), script.as_bytes())?;
        self.submissions.push(submission);
        self.write()
    }

    /// Records Slurm's number of a submission.
    pub fn set_job(&mut self, name: &str, job: u64) -> Result<(), StoreError> {
        let found = self.submissions.iter_mut().find(|submission| submission.name == name);
        let Some(submission) = found.filter(|submission| submission.job != Some(job)) else { return Ok(()) };
        submission.job = Some(job);
        self.write()
    }

    /// Forgets a submission that has no task left. What Slurm said about its tasks stays.
    pub fn remove(&mut self, name: &str) -> Result<(), StoreError> {
        let Some(place) = self.submissions.iter().position(|submission| submission.name == name) else {
            return Ok(());
        };
        let removed = self.submissions.remove(place);
        self.write()?;
        // Losing one of these costs a stale file.
        let _ = fs::remove_file(self.script_path(name));
        let _ = fs::remove_file(self.tasks_path(name));
        for task in 1..=removed.tasks.len() {
            let output = self.directory.join(format!("{name}_{task}.out"));
            if fs::metadata(&output).is_ok_and(|metadata| metadata.len() == 0) {
                let _ = fs::remove_file(output);
            }
        }
        Ok(())
    }

    fn write(&self) -> Result<(), StoreError> {
        let record = Record { format_version: FORMAT_VERSION, submissions: self.submissions.clone() };
        write_json(&self.directory.join(RECORD), &record)
    }
}

const RECORD: &str = "submissions.json";

/// What a batch script reads: a line a task.
pub fn task_file(tasks: &[SubmittedTask], store: &Store) -> String {
    let line = |task: &SubmittedTask| {
        let log = store.run_dir(&task.run).log_path();
        format!("{}\t{}\n", task.run, log.display())
    };
    tasks.iter().map(line).collect()
}

/// A name for a submission that no other has, in letters that every Slurm takes.
pub fn new_name(experiment: &str) -> String {
    let of_now = format!("{:?} {}", std::time::SystemTime::now(), std::process::id());
    let unique = &blake3::hash(of_now.as_bytes()).to_hex()[..8];
    format!("kdx-{experiment}-{unique}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(name: &str) -> Submission {
        let task = |run: &str| SubmittedTask { run: RunId(run.into()), attempts_before: 1, steps_before: 40 };
        Submission { name: name.into(), job: None, tasks: vec![task("aa"), task("bb")] }
    }

    #[test]
    fn what_was_submitted_outlives_the_sweep() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let mut submissions = Submissions::open(&store, "temps").unwrap();
        submissions.add(submission("one"), "#!/bin/bash\n", &store).unwrap();
        submissions.add(submission("two"), "#!/bin/bash\n", &store).unwrap();
        submissions.set_job("two", 12).unwrap();
        submissions.remove("one").unwrap();
        let tasks = fs::read_to_string(submissions.tasks_path("two")).unwrap();
        let log = root.path().join("runs/bb/log.txt");
        assert_eq!(tasks.lines().nth(1).unwrap(), format!("bb\t{}", log.display()));
        assert!(!submissions.script_path("one").exists());
        drop(submissions);

        let again = Submissions::open(&store, "temps").unwrap();
        assert_eq!(again.all(), [Submission { job: Some(12), ..submission("two") }]);
    }

    #[test]
    fn one_sweep_at_a_time_submits_for_an_experiment() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path());
        let _first = Submissions::open(&store, "temps").unwrap();
        assert!(matches!(Submissions::open(&store, "temps"), Err(SlurmError::Busy { .. })));
        assert!(Submissions::open(&store, "other").is_ok());
    }

    #[test]
    fn names_differ() {
        assert_ne!(new_name("temps"), new_name("temps"));
    }
}
