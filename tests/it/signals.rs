//! Runs whose teacher's hidden states are computed once: the same numbers, whatever happens to the file.

use kdx::interrupt::Interrupt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kdx::cache::{self, Kind};
use kdx::distill::{DistillError, Observer, Outcome};
use kdx::spec::{LossKind, PathList, Precision, RunConfig, SignalKind};
use kdx::store::{MetricRow, RunSummary};

use crate::runs::{Bench, Seen, golden_config};
use crate::support::device::device;
use crate::support::{golden, job};

/// Two epochs over shuffled sequences of many lengths, measured twice each.
fn config(bench: &Bench, signal: SignalKind) -> RunConfig {
    let mut config = golden_config();
    let held_out = bench.root.path().join("held_out.jsonl");
    fs::write(&held_out, records(9, 5)).unwrap();
    let train = bench.root.path().join("train.jsonl");
    fs::write(&train, records(23, 0)).unwrap();
    config.data.train = PathList::Many(vec![golden("tokenized.jsonl"), train]);
    config.data.validation = PathList::One(held_out);
    config.data.shuffle = true;
    config.train.epochs = 2;
    config.train.batch_size = 4;
    config.evaluate.every = 5;
    config.evaluate.batch_size = 3;
    config.teacher.as_mut().unwrap().signal = signal;
    config
}

/// Tokenized records of 2 to 20 tokens; a third of the labels don't count, and of some records none does.
fn records(count: usize, offset: usize) -> String {
    let line = |n: usize| {
        let ids: Vec<i64> = (0..2 + (n * 7) % 19).map(|i| ((n * 31 + i * 17) % 60) as i64).collect();
        let counts = |i: usize| n % 6 == 5 && i > 1 || n % 6 != 5 && !(i + n).is_multiple_of(3) || i == 1;
        let labels: Vec<i64> =
            ids.iter().enumerate().map(|(i, &id)| if counts(i) { id } else { -100 }).collect();
        serde_json::json!({ "input_ids": ids, "labels": labels }).to_string() + "\n"
    };
    (offset..offset + count).map(line).collect()
}

fn finished(outcome: Result<Outcome, DistillError>) -> RunSummary {
    match outcome {
        Ok(Outcome::Finished(summary)) => summary,
        other => panic!("{other:?}"),
    }
}

/// Metrics and model, to the bit.
fn results(bench: &Bench) -> (String, Vec<u8>) {
    let read = |path: PathBuf| fs::read(path).unwrap();
    let metrics = read(bench.dir.path().join("metrics.jsonl"));
    (String::from_utf8(metrics).unwrap(), read(bench.dir.model_dir().join("model.safetensors")))
}

/// A run of its own, which reads and writes the signals of `bench`.
fn beside(bench: &Bench) -> Bench {
    let other = Bench::new();
    fs::create_dir_all(bench.cache()).unwrap();
    std::os::unix::fs::symlink(bench.cache(), other.cache()).unwrap();
    other
}

fn signals(bench: &Bench, extension: &str) -> Vec<PathBuf> {
    let Ok(listing) = fs::read_dir(bench.cache().join("signals")) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listing.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

fn same(found: &(String, Vec<u8>), expected: &(String, Vec<u8>)) {
    assert_eq!(found.0, expected.0);
    assert!(found.1 == expected.1, "the models differ");
}

#[test]
fn a_run_from_the_cache_gives_the_bits_of_a_run_online() {
    gives_the_bits_of_a_run_online(Precision::Fp32);
}

#[test]
fn a_run_from_the_cache_gives_the_bits_of_a_run_online_in_bfloat16() {
    gives_the_bits_of_a_run_online(Precision::Bf16);
}

pub fn gives_the_bits_of_a_run_online(precision: Precision) {
    let config = |bench: &Bench, signal| {
        let mut config = config(bench, signal);
        config.train.precision = precision;
        config
    };
    let online = Bench::new();
    let expected = finished(online.run(config(&online, SignalKind::Online)).0);
    assert!(signals(&online, "bin").is_empty());

    let hidden = Bench::new();
    let written = finished(hidden.run(config(&hidden, SignalKind::Hidden)).0);
    same(&results(&hidden), &results(&online));
    let files = signals(&hidden, "bin");
    assert_eq!(files.len(), 2, "training and held-out data: {files:?}");
    assert_eq!(
        (&written.validation, &written.teacher_validation),
        (&expected.validation, &expected.teacher_validation)
    );
    assert_eq!(written.teacher_parameters, expected.teacher_parameters);

    // Another seed and other batches find the same files, and leave them as they are.
    let before: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let other = beside(&hidden);
    let mut changed = config(&other, SignalKind::Auto);
    changed.train.seed = 9;
    changed.train.batch_size = 7;
    changed.evaluate.batch_size = 2;
    changed.loss.temperature = 3.0;
    changed.loss.kind = LossKind::Js;
    finished(other.run(changed.clone()).0);
    assert_eq!(signals(&hidden, "bin"), files);
    assert_eq!(files.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), before);
    let again = Bench::new();
    changed.teacher.as_mut().unwrap().signal = SignalKind::Online;
    finished(again.run(changed).0);
    same(&results(&other), &results(&again));
}

