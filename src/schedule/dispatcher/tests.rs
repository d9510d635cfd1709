//! The loop over an executor without processes: each attempt comes to what the test says.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::sync::mpsc;

use super::*;
use crate::schedule::board::tests::job;
use crate::schedule::executor::{End, IgnoredKey};

/// Plays attempts. One for which nothing is scripted runs until it is stopped.
struct Scripted {
    slots: usize,
    scripts: BTreeMap<String, VecDeque<End>>,
    /// Places of jobs that a sweep before this one started.
    left_before: Vec<usize>,
    hears: bool,
    /// Whether attempts end when they are asked to stop in good order.
    obeys: bool,
    at_interrupt: [AtInterrupt; 2],
    /// Attempts that take a slot, by their runs.
    running: BTreeMap<Handle, String>,
    updates: Vec<Update>,
    /// Ends that the poll after the next one tells: each attempt has its slot for a while.
    ends: Vec<(Handle, End)>,
    count: usize,
    /// The runs that were started, in order; those that must be alone with a `!`.
    started: Vec<String>,
    stopped: Vec<(String, Stop)>,
}

impl Scripted {
    fn new(slots: usize, scripts: Vec<(&str, Vec<End>)>) -> Self {
        Self {
            slots,
            scripts: scripts.into_iter().map(|(run, ends)| (run.to_owned(), ends.into())).collect(),
            left_before: Vec::new(),
            hears: true,
            obeys: true,
            at_interrupt: [AtInterrupt::Stop(Stop::InGoodOrder), AtInterrupt::Stop(Stop::AtOnce)],
            running: BTreeMap::new(),
            updates: Vec::new(),
            ends: Vec::new(),
            count: 0,
            started: Vec::new(),
            stopped: Vec::new(),
        }
    }

    fn begin(&mut self, run: &str) -> Handle {
        self.count += 1;
        let attempt = Handle(self.count);
        self.running.insert(attempt, run.to_owned());
        self.updates.push(Update::Attempt(attempt, Report::Started { place: "nowhere".to_owned() }));
        if let Some(end) = self.scripts.get_mut(run).and_then(VecDeque::pop_front) {
            self.ends.push((attempt, end));
        }
        attempt
    }
}

impl Executor for Scripted {
    fn slots(&self, _: usize) -> usize {
        self.slots
    }

    fn capacity(&self) -> usize {
        self.slots.saturating_sub(self.running.len())
    }

    fn fits(&self, _: &Job, is_alone: bool) -> bool {
        self.capacity() > 0 && (!is_alone || self.running.is_empty())
    }

    fn adopt(&mut self, jobs: &[Job]) -> Result<Vec<(usize, Handle)>, SweepError> {
        let places = self.left_before.clone();
        Ok(places.into_iter().map(|place| (place, self.begin(&jobs[place].id().0))).collect())
    }

    fn start(&mut self, request: &Request<'_>) -> Result<Handle, Failure> {
        let run = request.job.id().0.clone();
        self.started.push(format!("{run}{}", if request.is_alone { "!" } else { "" }));
        Ok(self.begin(&run))
    }

    fn poll(&mut self) -> Result<Vec<Update>, SweepError> {
        let later = self.ends.drain(..).map(|(attempt, end)| Update::Attempt(attempt, Report::Ended(end)));
        let updates = std::mem::replace(&mut self.updates, later.collect());
        for update in &updates {
            if let Update::Attempt(attempt, Report::Ended(_)) = update {
                self.running.remove(attempt);
            }
        }
        Ok(updates)
    }

    fn stop(&mut self, attempt: Handle, how: Stop) {
        let Some(run) = self.running.get(&attempt) else { return };
        let end = match how {
            Stop::InGoodOrder => self.obeys.then_some(End::Left(RunState::Interrupted, None)),
            Stop::AtOnce => Some(crash()),
        };
        self.updates.extend(end.map(|end| Update::Attempt(attempt, Report::Ended(end))));
        self.stopped.push((run.clone(), how));
    }

