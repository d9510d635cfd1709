//! What a store holds that nothing needs any more.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use super::error::StoreError;
use super::held_run::{HeldRun, SET_ASIDE};
use super::layout::{Store, list_names};
use super::lease::LeaseTimes;
use super::leftovers::{Leftover, leftovers};
use super::records::RunId;
use super::run_dir::RunDir;

/// Something that nothing needs, with the reason.
#[derive(Debug)]
pub struct Garbage {
    /// What it is.
    pub kind: GarbageKind,
    /// Where it is, and its size.
    pub found: Leftover,
}

/// Why something is not needed.
#[derive(Debug, Clone)]
pub enum GarbageKind {
    /// No experiment has this run, and no run needs it.
    Run(RunDir),
    /// The run is done.
    Checkpoint(RunDir),
    /// What was left of a damaged run, which has begun again.
    SetAside,
    /// A killed process left it.
    Temporary,
}

impl GarbageKind {
    /// The reason in words.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Run(_) => "no experiment has it",
            Self::Checkpoint(_) => "its run is done",
            Self::SetAside => "left of a damaged run",
            Self::Temporary => "left by a process that was killed",
        }
    }
}

impl Garbage {
    /// Removes it; false where a worker holds it.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn remove(&self) -> Result<bool, StoreError> {
        let removed = match &self.kind {
            GarbageKind::Run(dir) => dir.try_acquire().and_then(|held| held.map(HeldRun::remove).transpose()),
            GarbageKind::Checkpoint(dir) => {
                dir.try_acquire().and_then(|held| held.map(|held| held.remove_checkpoint()).transpose())
            }
            GarbageKind::SetAside | GarbageKind::Temporary => self.found.remove().map(Some),
        };
        match removed {
            // Another process was faster.
            Err(error) if error.is_not_found() => Ok(true),
            other => Ok(other?.is_some()),
        }
    }
}

impl Store {
    /// What nothing needs any more, the cache's files left out; with `runs` also runs that are done, and
    /// damaged ones that were set aside. What a worker holds is left out.
    ///
    /// # Errors
    /// Where something cannot be read: while it is not known which runs an experiment has, none is garbage.
    pub fn garbage(&self, runs: bool) -> Result<Vec<Garbage>, StoreError> {
        // Directories before experiments: a sweep writes its experiment before its directories.
        let ids = self.run_ids()?;
        let mut named: HashSet<RunId> = HashSet::new();
        for name in self.experiments()? {
            named.extend(self.experiment(&name)?.run_ids().cloned());
        }
        let mut garbage = Vec::new();
        let mut kept = Vec::new();
        // First what is kept for itself, then what that needs, and so on; the rest nobody needs.
        let mut rest: Vec<RunDir> = ids.iter().map(|id| self.run_dir(id)).collect();
        loop {
            let before = rest.len();
            let mut others = Vec::new();
            for dir in rest {
                let is_done = || dir.state().is_ok_and(|state| state.is_done());
                let is_named = dir.id().is_some_and(|id| named.contains(&id));
                if !is_named && (runs || !is_done()) && dir.owner()?.is_none() {
                    others.push(dir);
                    continue;
                }
                // A run that cannot be read names none: it will begin again from an experiment.
                if let Ok(record) = dir.record() {
                    named.extend(record.spec.needs().into_iter().cloned());
                }
                kept.push(dir);
            }
            rest = others;
            if rest.len() == before {
                break;
            }
        }
        garbage.extend(rest.into_iter().map(GarbageKind::Run));
        for dir in &kept {
            let is_done = || dir.status().ok().flatten().is_some_and(|status| status.state.is_done());
            if dir.checkpoint().path().exists() && is_done() {
                garbage.push(GarbageKind::Checkpoint(dir.clone()));
            }
        }
        let place = |kind: &GarbageKind| match kind {
            GarbageKind::Run(dir) => dir.path().to_owned(),
            GarbageKind::Checkpoint(dir) => dir.checkpoint().path().to_owned(),
            GarbageKind::SetAside | GarbageKind::Temporary => PathBuf::new(),
        };
        let found = |kind: GarbageKind| Garbage { found: Leftover::at(place(&kind)), kind };
        let mut garbage: Vec<Garbage> = garbage.into_iter().map(found).collect();
        if runs {
            for path in self.set_aside()? {
                garbage.push(Garbage { kind: GarbageKind::SetAside, found: Leftover::at(path) });
            }
        }
        // What goes with its run is not counted twice.
        let mut places = self.shared_directories();
        places
            .extend(kept.iter().flat_map(|dir| [dir.path().to_owned(), dir.checkpoint().path().to_owned()]));
        let temporary = leftovers(&places, LeaseTimes::from_env()?.length)?;
        let is_apart = |path: &PathBuf| !garbage.iter().any(|other| path.starts_with(&other.found.path));
        let temporary: Vec<Leftover> = temporary.into_iter().filter(|found| is_apart(&found.path)).collect();
        garbage.extend(temporary.into_iter().map(|found| Garbage { kind: GarbageKind::Temporary, found }));
        Ok(garbage)
    }

    /// Removes what killed processes left where all sweeps write: in no run's directory.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn clear_away(&self) -> Result<(), StoreError> {
        let found = leftovers(&self.shared_directories(), LeaseTimes::from_env()?.length)?;
        found.iter().try_for_each(Leftover::remove)
    }

    /// Directories that belong to no run.
    fn shared_directories(&self) -> Vec<PathBuf> {
        let cache = self.cache_dir();
        let mut places = vec![self.root().to_owned(), self.experiments_dir(), cache.clone()];
        places.extend(self.run_places());
        let below = fs::read_dir(&cache).into_iter().flatten().flatten().map(|entry| entry.path());
        places.extend(below.filter(|path| path.is_dir()));
        places
    }

    fn set_aside(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut found = Vec::new();
        for directory in self.run_places() {
            let names = list_names(&directory, |name| name.starts_with(SET_ASIDE))?;
            found.extend(names.into_iter().map(|name| directory.join(name)));
        }
        Ok(found)
    }
}
