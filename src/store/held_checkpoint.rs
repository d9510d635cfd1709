//! Writing the checkpoint of a run that this process holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::checkpoint::{Arrays, CheckpointState, Record, Slot};
use super::error::StoreError;
use super::file::{sync_directory, write_json};
use super::held_run::HeldRun;
use super::tensor_file::{NamedArray, write_arrays};

impl HeldRun {
    /// Replaces the checkpoint. `parts` makes the arrays of each file, one after the other, so that no two
    /// need be in memory at once.
    ///
    /// # Errors
    /// Where a file cannot be written, or the lease of the run is lost; the checkpoint that was there before
    /// is still whole then.
    pub fn write_checkpoint(
        &self,
        state: CheckpointState,
        parts: &[(&str, &dyn Fn() -> Arrays)],
    ) -> Result<(), StoreError> {
        self.check_lease()?;
        let checkpoint = self.checkpoint();
        // A damaged record names nothing that is worth keeping.
        let old = checkpoint.record().ok().flatten().map(|record| record.slot);
        let slot = old.map_or(Slot::A, Slot::other);
        let directory = checkpoint.path().join(slot.name());
        let is_first = !checkpoint.path().exists();
        // What a crash left of an attempt to write.
        remove_directory(&directory)?;
        fs::create_dir_all(&directory).map_err(StoreError::io("create", &directory))?;
        let mut files = BTreeMap::new();
        for (name, make) in parts {
            // Making and writing the one before took its time.
            self.check_lease()?;
            files.insert((*name).to_owned(), write_part(&directory.join(name), &make())?);
        }
        sync_directory(&directory)?;
        sync_directory(checkpoint.path())?;
        if is_first {
            sync_directory(self.path())?;
        }
        self.check_lease()?;
        write_json(&checkpoint.record_path(), &Record::new(slot, files, state))?;
        // Room on the disk for the next one; what stays is removed then.
        let _ = remove_directory(&checkpoint.path().join(slot.other().name()));
        Ok(())
    }

    /// Removes the checkpoint, where there is one. The record goes first: arrays without it are nothing.
    ///
    /// # Errors
    /// Where a file cannot be removed, or the lease of the run is lost.
    pub fn remove_checkpoint(&self) -> Result<(), StoreError> {
        self.check_lease()?;
        let checkpoint = self.checkpoint();
        let record = checkpoint.record_path();
        match fs::remove_file(&record) {
            Ok(()) => sync_directory(checkpoint.path())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("remove", &record)(error)),
        }
        remove_directory(checkpoint.path())
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

/// Writes arrays through to the disk; their file's digest.
fn write_part(path: &Path, arrays: &Arrays) -> Result<String, StoreError> {
    let arrays = arrays.iter();
    let named = arrays.map(|(name, values)| NamedArray { name, shape: vec![values.len()], values });
    write_arrays(path, named.collect(), None)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(path).map_err(StoreError::io("read", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::{Checkpoint, MetricsMark, StepLosses};
    use super::super::records::{Best, RunId};
    use super::super::run_dir::RunDir;
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

    fn hold(path: &Path) -> HeldRun {
        RunDir::new(path).try_acquire().unwrap().unwrap()
    }

    fn write(held: &HeldRun, step: u64) {
        let arrays = |value: f32| Arrays::from([("x".to_owned(), vec![value, f32::MIN_POSITIVE / 2.0])]);
        let (first, second) = (|| arrays(step as f32), || arrays(-(step as f32)));
        held.write_checkpoint(state(step), &[("first", &first), ("second", &second)]).unwrap();
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
        let held = hold(root.path());
        let checkpoint = held.checkpoint();
        let (a, b) = (checkpoint.path().join("a"), checkpoint.path().join("b"));
        assert_eq!(checkpoint.state().unwrap(), None);
        // Killed in the first one, before its record.
        fs::create_dir_all(&a).unwrap();
        fs::write(a.join("first"), "half").unwrap();
        assert_eq!(checkpoint.state().unwrap(), None);
        write(&held, 1);
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
        write(&held, 2);
        assert_stands_at(&checkpoint, 2);
        assert!(!a.exists());
        // Killed between the record and the removal of the first, whole or half.
        copy(&before, &a);
        assert_stands_at(&checkpoint, 2);
        fs::remove_file(a.join("first")).unwrap();
        assert_stands_at(&checkpoint, 2);
        write(&held, 3);
        assert_stands_at(&checkpoint, 3);
        // Killed between the removal of the record and that of the arrays.
        fs::remove_file(checkpoint.record_path()).unwrap();
        assert_eq!(checkpoint.state().unwrap(), None);
        held.remove_checkpoint().unwrap();
        held.remove_checkpoint().unwrap();
        assert!(!checkpoint.path().exists());
    }

    #[test]
    fn no_byte_can_be_changed_or_cut_without_being_noticed() {
        let root = tempfile::tempdir().unwrap();
        let held = hold(root.path());
        let checkpoint = held.checkpoint();
        write(&held, 7);
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
        let held = hold(root.path());
        let checkpoint = held.checkpoint();
        write(&held, 0);
        let text = fs::read_to_string(checkpoint.record_path()).unwrap();
        assert!(!text.contains("random"), "{text}");
        assert_eq!(checkpoint.state().unwrap().unwrap().random_position, 0);
        write(&held, 5);
        assert_eq!(checkpoint.state().unwrap().unwrap().random_position, 5);
    }
}
