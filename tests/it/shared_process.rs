//! Several runs in one process: each as if it were alone, but where the process ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use kdx::experiment;
use kdx::schedule::executor::{End, Handle, Report, Request, Stop, Update};
use kdx::schedule::{
    DeviceName, Event, Executor, Job, JobResult, LocalExecutor, LocalOptions, Message, Options, Plan,
    Watcher, dispatch,
};
use kdx::spec::ResourcesConfig;
use kdx::store::{RunState, Store};
use rustix::process::Signal;

use crate::sweeps::{Place, TINY, both, json, signal, state, wait_for};

/// A teacher, and students of which one diverges.
pub const ONE_DIVERGES: &str = r#"
[data]
train = "TOYDATA/train.jsonl"
tokenizer = "TOYDATA/tokenizer"
max_length = 32
train_limit = 24

[teacher]
hidden_size = 16
layers = 1
heads = 2
[teacher.train]
steps = 2
batch_size = 4

[student]
hidden_size = 8
layers = 1
heads = 2

[train]
steps = 6
batch_size = 4
log_every = 2

[grid]
"optimizer.learning_rate" = [1e-3, 2e-3, 1e30]
"#;

/// Two students without a teacher, which take so many steps.
fn two(steps: &str) -> Place {
    let (before, after) = TINY.split_once("[teacher]").expect("a teacher");
    let student = after.split_once("[student]").expect("a student").1;
    let text = format!("{before}[student]{student}").replace("baseline = true", "[loss]\nkind = \"none\"");
    let text = text.replace("steps = 6", &format!("steps = {steps}\ncheckpoint_every = 0.05"));
    Place::new(&text.replace("\"loss.temperature\" = [1.0, 4.0]", "\"train.seed\" = [1, 2]"))
}

/// A sweep whose runs share a process, on any device, as `resources.share_process` has it on GPUs.
struct Shared {
    options: Options,
    executor: LocalExecutor,
    messages: Receiver<Message>,
    jobs: Vec<Job>,
}

impl Shared {
    fn new(place: &Place, device: &DeviceName, slots: usize) -> Self {
        let experiment = experiment::load(&place.path().join("tiny.toml"), &[]).expect("an experiment");
        let store = Store::new(place.path().join("runs"));
        let plan = Plan::new(&experiment, &store).expect("a plan");
        plan.write(&store).expect("the plan is written");
        let here = LocalOptions {
            program: env!("CARGO_BIN_EXE_kdx").into(),
            store: store.clone(),
            slots: vec![device.clone(); slots],
            threads: slots,
            threads_per_worker: Some(1),
            memory: HashMap::new(),
            shared: HashSet::from([device.clone()]),
        };
        let resources = ResourcesConfig { stall_timeout: 0.0, ..ResourcesConfig::default() };
        let (sender, messages) = mpsc::channel();
        Self {
            options: Options { store, resources, fail_fast: false },
            executor: LocalExecutor::new(here, sender),
            messages,
            jobs: plan.pending(),
        }
    }

    fn run(mut self) -> (Vec<JobResult>, Seen) {
        let mut seen = Seen::default();
        let outcome = dispatch(self.jobs, &self.options, &mut self.executor, None, &self.messages, &mut seen);
        (outcome.expect("a sweep").results, seen)
    }
}

/// What a sweep tells its watcher.
#[derive(Default)]
struct Seen {
    retried: Vec<String>,
}

impl Watcher for Seen {
    fn begin(&mut self, _: &[Job], _: usize) {}
    fn started(&mut self, _: &Job, _: usize, _: &str) {}
    fn event(&mut self, _: &Job, _: usize, _: &Event) {}
    fn elsewhere(&mut self, job: &Job) {
        panic!("{} is with another process", job.id());
    }
    fn retried(&mut self, _: &Job, _: Option<usize>, reason: &str) {
        self.retried.push(reason.to_owned());
    }
    fn ended(&mut self, _: &Job, _: Option<usize>, _: RunState, _: Option<&str>) {}
    fn paused(&mut self, _: &Job, _: usize) {}
    fn notice(&mut self, _: &str) {}
    fn stopping(&mut self) {}
    fn end(&mut self) {}
}

