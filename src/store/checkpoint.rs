//! The checkpoint of a run that is not done: what it takes to go on as if nothing had happened.
//!
//! ```text
//! checkpoint/checkpoint.json   the record: where the run stands, which files belong to it, their digests
//! checkpoint/a/, checkpoint/b/ arrays in safetensors; the record names one of the two
//! ```
//!
//! A new checkpoint goes into the directory that the record does not name, is flushed to the disk, and
//! counts from the instant at which the record is replaced. So a crash at any instant leaves the old
//! checkpoint or the new one whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::file::read_json;
use super::measured::Evaluation;
use super::records::{Best, FORMAT_VERSION, RunId};

/// Named arrays in single precision.
pub type Arrays = BTreeMap<String, Vec<f32>>;

/// What a checkpoint holds: where the run stands, and its arrays by file name.
pub type Contents = (CheckpointState, BTreeMap<String, Arrays>);

/// Where a run stands, arrays left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// The run.
    pub run_id: RunId,
    /// Digest of all that decides what the run comes to, the program's version included.
    pub fingerprint: String,
    /// Optimizer steps taken.
    pub step: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Micro-batches of that epoch already used.
    pub batch: u64,
    /// Tokens that went through the student, padding left out.
    pub tokens: u64,
    /// Words drawn from the run's stream of random numbers, so that the next step draws what it would have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub random_position: u64,
    /// Seconds spent in steps.
    pub training_seconds: f64,
    /// Seconds since the run's start, of all attempts that led here.
    pub wall_seconds: f64,
    /// The steps since the last row of the training metrics.
    pub since: Vec<StepLosses>,
    /// The step after which the student was last measured; 0 before the first time.
    pub measured_at: u64,
    /// The student on the held-out data at that step.
    pub validation: Option<Evaluation>,
    /// The teacher on the same data.
    pub teacher_validation: Option<Evaluation>,
    /// The best evaluation so far, where its model is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// The part of `metrics.jsonl` that belongs to it.
    pub metrics: MetricsMark,
}

/// Of a run that draws nothing, the record is what it was before it had the field.
fn is_zero(position: &u64) -> bool {
    *position == 0
}

/// Losses of a step, or the means of several.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct StepLosses {
    /// `alpha * hard + (1 - alpha) * soft`.
    pub total: f64,
    /// Cross-entropy on the labels, nats a token.
    pub hard: f64,
    /// The divergence from the teacher; none without a soft loss.
    pub soft: Option<f64>,
}

/// A prefix of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsMark {
    /// Its length.
    pub bytes: u64,
    /// Its BLAKE3 digest.
    pub digest: String,
}

/// One of the two directories for arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Slot {
    A,
    B,
}

impl Slot {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// `checkpoint.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    format_version: u32,
    /// Digest of everything below.
    checksum: String,
    pub(super) slot: Slot,
    /// The files in the slot, with their digests.
    files: BTreeMap<String, String>,
    state: CheckpointState,
}

impl Record {
    /// The record of a checkpoint whose arrays are in their place.
    pub(super) fn new(slot: Slot, files: BTreeMap<String, String>, state: CheckpointState) -> Self {
        let checksum = Self::checksum(slot, &files, &state);
        Self { format_version: FORMAT_VERSION, checksum, slot, files, state }
    }

    /// Numbers are written so that they read back to the same bits, so a record that was read has the
    /// checksum of the one that was written.
    fn checksum(slot: Slot, files: &BTreeMap<String, String>, state: &CheckpointState) -> String {
        let text = serde_json::to_vec(&(slot, files, state)).unwrap_or_default();
        blake3::hash(&text).to_hex().to_string()
    }
}

/// The checkpoint of a run, there or not, to be read. Whoever holds the run writes it: see
/// [`HeldRun::write_checkpoint`](super::HeldRun::write_checkpoint).
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
}

impl Checkpoint {
    /// The checkpoint in the directory `path`, there or not.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn record_path(&self) -> PathBuf {
        self.path.join("checkpoint.json")
    }

    /// Where the run stood when the checkpoint was written; none where there is no checkpoint. Reads the
    /// record alone.
    ///
    /// # Errors
    /// Where the record is damaged or of another version.
    pub fn state(&self) -> Result<Option<CheckpointState>, StoreError> {
        Ok(self.record()?.map(|record| record.state))
    }

    pub(super) fn record(&self) -> Result<Option<Record>, StoreError> {
        let path = self.record_path();
        let record: Record = match read_json(&path) {
            Ok(record) => record,
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if record.checksum != Record::checksum(record.slot, &record.files, &record.state) {
            return Err(damaged(&path, "its checksum is another"));
        }
        Ok(Some(record))
    }

    /// Where the run stands, with its arrays by file name; none where there is no checkpoint.
    ///
    /// # Errors
    /// Where a file is missing, or is not what was written.
    pub fn read(&self) -> Result<Option<Contents>, StoreError> {
        let Some(record) = self.record()? else { return Ok(None) };
        let slot = self.path.join(record.slot.name());
        let mut parts = BTreeMap::new();
        for (name, digest) in &record.files {
            let path = slot.join(name);
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(damaged(&path, "it is missing"));
                }
                other => other.map_err(StoreError::io("read", &path))?,
            };
            if *blake3::hash(&bytes).to_hex() != **digest {
                return Err(damaged(&path, "its digest is not the one in checkpoint.json"));
            }
            parts.insert(name.clone(), arrays(&path, &bytes)?);
        }
        Ok(Some((record.state, parts)))
    }
}

fn damaged(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), reason: reason.into() }
}

fn arrays(path: &Path, bytes: &[u8]) -> Result<Arrays, StoreError> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| damaged(path, error.to_string()))?;
    let mut arrays = Arrays::new();
    for (name, view) in tensors.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(damaged(path, format!("{name} is no array of 32-bit floats")));
        }
        // Views into a file are aligned to nothing.
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        arrays.insert(name.to_owned(), values.collect());
    }
    Ok(arrays)
}
