//! Removes what was not used for longest.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::error::CacheError;
use super::list::{Entry, Kind, list};
use super::lock::{is_being_written, target_of, try_write_lock};
use super::size::ByteSize;

/// What may stay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Bytes of all files together.
    pub max_size: Option<ByteSize>,
    /// Time since a file was last used.
    pub older_than: Option<Duration>,
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// What became of the files.
#[derive(Debug, Default)]
pub struct Collected {
    /// Those that were removed, or would be.
    pub removed: Vec<Entry>,
    /// Those that would have been removed if no process were using them.
    pub in_use: Vec<Entry>,
    /// Bytes of those that stay.
    pub left: u64,
}

/// Removes parts that no process goes on with; then what was not used for longer than allowed; then, of
/// the rest, what was not used for longest, until it fits. What a process reads or writes stays.
///
/// # Errors
/// Where a file cannot be removed.
pub fn collect(cache_dir: &Path, limits: &Limits) -> Result<Collected, CacheError> {
    let mut entries = list(cache_dir)?;
    let mut collected =
        Collected { left: entries.iter().map(|entry| entry.bytes).sum(), ..Collected::default() };
    let now = SystemTime::now();
    entries.sort_by_key(|entry| (entry.kind != Kind::Partial, entry.last_used));
    for entry in entries {
        let age = now.duration_since(entry.last_used).unwrap_or_default();
        let is_old = limits.older_than.is_some_and(|oldest| age > oldest);
        let is_too_much = limits.max_size.is_some_and(|size| collected.left > size.0);
        if entry.kind != Kind::Partial && !is_old && !is_too_much {
            continue;
        }
        if remove(&entry, limits.dry_run)? {
            collected.left -= entry.bytes;
            collected.removed.push(entry);
        } else {
            collected.in_use.push(entry);
        }
    }
    if !limits.dry_run {
        remove_idle_leases(cache_dir);
    }
    Ok(collected)
}

/// Removes a file unless a process uses it; whether it did, or would.
fn remove(entry: &Entry, dry_run: bool) -> Result<bool, CacheError> {
    let path = &entry.path;
    let is_signal = path.parent().and_then(Path::file_name) == Some(OsStr::new("signals"));
    // Held until the file is gone: nobody begins to write it, and who comes to read it waits.
    let mut held = (None, None);
    if is_signal {
        if dry_run {
            if is_being_written(path)? {
                return Ok(false);
            }
        } else {
            held.0 = try_write_lock(path)?;
            if held.0.is_none() {
                return Ok(false);
            }
        }
        match File::open(path) {
            Ok(file) if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) => return Ok(false),
            Ok(file) => held.1 = Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(CacheError::io("read", path)(error)),
        }
    }
    if dry_run {
        return Ok(true);
    }
    // Who uses kernels has them in memory, and writes the next one into a new directory.
    let removed = if entry.kind == Kind::Kernels { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CacheError::io("remove", path)(error)),
        _ => Ok(true),
    }
}

