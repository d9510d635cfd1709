//! What the files of a run directory hold. Every file carries `format_version`.

use serde::{Deserialize, Serialize};

use super::measured::Evaluation;
use crate::spec::CompareConfig;
pub use crate::spec::{FORMAT_VERSION, NeededRun, PlannedRun, Purpose, RunId, RunRecord};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Not begun, or begun and not finished by anyone.
    Planned,
    /// A worker owns it.
    Running,
    /// Stopped on request before its end.
    Interrupted,
    /// Its worker died without a word. No worker writes this: it is what
    /// [`RunDir::state`](super::RunDir::state) says of a status of `running` that nobody owns any more.
    Killed,
    /// Trained to its last step and measured.
    Finished,
    /// Ended because the loss was no longer finite.
    Diverged,
    /// Given up after its last attempt.
    Failed,
    /// Trained to a step that a search asked for; whether it goes on depends on other runs.
    Paused,
    /// Given up by a search, as others did better; its checkpoint stays.
    Stopped,
}

impl RunState {
    /// Whether the run will not be run again by any command. A run that a search stopped can be: by a sweep
    /// without the search.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Finished | Self::Diverged)
    }

    /// Whether the run is done, or a search gave it up: what the sweep that left it so has no more to do.
    pub fn is_settled(self) -> bool {
        self.is_done() || self == Self::Stopped
    }

    /// The word that tables and files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Killed => "killed",
            Self::Finished => "finished",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// `status.json`: where the run stands. Replaced as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Where the run stands.
    pub state: RunState,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The device it runs on, as `cpu` or `cuda:0`.
    pub device: String,
    /// CPU threads of the worker.
    pub threads: usize,
    /// Process id of the worker.
    pub pid: u32,
    /// Start of this attempt, RFC 3339 in UTC.
    pub started: String,
    /// Last change, RFC 3339 in UTC.
    pub updated: String,
    /// Why it diverged, failed or was stopped.
    pub reason: Option<String>,
}

/// The evaluation with the lowest held-out hard loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Optimizer steps taken by then.
    pub step: u64,
    /// Cross-entropy on the labels, nats a token.
    pub hard_loss: f64,
}

/// `summary.json`: what a run that ended came to. Written at its end; and by a search that gives a run up,
/// with what it had come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Optimizer steps taken.
    pub steps: u64,
    /// Passes over the training data.
    pub epochs: f64,
    /// Tokens that went through the student in training, padding left out.
    pub tokens: u64,
    /// Training tokens a second, evaluation left out.
    pub tokens_per_second: f64,
    /// Seconds from the start to the end, everything included, of all attempts whose work is in the result.
    pub wall_seconds: f64,
    /// Trained parameters of the student (tied ones once).
    pub parameters: u64,
    /// Parameters of the teacher.
    pub teacher_parameters: Option<u64>,
    /// The student on the held-out data at the end; none if there is none, or if it diverged.
    pub validation: Option<Evaluation>,
    /// The teacher on the same data.
    pub teacher_validation: Option<Evaluation>,
    /// When the student was best, where that model is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// Records that were left out because of `on_bad_record = "skip"`.
    pub skipped_records: u64,
    /// The step at which the loss was no longer finite.
    pub diverged_at: Option<u64>,
    /// Peak memory of the worker process, bytes; 0 where it is not known, and where runs shared a process.
    pub peak_memory: u64,
}

/// `experiments/NAME.json`: the newest plan of an experiment. Replaced as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredExperiment")]
pub struct ExperimentRecord {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The experiment's name.
    pub name: String,
    /// The file it came from.
    pub source: String,
    /// Dotted keys of the axes, in the file's order.
    pub axes: Vec<String>,
    /// Its runs, in the plan's order.
    pub runs: Vec<PlannedRun>,
    /// Further runs that those need, each before what needs it.
    pub needs: Vec<NeededRun>,
    /// Its tolerances.
    pub compare: CompareConfig,
}

impl ExperimentRecord {
    /// The ids of all runs that it has: those that others need first.
    pub fn run_ids(&self) -> impl Iterator<Item = &RunId> {
        self.needs.iter().map(|need| &need.run_id).chain(self.runs.iter().map(|run| &run.run_id))
    }
}

/// An experiment's record as any version wrote it: the first one had its teachers in place of all that is
/// needed.
#[derive(Deserialize)]
struct StoredExperiment {
    format_version: u32,
    name: String,
    source: String,
    axes: Vec<String>,
    runs: Vec<PlannedRun>,
    #[serde(default)]
    needs: Vec<NeededRun>,
    #[serde(default)]
    teachers: Vec<RunId>,
    compare: CompareConfig,
}

impl From<StoredExperiment> for ExperimentRecord {
    fn from(stored: StoredExperiment) -> Self {
        let StoredExperiment { format_version, name, source, axes, runs, mut needs, teachers, compare } =
            stored;
        needs.extend(teachers.into_iter().map(|run_id| NeededRun { run_id, purpose: Purpose::Teacher }));
        Self { format_version, name, source, axes, runs, needs, compare }
    }
}
