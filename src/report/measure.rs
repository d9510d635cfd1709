//! The held-out metrics of an experiment, and how pages and plots write their values.

use std::collections::{BTreeMap, BTreeSet};

use super::collect::CollectedRun;
use super::columns::name_held_out;
use super::format;
use crate::spec::metric::{
    self, BYTES, FRACTION, METRICS, Metric, MetricInfo, SECONDS, TOKENS_PER_SECOND, find, rank,
};
use crate::store::{Evaluation, RunSummary};

/// A held-out metric of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// As files write it: `hard_loss`.
    pub name: String,
    /// Its column in the runs table: `validation/hard_loss`.
    pub column: String,
    /// What people call it: `hard loss`.
    pub title: String,
    /// Its unit, and which direction is better.
    pub info: MetricInfo,
}

impl Measure {
    fn of(name: &str, declared: &BTreeMap<String, MetricInfo>) -> Self {
        let info = find(name).map(Metric::info).or_else(|| declared.get(name).cloned());
        Self {
            name: name.to_owned(),
            column: name_held_out(name),
            title: metric::title(name),
            info: info.unwrap_or_default(),
        }
    }

    /// Whether it stands where there is room for few. Those that are not registered do: someone added them.
    pub fn is_headline(&self) -> bool {
        find(&self.name).is_none_or(|metric| metric.is_headline)
    }

    /// Whether runs of another loss can be held against each other by it.
    pub fn is_comparable(&self) -> bool {
        find(&self.name).is_none_or(|metric| !metric.is_scaled_by_loss)
    }

    /// The title with the unit, for the title of a plot's axis: `hard loss (nats a token)`.
    pub fn title_with_unit(&self) -> String {
        match self.info.unit.as_ref() {
            "" => self.title.clone(),
            unit => format!("{} ({unit})", self.title),
        }
    }

    /// What it is, for those who wonder: `held out, exp of the hard loss; lower is better`.
    pub fn hint(&self) -> String {
        let better = self.info.better.map(|better| format!("{} is better", better.as_str()));
        let what = match self.info.description.as_ref() {
            "" => "held out".to_owned(),
            description => format!("held out, {description}"),
        };
        let unit = match self.info.unit.as_ref() {
            // A percentage says what it is.
            "" | FRACTION => None,
            unit => Some(unit.to_owned()),
        };
        [Some(what), unit, better].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// A value as text.
    pub fn write(&self, value: f64) -> String {
        write(&self.info, value)
    }
}

/// A value of a metric as text, by its unit.
pub fn write(info: &MetricInfo, value: f64) -> String {
    match info.unit.as_ref() {
        FRACTION => format::percent(value),
        SECONDS => format::seconds(value),
        BYTES => format::bytes(value),
        TOKENS_PER_SECOND => format::count(value),
        _ => format::loss(value),
    }
}

/// The held-out metrics of these runs: all registered ones, measured or not, so that every runs table has
/// their columns; then those that only the runs know.
pub fn find_measures(runs: &[CollectedRun]) -> Vec<Measure> {
    let declared = collect_declared(runs);
    let names = collect_names(runs, |summary| summary.validation.as_ref(), Metric::is_in_evaluations);
    names.iter().map(|name| Measure::of(name, &declared)).collect()
}

/// The names of the metrics in one of the evaluations of the runs, in their order, and those that are
/// `always` to be among them.
pub fn collect_names(
    runs: &[CollectedRun],
    evaluation: impl Fn(&RunSummary) -> Option<&Evaluation>,
    always: impl Fn(&Metric) -> bool,
) -> Vec<String> {
    let evaluations = runs.iter().filter_map(|run| run.summary.as_ref()).filter_map(evaluation);
    let mut names: BTreeSet<&str> =
        METRICS.iter().filter(|metric| always(metric)).map(|metric| metric.name).collect();
    names.extend(evaluations.flat_map(|evaluation| evaluation.values.iter().map(|(name, _)| name)));
    let mut names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    names.sort_by(|a, b| rank(a).cmp(&rank(b)));
    names
}

/// What the runs themselves say about metrics that are not registered.
pub fn collect_declared(runs: &[CollectedRun]) -> BTreeMap<String, MetricInfo> {
    let evaluations = runs.iter().filter_map(|run| run.summary.as_ref()?.validation.as_ref());
    evaluations.flat_map(|evaluation| evaluation.declared.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Better;

    #[test]
    fn a_metric_is_written_by_its_unit() {
        let declared = BTreeMap::from([(
            "reward".to_owned(),
            MetricInfo { unit: "points".into(), better: Some(Better::Higher), ..MetricInfo::default() },
        )]);
        let measure = |name| Measure::of(name, &declared);
        assert_eq!(
            measure("hard_loss").hint(),
            "held out, cross-entropy on the labels; nats a token; lower is better"
        );
        assert_eq!(measure("hard_loss").title_with_unit(), "hard loss (nats a token)");
        assert_eq!(
            (measure("hard_loss").write(1.5), measure("agreement").write(0.5)),
            ("1.500".into(), "50.0\u{a0}%".into())
        );
        let reward = measure("reward");
        assert_eq!(
            (reward.hint(), reward.column),
            ("held out; points; higher is better".into(), "validation/reward".into())
        );
        assert_eq!(measure("odd").title_with_unit(), "odd");
    }
}