#[test]
fn auto_keeps_to_its_budget() {
    let run = |change: &dyn Fn(&mut RunConfig)| {
        let bench = Bench::new();
        let mut config = config(&bench, SignalKind::Auto);
        change(&mut config);
        finished(bench.run(config).0);
        signals(&bench, "bin").len()
    };
    assert_eq!(run(&|_| {}), 2);
    assert_eq!(run(&|config| config.teacher.as_mut().unwrap().cache_budget = Some(1e-6)), 0);
    // A run that sees a part of the data would compute more than it saves.
    assert_eq!(run(&|config| config.train.steps = Some(2)), 0);
    // A baseline is only measured against the teacher.
    assert_eq!(run(&|config| config.loss.kind = LossKind::None), 1);
}

/// Asks to stop once so much of a signal is prepared.
struct Impatient {
    stop: Arc<Interrupt>,
    after: u64,
}

impl Observer for Impatient {
    fn preparing(&mut self, what: &str, done: u64, total: u64) {
        assert!(what.contains("hidden states") && done <= total);
        if done >= self.after {
            self.stop.ask();
        }
    }
    fn started(&mut self, _total_steps: u64, _parameters: u64) {
        panic!("the run was to be stopped before");
    }
    fn metric(&mut self, _row: &MetricRow, _tokens_per_second: f64) {}
}

#[test]
pub fn a_run_stops_while_it_prepares_and_the_next_one_goes_on() {
    let whole = Bench::new();
    let long = |bench: &Bench| {
        let mut config = config(bench, SignalKind::Hidden);
        let train = bench.root.path().join("long.jsonl");
        // More than one batch of the teacher.
        fs::write(&train, records(600, 3)).unwrap();
        config.data.train = PathList::One(train);
        config.train.steps = Some(3);
        config
    };
    finished(whole.run(long(&whole)).0);

    let parts = Bench::new();
    let stop = Arc::new(Interrupt::new());
    let mut impatient = Impatient { stop: Arc::clone(&stop), after: 1 };
    let record = parts.record(long(&parts));
    let cache = parts.cache();
    let held = parts.hold();
    let job = job(&record, &held, &cache, device());
    assert_eq!(kdx::distill::train(&job, &mut impatient, &stop).unwrap(), Outcome::Interrupted);
    assert_eq!((signals(&parts, "partial").len(), signals(&parts, "bin").len()), (1, 0));
    drop(held);

    let mut seen = Seen::default();
    let outcome = parts.observed(long(&parts), &mut seen, &Interrupt::new());
    finished(outcome);
    assert!(signals(&parts, "partial").is_empty());
    same(&results(&parts), &results(&whole));
    let content = |bench: &Bench| -> Vec<Vec<u8>> {
        // Behind the header, which says when it was made.
        signals(bench, "bin").iter().map(|path| fs::read(path).unwrap()[16384..].to_vec()).collect()
    };
    assert!(content(&parts) == content(&whole));
}

/// Overwrites a byte of a file, counted from its end.
fn damage(path: &Path, from_end: usize) {
    let mut bytes = fs::read(path).unwrap();
    let index = bytes.len() - from_end;
    bytes[index] ^= 0xFF;
    fs::write(path, bytes).unwrap();
}

#[test]
pub fn a_damaged_file_is_made_again_and_never_trusted() {
    let bench = Bench::new();
    finished(bench.run(config(&bench, SignalKind::Hidden)).0);
    let expected = results(&bench);
    let files = signals(&bench, "bin");
    let whole: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    let run = || {
        let other = beside(&bench);
        finished(other.run(config(&other, SignalKind::Hidden)).0);
        same(&results(&other), &expected);
    };
    let restored = || {
        let found = files.iter().map(|path| fs::read(path).unwrap()[16384..].to_vec());
        assert!(found.eq(whole.iter().map(|bytes| bytes[16384..].to_vec())));
    };
    // In a header, cut short, or another file: seen when it is opened.
    damage(&files[0], whole[0].len() - 60);
    fs::write(&files[1], &whole[1][..whole[1].len() - 1]).unwrap();
    run();
    restored();
    fs::write(&files[0], &whole[1]).unwrap();
    run();
    restored();
    // In the rows: seen when they are read. The teacher takes over, and the next run writes the file.
    for (path, bytes) in files.iter().zip(&whole) {
        damage(path, (bytes.len() - 16384) / 2);
    }
    run();
    assert!(signals(&bench, "bin").is_empty());
    run();
    restored();
}