/// What every run has measured and learnt, by its name.
pub fn contents(place: &Place) -> BTreeMap<String, [Option<Vec<u8>>; 2]> {
    let runs = place.needs().into_iter().chain(place.runs());
    let read = |path: &Path| {
        let files = ["metrics.jsonl", "model/model.safetensors"];
        files.map(|file| fs::read(path.join(file)).ok())
    };
    runs.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), read(&path))).collect()
}

fn states(results: &[JobResult]) -> Vec<RunState> {
    results.iter().map(|result| result.state).collect()
}

fn log(run: &Path) -> String {
    fs::read_to_string(run.join("log.txt")).unwrap_or_default()
}

fn pid(run: &Path) -> u32 {
    json(&run.join("status.json"))["pid"].as_u64().expect("a process id") as u32
}

/// Runs in one process give what each gives in its own, one that diverges among them.
pub fn runs_in_one_process_are_those_of_their_own(device: &DeviceName) {
    let alone = Place::new(ONE_DIVERGES);
    let (name, jobs) = (device.to_string(), ["--jobs", "1", "--set", "resources.threads=1"]);
    let mut sweep = alone.command(&["sweep", "tiny.toml", "--devices", &name]);
    let output = sweep.args(jobs).output().expect("kdx runs");
    assert!(output.status.success(), "{}", both(&output));

    let together = Place::new(ONE_DIVERGES);
    let (results, seen) = Shared::new(&together, device, 3).run();
    let ended = |state| results.iter().filter(|result| result.state == state).count();
    assert_eq!((ended(RunState::Finished), ended(RunState::Diverged)), (3, 1), "{:?}", seen.retried);
    assert_eq!(seen.retried, [] as [String; 0]);
    let (expected, found) = (contents(&alone), contents(&together));
    assert!(expected.values().filter(|files| files.iter().all(Option::is_some)).count() == 3);
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (run, expected) in &expected {
        assert!(*expected == found[run], "{run} is not what it is alone");
    }

    let runs: Vec<_> = together.needs().into_iter().chain(together.runs()).collect();
    let pids: HashSet<u32> = runs.iter().map(|run| pid(run)).collect();
    assert_eq!(pids.len(), 1, "one process");
    for run in runs {
        assert_eq!(json(&run.join("summary.json"))["peak_memory"], 0, "it is not known of a run");
        assert_eq!(json(&run.join("status.json"))["threads"], 1);
        // Each has said what it had to in its own log.
        assert_eq!(log(&run).contains("WARN"), state(&run) == "diverged", "{}", log(&run));
    }
}

#[test]
fn runs_in_one_process_are_those_of_their_own_on_the_processor() {
    runs_in_one_process_are_those_of_their_own(&DeviceName::Cpu);
}

/// A process that is killed costs each of its runs an attempt, and they finish from their checkpoints.
pub fn a_killed_process_costs_each_run_an_attempt(device: &DeviceName, steps: &str) {
    let place = two(steps);
    let shared = Shared::new(&place, device, 2);
    let sweep = std::thread::spawn(move || shared.run());
    wait_for("two runs", || place.runs().len() == 2);
    let runs = place.runs();
    let is_begun = |run: &Path| run.join("checkpoint/checkpoint.json").exists() && state(run) == "running";
    wait_for("checkpoints", || runs.iter().all(|run| is_begun(run)));
    let first = pid(&runs[0]);
    assert_eq!(first, pid(&runs[1]));
    signal(first, Signal::KILL);
    let (results, seen) = sweep.join().expect("the sweep ends");
    assert_eq!(states(&results), [RunState::Finished; 2]);
    assert_eq!(seen.retried.len(), 2, "{:?}", seen.retried);
    for reason in &seen.retried {
        assert!(reason.contains("signal 9") && reason.contains("other runs of its process"), "{reason}");
    }
    for run in &runs {
        assert_eq!(json(&run.join("status.json"))["attempt"], 2);
        assert!(log(run).contains("resumed at step"), "{}", log(run));
        assert_ne!(pid(run), first);
    }
}

#[test]
fn a_killed_process_costs_each_run_an_attempt_on_the_processor() {
    a_killed_process_costs_each_run_an_attempt(&DeviceName::Cpu, "3000");
}

