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
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::file::{read_json, sync_directory, write_json};
use super::lease::Lease;
use super::records::{Best, Evaluation, FORMAT_VERSION, RunId};

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
enum Slot {
    A,
    B,
}

impl Slot {
    fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// `checkpoint.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    format_version: u32,
    /// Digest of everything below.
    checksum: String,
    slot: Slot,
    /// The files in the slot, with their digests.
    files: BTreeMap<String, String>,
    state: CheckpointState,
}

impl Record {
    /// Numbers are written so that they read back to the same bits, so a record that was read has the
    /// checksum of the one that was written.
    fn checksum(slot: Slot, files: &BTreeMap<String, String>, state: &CheckpointState) -> String {
        let text = serde_json::to_vec(&(slot, files, state)).unwrap_or_default();
        blake3::hash(&text).to_hex().to_string()
    }
}

/// The checkpoint of a run, there or not.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    /// The right to write it, where that is to be asked for.
    lease: Option<Arc<Lease>>,
}

impl Checkpoint {
    /// The checkpoint in the directory `path`, there or not.
    pub(super) fn new(path: PathBuf, lease: Option<Arc<Lease>>) -> Self {
        Self { path, lease }
    }

    fn check_lease(&self) -> Result<(), StoreError> {
        self.lease.as_ref().map_or(Ok(()), |lease| lease.check())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn record_path(&self) -> PathBuf {
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

    fn record(&self) -> Result<Option<Record>, StoreError> {
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

    /// Replaces the checkpoint. `parts` makes the arrays of each file, one after the other, so that no two
    /// need be in memory at once.
    ///
    /// # Errors
    /// Where a file cannot be written, or the lease of the run is lost; the checkpoint that was there before
    /// is still whole then.
    pub fn write(
        &self,
        state: CheckpointState,
        parts: &[(&str, &dyn Fn() -> Arrays)],
    ) -> Result<(), StoreError> {
        self.check_lease()?;
        // A damaged record names nothing that is worth keeping.
        let old = self.record().ok().flatten().map(|record| record.slot);
        let slot = old.map_or(Slot::A, Slot::other);
        let directory = self.path.join(slot.name());
        let is_first = !self.path.exists();
        // What a crash left of an attempt to write.
        remove_directory(&directory)?;
        fs::create_dir_all(&directory).map_err(StoreError::io("create", &directory))?;
        let mut files = BTreeMap::new();
        for (name, make) in parts {
            files.insert((*name).to_owned(), write_arrays(&directory.join(name), &make())?);
        }
        sync_directory(&directory)?;
        sync_directory(&self.path)?;
        if is_first && let Some(parent) = self.path.parent() {
            sync_directory(parent)?;
        }
        let checksum = Record::checksum(slot, &files, &state);
        let record = Record { format_version: FORMAT_VERSION, checksum, slot, files, state };
        self.check_lease()?;
        write_json(&self.record_path(), &record)?;
        // Room on the disk for the next one; what stays is removed then.
        let _ = remove_directory(&self.path.join(slot.other().name()));
        Ok(())
    }

    /// Removes the checkpoint, where there is one. The record goes first: arrays without it are nothing.
    ///
    /// # Errors
    /// Where a file cannot be removed.
    pub fn remove(&self) -> Result<(), StoreError> {
        self.check_lease()?;
        let record = self.record_path();
        match fs::remove_file(&record) {
            Ok(()) => sync_directory(&self.path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("remove", &record)(error)),
        }
        remove_directory(&self.path)
    }
}

fn remove_directory(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn damaged(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), reason: reason.into() }
}

/// Writes arrays through to the disk; their file's digest.
fn write_arrays(path: &Path, arrays: &Arrays) -> Result<String, StoreError> {
    let layout = |error: safetensors::SafeTensorError| match error {
        safetensors::SafeTensorError::IoError(source) => StoreError::io("write", path)(source),
        other => damaged(path, other.to_string()),
    };
    let views = arrays.iter().map(|(name, values)| {
        let bytes = bytemuck::cast_slice(values);
        TensorView::new(Dtype::F32, vec![values.len()], bytes).map(|view| (name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(layout)?;
    safetensors::serialize_to_file(views, None, path).map_err(layout)?;
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io("write", path))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(path).map_err(StoreError::io("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: u64) -> CheckpointState {
        CheckpointState {
            run_id: RunId("0123".to_owned()),
            fingerprint: "f".to_owned(),
            step,
            epoch: 1,
            batch: 2,
            tokens: 3,
            random_position: step,
            training_seconds: 0.1 + 0.2,
            wall_seconds: 1e-300,
            since: vec![StepLosses { total: 1.0 / 3.0, hard: f64::MIN_POSITIVE, soft: None }],
            measured_at: 0,
            validation: None,
            teacher_validation: None,
            best: Some(Best { step: 2, hard_loss: 0.1 + 0.7 }),
            metrics: MetricsMark { bytes: 0, digest: String::new() },
        }
    }

    fn write(checkpoint: &Checkpoint, step: u64) {
        let arrays = |value: f32| Arrays::from([("x".to_owned(), vec![value, f32::MIN_POSITIVE / 2.0])]);
        let (first, second) = (|| arrays(step as f32), || arrays(-(step as f32)));
        checkpoint.write(state(step), &[("first", &first), ("second", &second)]).unwrap();
    }

    fn assert_stands_at(checkpoint: &Checkpoint, step: u64) {
        let (found, parts) = checkpoint.read().unwrap().unwrap();
        assert_eq!(found, state(step));
        assert_eq!(parts["first"]["x"], [step as f32, f32::MIN_POSITIVE / 2.0]);
        assert_eq!(parts["second"]["x"][0], -(step as f32));
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() { copy(&path, &target) } else { _ = fs::copy(&path, &target).unwrap() }
        }
    }

    #[test]
    fn a_crash_at_any_instant_of_writing_leaves_a_whole_checkpoint() {
        let root = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(root.path().join("checkpoint"), None);
        let (a, b) = (checkpoint.path().join("a"), checkpoint.path().join("b"));
        assert_eq!(checkpoint.state().unwrap(), None);
        // Killed in the first one, before its record.
        fs::create_dir_all(&a).unwrap();
        fs::write(a.join("first"), "half").unwrap();
        assert_eq!(checkpoint.state().unwrap(), None);
        write(&checkpoint, 1);
        assert_stands_at(&checkpoint, 1);
        // Killed while the arrays of the second are written, in one file or between two.
        fs::create_dir_all(&b).unwrap();
        assert_stands_at(&checkpoint, 1);
        fs::write(b.join("first"), "half").unwrap();
        assert_stands_at(&checkpoint, 1);
        // Killed while its record is written beside its place.
        fs::write(checkpoint.path().join(".kdx-x"), "{\"format").unwrap();
        assert_stands_at(&checkpoint, 1);
        let before = root.path().join("before");
        copy(&a, &before);
        write(&checkpoint, 2);
        assert_stands_at(&checkpoint, 2);
        assert!(!a.exists());
        // Killed between the record and the removal of the first, whole or half.
        copy(&before, &a);
        assert_stands_at(&checkpoint, 2);
        fs::remove_file(a.join("first")).unwrap();
        assert_stands_at(&checkpoint, 2);
        write(&checkpoint, 3);
        assert_stands_at(&checkpoint, 3);
        // Killed between the removal of the record and that of the arrays.
        fs::remove_file(checkpoint.record_path()).unwrap();
        assert_eq!(checkpoint.state().unwrap(), None);
        checkpoint.remove().unwrap();
        checkpoint.remove().unwrap();
        assert!(!checkpoint.path().exists());
    }

    #[test]
    fn no_byte_can_be_changed_or_cut_without_being_noticed() {
        let root = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(root.path().join("checkpoint"), None);
        write(&checkpoint, 7);
        let whole = checkpoint.read().unwrap();
        for name in ["checkpoint.json", "a/first", "a/second"] {
            let path = checkpoint.path().join(name);
            let bytes = fs::read(&path).unwrap();
            for place in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1;
                fs::write(&path, &flipped).unwrap();
                // Of the record's spaces some are as good as another character.
                if let Ok(found) = checkpoint.read() {
                    assert!(name == "checkpoint.json" && found == whole, "{name}, byte {place}");
                }
                // Cut, but for the line's end after the record.
                fs::write(&path, &bytes[..place]).unwrap();
                let is_cut = place + 1 < bytes.len() || name != "checkpoint.json";
                assert!(!is_cut || checkpoint.read().is_err(), "{name}, {place} bytes");
            }
            fs::remove_file(&path).unwrap();
            assert!(!matches!(checkpoint.read(), Ok(Some(_))), "{name}");
            fs::write(&path, &bytes).unwrap();
            assert_eq!(checkpoint.read().unwrap(), whole);
        }
    }

    #[test]
    fn a_record_from_before_random_numbers_were_kept_is_read() {
        let root = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(root.path().join("checkpoint"), None);
        write(&checkpoint, 0);
        let text = fs::read_to_string(checkpoint.record_path()).unwrap();
        assert!(!text.contains("random"), "{text}");
        assert_eq!(checkpoint.state().unwrap().unwrap().random_position, 0);
        write(&checkpoint, 5);
        assert_eq!(checkpoint.state().unwrap().unwrap().random_position, 5);
    }
}
