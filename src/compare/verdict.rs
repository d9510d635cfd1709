//! What became of a configuration: worse, better, the same, missing or new.

use std::collections::BTreeMap;

use serde::Serialize;

use super::pairing::{Pair, PairedRun};
use crate::report::format;
use crate::report::statistics::{Difference, Sample, Seeded, by_seed, difference};
use crate::spec::Better;

/// What became of a configuration, or of one of its metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Beyond the tolerance, and significant where a test is possible; or it no longer trains.
    Worse,
    /// In base, but not in head, or not finished there.
    Missing,
    /// As far in the good direction as `worse` is in the bad one.
    Better,
    /// In head, but not in base, or not finished there.
    New,
    /// Neither.
    Same,
}

impl Verdict {
    /// All, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Worse, Self::Missing, Self::Better, Self::New, Self::Same];

    /// The word that tables use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Missing => "missing",
            Self::Better => "better",
            Self::New => "new",
            Self::Same => "same",
        }
    }

    /// Whether it fails a comparison.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Worse | Self::Missing)
    }
}

/// A verdict with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The verdict.
    pub verdict: Verdict,
    /// What people call the configuration.
    pub label: String,
    /// The keys in which it differs from others.
    pub configuration: BTreeMap<String, String>,
    /// The column of the runs table; none where the verdict is about the runs as a whole.
    pub metric: Option<String>,
    /// The values in base, over seeds.
    pub base: Option<Sample>,
    /// The values in head, over seeds.
    pub head: Option<Sample>,
    /// Head minus base.
    pub difference: Option<Difference>,
    /// How much worse it may get, in the metric's unit.
    pub allowed: Option<f64>,
    /// How sure the verdict is, or what else is the matter.
    pub reason: String,
}

/// A metric with its tolerance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// The column of the runs table.
    pub name: String,
    /// Allowed worsening as a fraction of base's value.
    pub relative: f64,
    /// Allowed worsening in the metric's own unit; the larger of the two allowances counts.
    pub absolute: f64,
    /// Which direction is better.
    pub better: Better,
}

/// The verdicts on a configuration. None where neither side has finished runs: nothing was lost.
pub fn judge(pair: &Pair, metrics: &[Metric], confidence: f64) -> Vec<Row> {
    let about_runs = |verdict: Verdict, reason: String| Row {
        verdict,
        label: pair.label.clone(),
        configuration: pair.configuration.clone(),
        metric: None,
        base: None,
        head: None,
        difference: None,
        allowed: None,
        reason,
    };
    let (base, head) = (Standing::of(&pair.base), Standing::of(&pair.head));
    if base.finished == 0 {
        return match (base.diverged > 0, head.finished > 0, head.diverged > 0) {
            (_, false, false) => Vec::new(),
            (true, true, _) => {
                vec![about_runs(Verdict::Better, "diverged in base, finished in head".to_owned())]
            }
            (true, false, _) => vec![about_runs(Verdict::Same, "diverged on both sides".to_owned())],
            (false, true, _) if pair.base.is_empty() => {
                vec![about_runs(Verdict::New, "not in base".to_owned())]
            }
            (false, true, _) => {
                vec![about_runs(Verdict::New, format!("not finished in base: {}", base.rest))]
            }
            (false, false, true) => {
                vec![about_runs(Verdict::New, "not in base; diverged in head".to_owned())]
            }
        };
    }
    if pair.head.is_empty() {
        return vec![about_runs(Verdict::Missing, "not in head".to_owned())];
    }
    let mut rows = Vec::new();
    // More divergence than in base is worse, whatever the other seeds say.
    if head.diverged > base.diverged {
        let of = pair.head.len();
        rows.push(about_runs(Verdict::Worse, format!("{} of {of} runs diverged in head", head.diverged)));
    }
    if head.unfinished > 0 {
        let of = pair.head.len();
        let reason = format!("{} of {of} runs not finished in head: {}", head.unfinished, head.rest);
        rows.push(about_runs(Verdict::Missing, reason));
    }
    if head.finished > 0 {
        rows.extend(metrics.iter().enumerate().filter_map(|(index, metric)| {
            let row = judge_metric(pair, index, metric, confidence)?;
            Some(Row { label: pair.label.clone(), configuration: pair.configuration.clone(), ..row })
        }));
    }
    rows
}

/// Where the runs of one side stand.
struct Standing {
    finished: usize,
    diverged: usize,
    unfinished: usize,
    /// The states of unfinished runs.
    rest: String,
}

impl Standing {
    fn of(runs: &[PairedRun]) -> Self {
        let count = |status: &str| runs.iter().filter(|run| run.status == status).count();
        let mut rest: Vec<String> = runs.iter().map(|run| run.status.clone()).collect();
        rest.retain(|status| status != "finished" && status != "diverged");
        let unfinished = rest.len();
        rest.sort();
        rest.dedup();
        Self {
            finished: count("finished"),
            diverged: count("diverged"),
            unfinished,
            rest: format::list(&rest),
        }
    }
}