#[test]
fn runs_that_ran_out_of_memory_together_get_a_process_each() {
    let place = two("3000");
    let shared = Shared::new(&place, &DeviceName::Cpu, 2);
    let sweep = std::thread::spawn(move || shared.run());
    wait_for("two runs", || place.runs().len() == 2);
    let runs = place.runs();
    wait_for("checkpoints", || runs.iter().all(|run| run.join("checkpoint/checkpoint.json").exists()));
    let first = pid(&runs[0]);
    for run in &runs {
        // What a GPU's driver says, through a panic of a thread that is no run's.
        let text = log(run) + "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")\n";
        fs::write(run.join("log.txt"), text).expect("the log");
    }
    signal(first, Signal::KILL);
    let (results, seen) = sweep.join().expect("the sweep ends");
    assert_eq!(states(&results), [RunState::Finished; 2]);
    assert!(
        seen.retried.iter().all(|reason| reason.ends_with("it will be tried alone")),
        "{:?}",
        seen.retried
    );
    let pids: HashSet<u32> = runs.iter().map(|run| pid(run)).chain([first]).collect();
    assert_eq!(pids.len(), 3, "a process each");
}

/// Waits for the end of an attempt, past what the others have to say.
fn until_over(executor: &mut LocalExecutor, of: Handle) -> End {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) {
        for update in executor.poll().expect("what happened") {
            match update {
                Update::Attempt(attempt, Report::Ended(end)) if attempt == of => return end,
                Update::Attempt(attempt, Report::Ended(end)) => panic!("{attempt:?} ended: {end:?}"),
                Update::Attempt(..) | Update::Notice(_) => {}
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain for the end of {of:?}");
}

#[test]
fn a_run_that_is_asked_to_stop_leaves_the_others_of_its_process_alone() {
    let place = two("1000000");
    let Shared { options, mut executor, jobs, messages: _wake } = Shared::new(&place, &DeviceName::Cpu, 2);
    let request = |job: usize| Request { job: &jobs[job], is_alone: false, until: None, others_ready: 0 };
    let first = executor.start(&request(0)).expect("a worker");
    executor.start(&request(1)).expect("a worker");
    assert_eq!(executor.capacity(), 0);
    let dirs = [0, 1].map(|job: usize| jobs[job].dir(&options.store).path().to_owned());
    let is_begun = |run: &Path| run.join("checkpoint/checkpoint.json").exists();
    wait_for("checkpoints", || dirs.iter().all(|run| is_begun(run)));
    executor.stop(first, Stop::InGoodOrder);
    let end = until_over(&mut executor, first);
    assert!(matches!(end, End::Left(RunState::Interrupted, None)), "{end:?}");
    assert_eq!((state(&dirs[0]).as_str(), state(&dirs[1]).as_str()), ("interrupted", "running"));
    // Its place is free for it again, in the same process.
    let again = executor.start(&request(0)).expect("a worker");
    wait_for("the next attempt", || json(&dirs[0].join("status.json"))["attempt"] == 2);
    assert_eq!(pid(&dirs[0]), pid(&dirs[1]));
    executor.stop(again, Stop::InGoodOrder);
    let end = until_over(&mut executor, again);
    assert!(matches!(end, End::Left(RunState::Interrupted, None)), "{end:?}");
    // As when the dispatcher dies: nobody is there to hand it runs, and those that it has stop.
    let process = pid(&dirs[1]);
    drop(executor);
    assert_eq!(state(&dirs[1]), "interrupted");
    assert!(!Path::new(&format!("/proc/{process}/exe")).exists(), "the process is gone");
}

#[test]
fn a_signal_stops_all_runs_of_a_process_and_then_it() {
    let place = two("1000000");
    let shared = Shared::new(&place, &DeviceName::Cpu, 2);
    let sweep = std::thread::spawn(move || shared.run());
    wait_for("two runs", || place.runs().len() == 2);
    let runs = place.runs();
    wait_for("checkpoints", || runs.iter().all(|run| run.join("checkpoint/checkpoint.json").exists()));
    signal(pid(&runs[0]), Signal::TERM);
    let (results, _) = sweep.join().expect("the sweep ends");
    assert_eq!(states(&results), [RunState::Interrupted; 2]);
}

#[test]
fn a_process_of_several_runs_names_what_it_cannot_be_asked() {
    let worker = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdx"));
        command.args(["worker", "--device", "cpu"]).args(arguments).output().expect("kdx runs")
    };
    for wrong in [&["--shared", "--run", "a"][..], &["--shared", "--detached"], &[]] {
        assert_eq!(worker(wrong).status.code(), Some(2), "{wrong:?}");
    }
    // Nobody hands it anything.
    assert!(worker(&["--shared"]).status.success());
}
