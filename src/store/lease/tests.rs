use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::record::Record;
use super::*;
use crate::store::error::StoreError;

fn times(milliseconds: u64) -> LeaseTimes {
    LeaseTimes { length: Duration::from_millis(milliseconds) }
}

const LONG: LeaseTimes = LeaseTimes { length: Duration::from_secs(3600) };

fn place(directory: &Path) -> LeasePlace {
    LeasePlace::new(directory, "lease")
}

fn names(directory: &Path) -> BTreeSet<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(directory).unwrap().map(name).collect()
}

/// A lease file as another machine would write it, last changed so long ago.
fn of_another_machine(place: &LeasePlace, generation: u64, times: LeaseTimes, age: Duration) {
    let mut record = Record::new(times);
    record.host = "elsewhere".to_owned();
    record.process.host_key = Some("another boot".to_owned());
    let path = place.path(generation);
    fs::write(&path, serde_json::to_vec(&record).unwrap()).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn a_lease_is_one_owners_until_it_is_let_go_and_its_number_is_never_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    assert_eq!(place.owner().unwrap(), None);
    for generation in 1..4 {
        let lease = place.try_acquire(LONG).unwrap().unwrap();
        assert!(lease.is_ours());
        assert!(place.try_acquire(LONG).unwrap().is_none());
        let owner = place.owner().unwrap().unwrap();
        assert_eq!(owner.pid, Some(std::process::id()));
        assert_eq!(names(directory.path()), BTreeSet::from([format!("lease.{generation}")]));
        drop(lease);
        assert_eq!(place.owner().unwrap(), None);
        assert_eq!(fs::metadata(place.path(generation)).unwrap().len(), 0);
    }
}

#[test]
fn of_many_that_race_one_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let (inside, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut mine = 0;
                while mine < 25 {
                    let Some(lease) = place.try_acquire(LONG).unwrap() else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two owners at once");
                    assert!(lease.is_ours());
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    mine += 1;
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), 200);
    assert_eq!(names(directory.path()).len(), 1, "{:?}", names(directory.path()));
}

#[test]
fn an_owner_elsewhere_is_believed_for_its_lease_and_then_replaced_once() {
    let minute = times(60_000);
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let place = place(directory.path());
        of_another_machine(&place, 7, minute, Duration::from_secs(50));
        // By its lease, not by that of who looks.
        assert!(place.try_acquire(times(1)).unwrap().is_none());
        assert_eq!(place.owner().unwrap().unwrap().host, "elsewhere");
        of_another_machine(&place, 7, minute, Duration::from_secs(70));
        assert_eq!(place.owner().unwrap(), None);
        let leases: Vec<Lease> = thread::scope(|scope| {
            let racers: Vec<_> = (0..4).map(|_| scope.spawn(|| place.try_acquire(LONG).unwrap())).collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(leases.len(), 1);
        assert_eq!(names(directory.path()), BTreeSet::from(["lease.8".to_owned()]));
    }
}

#[test]
fn what_cannot_be_read_is_held_until_it_is_old() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    for content in ["{", "rubbish", "{\"format_version\": 99}"] {
        fs::write(place.path(3), content).unwrap();
        assert!(place.try_acquire(LONG).unwrap().is_none(), "{content}");
        let file = OpenOptions::new().write(true).open(place.path(3)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(4000)).unwrap();
        let lease = place.try_acquire(LONG).unwrap().unwrap();
        lease.remove();
        assert!(names(directory.path()).is_empty());
    }
}