/// None where neither side has the figure.
fn judge_metric(pair: &Pair, index: usize, metric: &Metric, confidence: f64) -> Option<Row> {
    let (base, base_odd) = figures(&pair.base, index);
    let (head, head_odd) = figures(&pair.head, index);
    let sample = |values: &[Seeded]| Sample::of(&by_seed(values).iter().map(|(_, v)| *v).collect::<Vec<_>>());
    let row = |verdict, reason: String| Row {
        verdict,
        label: String::new(),
        configuration: BTreeMap::new(),
        metric: Some(metric.name.clone()),
        base: sample(&base),
        head: sample(&head),
        difference: None,
        allowed: None,
        reason,
    };
    if head_odd > base_odd {
        return Some(row(
            Verdict::Worse,
            format!("{head_odd} of {} values in head are no numbers", pair.head.len()),
        ));
    }
    let Some(difference) = difference(&base, &head, confidence) else {
        return match (base.is_empty(), head.is_empty()) {
            (true, true) => None,
            (true, false) => Some(row(Verdict::New, "base has no figure".to_owned())),
            (false, _) => Some(row(Verdict::Missing, "head has no figure".to_owned())),
        };
    };
    let base_mean = sample(&base)?.mean;
    let allowed = (metric.relative * base_mean.abs()).max(metric.absolute);
    let worsening = match metric.better {
        Better::Lower => difference.mean,
        Better::Higher => -difference.mean,
    };
    let is_sure = difference.tested.is_none() || difference.is_significant();
    let verdict = match worsening {
        w if w > allowed && is_sure => Verdict::Worse,
        w if w < -allowed && is_sure => Verdict::Better,
        _ => Verdict::Same,
    };
    let mut reason = surety(&difference, base.len().min(head.len()));
    if worsening.abs() > allowed && !is_sure {
        reason += if worsening > 0.0 { "; worse, but may be chance" } else { "; better, but may be chance" };
    }
    Some(Row { difference: Some(difference), allowed: Some(allowed), ..row(verdict, reason) })
}

/// The finite figures of finished runs by seed, and the number of those that are no numbers.
fn figures(runs: &[PairedRun], index: usize) -> (Vec<Seeded>, usize) {
    let finished = || runs.iter().filter(|run| run.status == "finished");
    let value = |run: &PairedRun| run.metrics.get(index).copied().flatten();
    let odd = finished().filter(|run| value(run).is_some_and(|v| !v.is_finite())).count();
    let seeded = finished().filter_map(|run| Some((run.seed?, value(run).filter(|v| v.is_finite())?)));
    (seeded.collect(), odd)
}