    fn at_interrupt(&self, is_first: bool) -> AtInterrupt {
        self.at_interrupt[usize::from(!is_first)]
    }

    fn leave(&mut self) -> Vec<String> {
        self.running.values().cloned().collect()
    }

    fn hears_signs_of_life(&self) -> bool {
        self.hears
    }

    fn ignored_keys(&self, resources: &ResourcesConfig) -> Vec<IgnoredKey> {
        let reason = || "in a test".to_owned();
        (resources.threads > 0).then(|| IgnoredKey { key: "threads", reason: reason() }).into_iter().collect()
    }
}

/// What a watcher is told, a line each.
#[derive(Default)]
struct Told(Vec<String>);

impl Watcher for Told {
    fn begin(&mut self, jobs: &[Job], slots: usize) {
        self.0.push(format!("begin {} {slots}", jobs.len()));
    }
    fn started(&mut self, job: &Job, row: usize, place: &str) {
        self.0.push(format!("started {} {row} {place}", job.id()));
    }
    fn event(&mut self, _: &Job, _: usize, _: &Event) {}
    fn elsewhere(&mut self, job: &Job) {
        self.0.push(format!("elsewhere {}", job.id()));
    }
    fn retried(&mut self, job: &Job, _: Option<usize>, reason: &str) {
        self.0.push(format!("again {}: {reason}", job.id()));
    }
    fn ended(&mut self, job: &Job, _: Option<usize>, state: RunState, reason: Option<&str>) {
        self.0.push(format!("{} {}: {}", state.as_str(), job.id(), reason.unwrap_or_default()));
    }
    fn paused(&mut self, job: &Job, _: usize) {
        self.0.push(format!("paused {}", job.id()));
    }
    fn notice(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
    fn stopping(&mut self) {
        self.0.push("stopping".to_owned());
    }
    fn end(&mut self) {
        self.0.push("end".to_owned());
    }
}

/// What a sweep came to.
struct Swept {
    /// The states of the jobs, in their order.
    states: Vec<RunState>,
    left: Vec<String>,
    told: Vec<String>,
    started: Vec<String>,
    stopped: Vec<(String, Stop)>,
}

impl Swept {
    fn tells(&self, line: &str) -> bool {
        self.told.iter().any(|told| told.contains(line))
    }
}

/// Two attempts, and no limits.
fn resources() -> ResourcesConfig {
    ResourcesConfig { stall_timeout: 0.0, ..ResourcesConfig::default() }
}

/// Sweeps through jobs without teachers; the user asks so many times to stop, as soon as it has begun.
fn sweep(mut executor: Scripted, jobs: &[&str], resources: ResourcesConfig, stops: usize) -> Swept {
    let jobs = jobs.iter().map(|id| job(id, None)).collect();
    sweep_through(&mut executor, jobs, Options { store: store(), resources, fail_fast: false }, stops)
}

fn store() -> Store {
    let folder = tempfile::tempdir().unwrap();
    Store::new(folder.keep())
}

fn sweep_through(executor: &mut Scripted, jobs: Vec<Job>, options: Options, stops: usize) -> Swept {
    for job in &jobs {
        fs::create_dir_all(job.dir(&options.store).path()).unwrap();
    }
    let (sender, messages) = mpsc::channel();
    (0..stops).for_each(|_| sender.send(Message::Stop).unwrap());
    let mut told = Told::default();
    let outcome = dispatch(jobs, &options, executor, None, &messages, &mut told).unwrap();
    fs::remove_dir_all(options.store.root()).unwrap();
    Swept {
        states: outcome.results.iter().map(|result| result.state).collect(),
        left: outcome.left,
        told: told.0,
        started: std::mem::take(&mut executor.started),
        stopped: std::mem::take(&mut executor.stopped),
    }
}

fn finished() -> End {
    End::Left(RunState::Finished, None)
}

fn crash() -> End {
    End::Failed { failure: Failure::Crashed("it crashed".to_owned()), had_company: false }
}

#[test]
fn a_teacher_comes_first_and_free_slots_are_filled() {
    let scripts = ["a", "b", "t"].map(|run| (run, vec![finished()]));
    let mut executor = Scripted::new(2, scripts.into());
    let jobs = vec![job("a", Some("t")), job("b", Some("t")), job("t", None)];
    let options = Options { store: store(), resources: resources(), fail_fast: false };
    let swept = sweep_through(&mut executor, jobs, options, 0);
    assert_eq!(swept.states, [RunState::Finished; 3]);
    assert_eq!(swept.started, ["t", "a", "b"]);
    assert_eq!(swept.told[..3], ["begin 3 2", "started t 0 nowhere", "finished t: "]);
    assert!(swept.tells("started b 1 nowhere"), "beside a: {:?}", swept.told);
    assert_eq!(swept.told.last().unwrap(), "end");
}

#[test]
fn a_failed_attempt_is_followed_by_another_and_the_last_one_by_none() {
    let executor = Scripted::new(2, vec![("a", vec![crash(), finished()]), ("b", vec![crash(), crash()])]);
    let swept = sweep(executor, &["a", "b"], resources(), 0);
    assert_eq!(swept.states, [RunState::Finished, RunState::Failed]);
    assert_eq!(swept.started, ["a", "b", "a", "b"]);
    assert_eq!(swept.told.iter().filter(|line| line.starts_with("again")).count(), 2);
    assert!(swept.tells("again a: it crashed") && swept.tells("failed b: it crashed"));
}

#[test]
fn what_needs_a_failed_run_is_settled_without_an_attempt() {
    let mut executor = Scripted::new(1, vec![("t", vec![End::Left(RunState::Failed, None)])]);
    let jobs = vec![job("t", None), job("a", Some("t"))];
    let options = Options { store: store(), resources: resources(), fail_fast: false };
    let swept = sweep_through(&mut executor, jobs, options, 0);
    assert_eq!(swept.states, [RunState::Failed; 2]);
    assert_eq!(swept.started, ["t"]);
    assert!(swept.tells("failed a: its teacher t failed"), "{:?}", swept.told);
}

#[test]
fn out_of_memory_beside_others_is_tried_alone() {
    let failure = Failure::OutOfMemory("it was killed".to_owned());
    let large = vec![End::Failed { failure, had_company: true }, finished()];
    let executor = Scripted::new(2, vec![("a", large), ("b", vec![finished()])]);
    let swept = sweep(executor, &["a", "b"], ResourcesConfig { attempts: 1, ..resources() }, 0);
    assert_eq!(swept.states, [RunState::Finished; 2]);
    assert_eq!(swept.started, ["a", "b", "a!"]);
    assert!(swept.tells("again a: it was killed; it will be tried alone"), "{:?}", swept.told);
}

#[test]
fn a_lost_attempt_does_not_count_and_one_that_never_began_is_not_spoken_of() {
    let lost = || End::Lost("its node failed".to_owned());
    let executor = Scripted::new(1, vec![("a", vec![lost(), End::NotBegun, lost(), finished()])]);
    let swept = sweep(executor, &["a"], ResourcesConfig { attempts: 1, ..resources() }, 0);
    assert_eq!(swept.states, [RunState::Finished]);
    assert_eq!(swept.started.len(), 4);
    let again: Vec<&String> = swept.told.iter().filter(|line| line.starts_with("again")).collect();
    assert_eq!(again, ["again a: its node failed"; 2]);
}

#[test]
fn a_run_that_another_process_has_is_waited_for_and_said_once() {
    let executor = Scripted::new(1, vec![("a", vec![End::Elsewhere, End::Elsewhere, finished()])]);
    let swept = sweep(executor, &["a"], ResourcesConfig { attempts: 1, ..resources() }, 0);
    assert_eq!(swept.states, [RunState::Finished]);
    assert_eq!(swept.told.iter().filter(|line| *line == "elsewhere a").count(), 1);
}

#[test]
fn the_first_failure_ends_a_sweep_that_is_told_so() {
    let mut executor = Scripted::new(2, vec![("b", vec![crash()])]);
    let jobs = ["a", "b", "c"].map(|id| job(id, None));
    let resources = ResourcesConfig { attempts: 1, ..resources() };
    let options = Options { store: store(), resources, fail_fast: true };
    let swept = sweep_through(&mut executor, jobs.into(), options, 0);
    assert_eq!(swept.states, [RunState::Interrupted, RunState::Failed, RunState::Planned]);
    assert_eq!(swept.started, ["a", "b"]);
    assert_eq!(swept.stopped, [("a".to_owned(), Stop::InGoodOrder)]);
}

#[test]
fn the_user_s_first_request_stops_in_good_order_and_the_second_at_once() {
    let mut executor = Scripted::new(1, Vec::new());
    executor.obeys = false;
    let swept = sweep(executor, &["a", "b"], resources(), 2);
    assert_eq!(swept.states, [RunState::Killed, RunState::Planned]);
    assert_eq!(swept.stopped, [Stop::InGoodOrder, Stop::AtOnce].map(|how| ("a".to_owned(), how)));
    assert_eq!(swept.told.iter().filter(|line| *line == "stopping").count(), 1);
}

#[test]
fn what_an_executor_leaves_goes_on_without_the_sweep() {
    let mut executor = Scripted::new(2, Vec::new());
    executor.at_interrupt = [AtInterrupt::Leave; 2];
    let swept = sweep(executor, &["a", "b", "c"], resources(), 1);
    assert_eq!(swept.left, ["a", "b"]);
    assert_eq!(swept.states, [RunState::Planned; 3], "nothing came of them yet");
    assert!(swept.stopped.is_empty() && !swept.tells("stopping"));
}

#[test]
fn what_a_sweep_before_left_is_not_started_again() {
    let mut executor = Scripted::new(2, ["a", "b"].map(|run| (run, vec![finished()])).into());
    executor.left_before = vec![1];
    let swept = sweep(executor, &["a", "b"], resources(), 0);
    assert_eq!(swept.states, [RunState::Finished; 2]);
    assert_eq!(swept.started, ["a"]);
}

#[test]
fn a_run_whose_time_is_up_is_stopped_and_fails() {
    let executor = Scripted::new(1, Vec::new());
    let swept = sweep(executor, &["a"], ResourcesConfig { time_limit: 0.01, ..resources() }, 0);
    assert_eq!(swept.states, [RunState::Failed]);
    assert_eq!(swept.started, ["a"], "it is not tried again");
    assert!(swept.tells("it took longer than 10ms (resources.time_limit)"), "{:?}", swept.told);
}

#[test]
fn a_silent_worker_is_ended_where_silence_means_anything() {
    let limits = ResourcesConfig { stall_timeout: 0.01, time_limit: 1.5, attempts: 1, ..resources() };
    let swept = sweep(Scripted::new(1, Vec::new()), &["a"], limits.clone(), 0);
    assert_eq!(swept.states, [RunState::Failed]);
    assert_eq!(swept.stopped, [("a".to_owned(), Stop::AtOnce)]);
    assert!(swept.tells("gave no sign of life for 10ms"), "{:?}", swept.told);

    let mut executor = Scripted::new(1, Vec::new());
    executor.hears = false;
    let swept = sweep(executor, &["a"], limits, 0);
    assert_eq!(swept.stopped, [("a".to_owned(), Stop::InGoodOrder)], "only when its time is up");
}

#[test]
fn keys_that_an_executor_ignores_are_said_when_the_sweep_begins() {
    let script = || vec![("a", vec![finished()])];
    let swept = sweep(Scripted::new(1, script()), &["a"], ResourcesConfig { threads: 2, ..resources() }, 0);
    assert_eq!(swept.told[1], "warning: resources.threads has no effect in a test");
    assert!(!sweep(Scripted::new(1, script()), &["a"], resources(), 0).tells("warning"));
}