#[test]
fn an_owner_that_renews_keeps_its_lease_and_one_that_cannot_loses_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let short = times(400);
    let lease = place.try_acquire(short).unwrap().unwrap();
    let began = Instant::now();
    while began.elapsed() < 3 * short.length {
        assert!(place.try_acquire(short).unwrap().is_none());
        assert!(lease.is_ours());
        thread::sleep(Duration::from_millis(20));
    }
    // As a machine that stood still for long finds it when it goes on.
    of_another_machine(&place, 2, LONG, Duration::ZERO);
    let asked = Instant::now();
    while lease.is_ours() {
        assert!(asked.elapsed() < Duration::from_secs(20), "the loss goes unseen");
        thread::sleep(Duration::from_millis(10));
    }
    let Err(StoreError::LeaseLost { path, owner }) = lease.check() else { panic!("the lease is lost") };
    assert_eq!(path, directory.path());
    assert!(owner.starts_with("elsewhere"), "{owner}");
    drop(lease);
    assert_eq!(names(directory.path()), BTreeSet::from(["lease.2".to_owned()]));
    assert_ne!(fs::metadata(place.path(2)).unwrap().len(), 0, "the other's lease is touched");
}

/// An owner that was stopped, without the thread that would find out.
fn paused(place: &LeasePlace, times: LeaseTimes) -> Lease {
    let mut lease = place.try_acquire(times).unwrap().unwrap();
    lease.pause();
    let file = OpenOptions::new().write(true).open(place.path(1)).unwrap();
    file.set_modified(SystemTime::now() - 2 * times.length).unwrap();
    lease
}

#[test]
fn a_paused_owner_is_fenced_before_it_writes() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let short = times(50);
    let first = paused(&place, short);
    let second = place.try_acquire(LONG).unwrap().unwrap();
    thread::sleep(short.length);
    let error = first.check().unwrap_err();
    assert!(matches!(error, StoreError::LeaseLost { .. }), "{error}");
    assert!(!first.is_ours() && second.is_ours());
    drop(first);
    assert!(second.is_ours());
    assert!(place.try_acquire(LONG).unwrap().is_none());
}

#[test]
fn a_paused_owner_whose_place_nobody_took_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let short = times(50);
    let lease = paused(&place, short);
    assert_eq!(place.owner().unwrap(), None);
    thread::sleep(short.length);
    assert!(lease.is_ours());
    assert!(place.owner().unwrap().is_some(), "asking renews it");
}

#[test]
fn a_paused_owner_is_fenced_where_its_directory_was_removed_and_made_again() {
    let parent = tempfile::tempdir().unwrap();
    let place = place(&parent.path().join("run"));
    fs::create_dir(&place.directory).unwrap();
    let short = times(50);
    let first = paused(&place, short);
    fs::remove_dir_all(&place.directory).unwrap();
    fs::create_dir(&place.directory).unwrap();
    let second = place.try_acquire(LONG).unwrap().unwrap();
    thread::sleep(short.length);
    assert!(!first.is_ours());
    drop(first);
    assert!(second.is_ours() && place.owner().unwrap().is_some());
    fs::remove_dir_all(&place.directory).unwrap();
    drop(second);
    assert!(!place.directory.exists(), "a lease brings back what was removed");
}

#[test]
fn an_old_view_takes_nothing_from_a_live_owner() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    drop(place.try_acquire(LONG).unwrap().unwrap());
    // Whoever saw generation 1 free makes generation 2; meanwhile two others came and one went.
    drop(place.try_acquire(LONG).unwrap().unwrap());
    let owner = place.try_acquire(LONG).unwrap().unwrap();
    assert!(place.create(2, &Record::new(LONG)).unwrap(), "it was removed");
    assert!(place.try_acquire(LONG).unwrap().is_none());
    assert!(owner.is_ours());
    assert!(!place.create(3, &Record::new(LONG)).unwrap());
    owner.distrust();
    owner.check().unwrap();
}

#[test]
fn a_process_that_is_gone_holds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let mut record = Record::new(LONG);
    record.process.pid = child.id();
    child.wait().unwrap();
    fs::write(place.path(1), serde_json::to_vec(&record).unwrap()).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(place.owner().unwrap(), None);
        assert!(place.try_acquire(LONG).unwrap().is_some());
    }
}