/// Lease files of what is not there any more. They are empty: failing to remove one harms nothing.
fn remove_idle_leases(cache_dir: &Path) {
    for file in fs::read_dir(cache_dir.join("signals")).into_iter().flatten().flatten() {
        let path = file.path();
        let Some(target) = target_of(&path) else { continue };
        let is_idle = !target.exists() && !target.with_extension("partial").exists();
        if is_idle && let Ok(Some(lock)) = try_write_lock(&target) {
            lock.remove();
            // As earlier versions locked a file.
            let _ = fs::remove_file(target.with_extension("lock"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::format::tests::header;
    use super::super::{Opened, Writer, open, path};
    use super::*;

    struct Bench(tempfile::TempDir);

    impl Bench {
        /// A signal that was last used so many days ago.
        fn signal(&self, key: &str, days: u64) -> PathBuf {
            let target = path(self.0.path(), key);
            let header = super::super::Header { key: key.to_owned(), ..header(1, 1000, 4) };
            let lock = try_write_lock(&target).unwrap().unwrap();
            let (mut writer, _) = Writer::open(&target, lock, header, &[1000]).unwrap();
            writer.write(0, &[&[7; 16_000]]).unwrap();
            writer.finish(None).unwrap();
            age(&target, days);
            target
        }

        fn collect(&self, limits: &Limits) -> Vec<String> {
            let collected = collect(self.0.path(), limits).unwrap();
            let left: u64 = list(self.0.path()).unwrap().iter().map(|entry| entry.bytes).sum();
            assert!(limits.dry_run || collected.left == left);
            let name = |entry: &Entry| entry.path.file_name().unwrap().to_string_lossy().into_owned();
            collected.removed.iter().map(name).collect()
        }
    }

    #[test]
    fn kernels_go_as_a_whole() {
        let bench = Bench(tempfile::tempdir().unwrap());
        let device = bench.0.path().join("kernels/cuda-card.db");
        for name in ["meta/a", "entries/b"] {
            fs::create_dir_all(device.join(name).parent().unwrap()).unwrap();
            fs::write(device.join(name), [7; 5000]).unwrap();
            age(&device.join(name), 40);
        }
        let listed = list(bench.0.path()).unwrap();
        assert_eq!((listed.len(), &listed[0].kind), (1, &Kind::Kernels));
        assert!(listed[0].bytes >= 10_000);
        let month = Some(Duration::from_secs(30 * 86_400));
        assert_eq!(bench.collect(&Limits { older_than: month, ..Limits::default() }), ["cuda-card.db"]);
        assert!(!device.exists());
    }

    fn age(path: &Path, days: u64) {
        let time = SystemTime::now() - Duration::from_secs(days * 86_400);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_what_is_used_stays() {
        let bench = Bench(tempfile::tempdir().unwrap());
        let old = bench.signal("a", 9);
        bench.signal("b", 8);
        let used = bench.signal("c", 40);
        let tokens = bench.0.path().join("tokens/t.bin");
        fs::create_dir_all(tokens.parent().unwrap()).unwrap();
        fs::write(&tokens, "of another version").unwrap();
        age(&tokens, 7);
        bench.signal("d", 1);
        let expected = super::super::Header { key: "c".to_owned(), ..header(1, 1000, 4) };
        let stop = crate::interrupt::Interrupt::new();
        let Opened::Ready(_open) = open(&used, &expected, &[1000], &stop, &mut || {}).unwrap() else {
            panic!()
        };
        age(&used, 40);

        assert_eq!(bench.collect(&Limits::default()), [] as [&str; 0]);
        let week = Limits { older_than: Some(Duration::from_secs(8 * 86_400 + 60)), ..Limits::default() };
        assert_eq!(bench.collect(&Limits { dry_run: true, ..week }), ["a.bin"]);
        assert!(old.exists());
        assert_eq!(bench.collect(&week), ["a.bin"]);
        assert!(!old.exists() && !old.with_extension("lease.1").exists());
        let total: u64 = list(bench.0.path()).unwrap().iter().map(|entry| entry.bytes).sum();
        let little = Limits { max_size: Some(ByteSize(total - 1)), ..Limits::default() };
        assert_eq!(bench.collect(&little), ["b.bin"]);
        assert_eq!(bench.collect(&Limits { max_size: Some(ByteSize(0)), ..little }), ["t.bin", "d.bin"]);
        assert!(used.exists());
    }

    #[test]
    fn parts_go_unless_someone_writes_them() {
        let bench = Bench(tempfile::tempdir().unwrap());
        let target = path(bench.0.path(), "a");
        let lock = try_write_lock(&target).unwrap().unwrap();
        let (writer, _) = Writer::open(&target, lock, header(1, 1000, 4), &[1000]).unwrap();
        assert_eq!(bench.collect(&Limits::default()), [] as [&str; 0]);
        drop(writer);
        assert_eq!(list(bench.0.path()).unwrap()[0].kind, Kind::Partial);
        assert_eq!(bench.collect(&Limits::default()), ["a.partial"]);
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 0);
    }
}