#[test]
fn two_runs_at_once_share_one_file() {
    let bench = Bench::new();
    let others = [beside(&bench), beside(&bench)];
    std::thread::scope(|scope| {
        for other in &others {
            scope.spawn(move || {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                finished(pool.install(|| other.run(config(other, SignalKind::Hidden))).0);
            });
        }
    });
    same(&results(&others[0]), &results(&others[1]));
    assert_eq!((signals(&bench, "bin").len(), signals(&bench, "partial").len()), (2, 0));
}

#[test]
fn a_file_that_cannot_be_written_stops_a_run_only_where_it_was_asked_for() {
    let blocked = |signal| {
        let bench = Bench::new();
        fs::create_dir_all(bench.cache()).unwrap();
        fs::write(bench.cache().join("signals"), "not a directory").unwrap();
        bench.run(config(&bench, signal)).0
    };
    let error = blocked(SignalKind::Hidden).unwrap_err();
    let help = miette::Diagnostic::help(&error).unwrap().to_string();
    assert!(
        error.to_string().contains("signals") && help.contains("teacher.signal = \"online\""),
        "{error}: {help}"
    );
    finished(blocked(SignalKind::Auto));
}

#[test]
fn all_logits_teach_as_hidden_states_do_and_few_nearly_so() {
    let run = |signal, top_k| {
        let bench = Bench::new();
        let mut config = config(&bench, signal);
        config.teacher.as_mut().unwrap().top_k = top_k;
        let summary = finished(bench.run(config).0);
        let rows = bench.dir.metrics().unwrap();
        let loss = cache::list(&bench.cache()).unwrap().into_iter().find_map(|entry| match entry.kind {
            Kind::Signal(header) => header.loss,
            _ => None,
        });
        (rows.iter().map(|row| row.loss).collect::<Vec<_>>(), summary, loss)
    };
    let (exact, summary, _) = run(SignalKind::Online, None);
    let furthest = |found: &[f64]| {
        assert_eq!(found.len(), exact.len());
        found.iter().zip(&exact).map(|(a, b)| (a - b).abs() / b).fold(0.0, f64::max)
    };
    let vocabulary = 320;
    let (all, same, loss) = run(SignalKind::Topk, Some(vocabulary));
    assert!(furthest(&all) < 1e-4, "{}", furthest(&all));
    assert_eq!(loss.unwrap().tail_mass, 0.0);
    let agreement = |summary: &RunSummary| summary.validation.as_ref().unwrap().value("agreement").unwrap();
    assert_eq!(agreement(&same), agreement(&summary));

    let (many, _, of_many) = run(SignalKind::Topk, Some(vocabulary / 2));
    let (few, _, of_few) = run(SignalKind::Topk, Some(4));
    let (of_many, of_few) = (of_many.unwrap(), of_few.unwrap());
    assert!(0.0 < of_many.tail_mass && of_many.tail_mass < of_few.tail_mass && of_few.tail_mass < 1.0);
    assert!(0.0 < of_many.divergence && of_many.divergence < of_few.divergence);
    assert!(furthest(&many) < furthest(&few), "{} {}", furthest(&many), furthest(&few));

    let bench = Bench::new();
    let mut too_many = config(&bench, SignalKind::Topk);
    too_many.teacher.as_mut().unwrap().top_k = Some(vocabulary + 1);
    let error = bench.run(too_many).0.unwrap_err().to_string();
    assert!(error.contains(&format!("`teacher.top_k` is {}", vocabulary + 1)), "{error}");
}

#[test]
fn damaged_logits_are_computed_anew_to_the_same_bits() {
    let bench = Bench::new();
    let small = |bench: &Bench| {
        let mut config = config(bench, SignalKind::Topk);
        config.teacher.as_mut().unwrap().top_k = Some(5);
        config
    };
    finished(bench.run(small(&bench)).0);
    let files = signals(&bench, "bin");
    for path in &files {
        damage(path, (fs::metadata(path).unwrap().len() as usize - 16384) / 2);
    }
    for left in [0, files.len()] {
        let other = beside(&bench);
        finished(other.run(small(&other)).0);
        same(&results(&other), &results(&bench));
        assert_eq!(signals(&bench, "bin").len(), left);
    }
}