fn surety(difference: &Difference, fewest: usize) -> String {
    match &difference.tested {
        None if fewest <= 1 => "1 seed: no test possible".to_owned(),
        None => "runs of 1 seed: no test possible".to_owned(),
        Some(tested) if tested.margin == 0.0 && difference.mean == 0.0 => "identical".to_owned(),
        Some(tested) => {
            let p = if tested.p_value < 0.001 {
                "p < 0.001".to_owned()
            } else {
                format!("p = {}", format::decimals(tested.p_value, 3))
            };
            format!("{p}, {}", tested.test.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative, absolute, direction.
    type Tolerance = (f64, f64, Better);

    fn runs(values: &[(u64, &str, Option<f64>)]) -> Vec<PairedRun> {
        let run = |(seed, status, value): &(u64, &str, Option<f64>)| PairedRun {
            seed: Some(*seed),
            status: (*status).to_owned(),
            metrics: vec![*value],
        };
        values.iter().map(run).collect()
    }

    fn finished(values: &[f64]) -> Vec<PairedRun> {
        let seeded: Vec<_> =
            values.iter().enumerate().map(|(i, v)| (i as u64, "finished", Some(*v))).collect();
        runs(&seeded)
    }

    fn judged(
        base: Vec<PairedRun>,
        head: Vec<PairedRun>,
        (relative, absolute, better): Tolerance,
    ) -> Vec<Row> {
        let pair = Pair { configuration: BTreeMap::new(), label: "it".to_owned(), base, head };
        let name = "validation/hard_loss".to_owned();
        judge(&pair, &[Metric { name, relative, absolute, better }], 0.95)
    }

    fn lower(relative: f64, absolute: f64) -> Tolerance {
        (relative, absolute, Better::Lower)
    }

    #[track_caller]
    fn verdict(base: &[f64], head: &[f64], tolerance: Tolerance, expected: Verdict, why: &str) {
        let rows = judged(finished(base), finished(head), tolerance);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row.verdict, expected, "{row:?}");
        assert!(row.reason.contains(why), "{:?}", row.reason);
    }

    #[test]
    fn one_seed_is_judged_by_the_tolerance_alone() {
        let one_percent = lower(0.01, 0.0);
        verdict(&[1.0], &[1.02], one_percent, Verdict::Worse, "1 seed: no test possible");
        verdict(&[1.0], &[1.005], one_percent, Verdict::Same, "1 seed: no test possible");
        verdict(&[1.0], &[0.98], one_percent, Verdict::Better, "1 seed");
        verdict(&[1.0], &[1.02], lower(0.01, 0.05), Verdict::Same, "1 seed");
        verdict(&[1.0, 1.1], &[1.2], one_percent, Verdict::Worse, "1 seed");
        let higher = (0.0, 0.01, Better::Higher);
        verdict(&[0.8], &[0.7], higher, Verdict::Worse, "1 seed");
        verdict(&[0.8], &[0.9], higher, Verdict::Better, "1 seed");
    }

    /// p values by `scipy.stats.ttest_rel`.
    #[test]
    fn the_same_seeds_are_paired() {
        let base = [1.30, 1.34, 1.25];
        verdict(&base, &[1.35, 1.39, 1.31], lower(0.01, 0.0), Verdict::Worse, "p = 0.004, paired by seed");
        verdict(&base, &[1.40, 1.33, 1.30], lower(0.01, 0.0), Verdict::Same, "worse, but may be chance");
        verdict(&base, &base, lower(0.0, 0.0), Verdict::Same, "identical");
        verdict(&base, &[1.301, 1.341, 1.2511], lower(0.01, 0.0), Verdict::Same, "p = 0.001, paired by seed");
    }

    /// p values by `scipy.stats.ttest_ind(equal_var=False)`.
    #[test]
    fn different_seeds_are_tested_by_welch() {
        let base = finished(&[1.30, 1.34, 1.25]);
        let seeds = [(7, 1.45), (8, 1.47), (9, 1.50), (10, 1.44)];
        let head = runs(&seeds.map(|(seed, value)| (seed, "finished", Some(value))));
        let rows = judged(base.clone(), head, lower(0.01, 0.0));
        assert_eq!((rows[0].verdict, rows[0].reason.as_str()), (Verdict::Worse, "p = 0.010, Welch"));
        let noisy = [(7, 1.0), (8, 1.9), (9, 1.2)].map(|(seed, value)| (seed, "finished", Some(value)));
        let rows = judged(base, runs(&noisy), lower(0.01, 0.0));
        assert_eq!(rows[0].verdict, Verdict::Same);
        assert_eq!(rows[0].reason, "p = 0.822, Welch; worse, but may be chance");
    }

    #[test]
    fn a_configuration_that_no_longer_trains_is_worse_and_one_that_is_not_there_is_missing() {
        let base = || finished(&[1.0, 1.1]);
        let nan = Some(f64::NAN);
        for (base, head, expected, why) in [
            (base(), runs(&[]), Verdict::Missing, "not in head"),
            (
                base(),
                runs(&[(0, "diverged", None), (1, "diverged", None)]),
                Verdict::Worse,
                "2 of 2 runs diverged",
            ),
            (
                base(),
                runs(&[(0, "failed", None), (1, "planned", None)]),
                Verdict::Missing,
                "failed and planned",
            ),
            (
                base(),
                runs(&[(0, "damaged", None)]),
                Verdict::Missing,
                "1 of 1 runs not finished in head: damaged",
            ),
            (
                base(),
                runs(&[(0, "finished", None), (1, "finished", None)]),
                Verdict::Missing,
                "head has no figure",
            ),
            (base(), runs(&[(0, "finished", nan), (1, "finished", Some(1.1))]), Verdict::Worse, "no numbers"),
            (runs(&[]), base(), Verdict::New, "not in base"),
            (runs(&[(0, "running", None)]), base(), Verdict::New, "not finished in base: running"),
            (runs(&[(0, "diverged", None)]), base(), Verdict::Better, "diverged in base"),
            (runs(&[(0, "diverged", None)]), runs(&[(0, "diverged", None)]), Verdict::Same, "both sides"),
            (runs(&[(0, "finished", None)]), base(), Verdict::New, "base has no figure"),
        ] {
            let rows = judged(base, head, lower(0.01, 0.0));
            let [row] = &rows[..] else { panic!("{why}: {rows:?}") };
            assert_eq!(row.verdict, expected, "{row:?}");
            assert!(row.reason.contains(why), "{:?}", row.reason);
        }
    }

    #[test]
    fn some_seeds_that_diverge_do_not_hide_behind_the_others() {
        let base = finished(&[1.0, 1.01, 1.02]);
        let head = runs(&[(0, "finished", Some(1.0)), (1, "finished", Some(1.01)), (2, "diverged", None)]);
        let verdicts: Vec<_> = judged(base, head, lower(0.05, 0.0)).into_iter().map(|r| r.verdict).collect();
        assert_eq!(verdicts, [Verdict::Worse, Verdict::Same]);
    }

    #[test]
    fn what_neither_side_has_finished_is_left_out() {
        let open = || runs(&[(0, "planned", None), (1, "failed", None)]);
        assert_eq!(judged(open(), open(), lower(0.0, 0.0)), []);
        assert_eq!(
            judged(runs(&[(0, "finished", None)]), runs(&[(0, "finished", None)]), lower(0.0, 0.0)),
            []
        );
    }
}
