//! From axes to points: the product, what is left out, what is added, each run once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::axes::axis::{Assignment, Axis, MOST_POINTS, Selection};
use super::declaration::Point;
use super::key;
use super::layers::merge::Merged;
use super::read::problem::{Draft, Report};
use super::read::source::At;
use super::rules::{self, Rules, Site};
use super::schema::shape::is_run_section;
use crate::spec::relevance::{self, CONDITIONAL};
use crate::spec::{RunConfig, SearchConfig};

const SEED: &str = "train.seed";
const KIND: &str = "loss.kind";

/// The axes and points of an experiment.
#[derive(Debug, Default)]
pub(crate) struct Expansion {
    /// Dotted keys of the axes, slowest first.
    pub axes: Vec<String>,
    pub points: Vec<Point>,
}

/// Expands the grid and checks every point. Problems and warnings are reported.
pub(crate) fn expand(
    merged: &Merged<'_>,
    search: &SearchConfig,
    errors: &mut Report,
    warnings: &mut Report,
) -> Expansion {
    rules::check_space(merged, search, errors, warnings);
    let keys = collect_axis_keys(merged);
    if let Some(draft) = refuse_too_many(merged) {
        errors.push(draft);
        return Expansion::default();
    }
    let base = Value::Object(select_run_sections(&merged.sections));
    let base_config = match RunConfig::deserialize(&base) {
        Ok(config) => config,
        Err(error) => {
            errors.push(Draft::new(merged.beginning(), format!("this is not a configuration: {error}")));
            return Expansion::default();
        }
    };
    let mut points = Points {
        merged,
        base: &base,
        base_config: &base_config,
        keys: &keys,
        rules: Rules::new(search, errors, warnings),
        found: Vec::new(),
        seen: HashMap::new(),
        counted: [false; relevance::COUNT],
    };
    let excluded = points.add_product();
    points.add_included();
    if merged.baseline {
        points.add_baselines();
    }
    let (found, counted) = (points.found, points.counted);
    for (selection, _) in merged.exclude.iter().zip(excluded).filter(|(_, matched)| !matched) {
        let draft = Draft::new(selection.at, "this [[exclude]] matches no point").label("matches nothing");
        warnings.push(draft.help("a point is left out if it has every value that the table names"));
    }
    for (conditional, _) in CONDITIONAL.iter().zip(counted).filter(|(_, counted)| !counted) {
        warn_useless(conditional.key, conditional.when, merged, warnings);
    }
    Expansion { axes: keys, points: found }
}

/// Everything that moves: axes in their order, then what only included points or baselines have.
fn collect_axis_keys(merged: &Merged<'_>) -> Vec<String> {
    let of_axes = merged.axes.iter().flat_map(Axis::keys);
    let of_points = merged.include.iter().flat_map(|point| &point.assignments).map(|a| a.key.as_str());
    let of_baselines = merged.baseline.then_some(KIND);
    let mut keys: Vec<String> = Vec::new();
    for key in of_axes.chain(of_points).chain(of_baselines) {
        if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }
    keys
}

fn refuse_too_many(merged: &Merged<'_>) -> Option<Draft> {
    let lengths = merged.axes.iter().map(|axis| axis.options.len() as u128);
    let product = lengths.fold(1_u128, u128::saturating_mul);
    if product.saturating_add(merged.include.len() as u128) <= MOST_POINTS as u128 {
        return None;
    }
    let longest = merged.axes.iter().max_by_key(|axis| axis.options.len());
    let at = longest.map_or_else(|| merged.beginning(), |axis| axis.at);
    let sizes = merged.axes.iter().map(|axis| format!("`{}` has {}", axis.name, axis.options.len()));
    let message = format!("the grid has {product} points, and at most {MOST_POINTS} are allowed");
    let help = format!("the points are the product of the axes: {}", sizes.collect::<Vec<_>>().join(", "));
    Some(Draft::new(at, message).label("the longest axis").help(help))
}

/// The sections that make up a run.
fn select_run_sections(sections: &Map<String, Value>) -> Map<String, Value> {
    let is_of_run = |name: &&String| is_run_section(name);
    let names = sections.keys().filter(is_of_run);
    names.filter_map(|name| Some((name.clone(), sections.get(name)?.clone()))).collect()
}

/// Says that a key counts nowhere. A base sets keys for several experiments, which need not use all.
fn warn_useless(key: &str, when: &str, merged: &Merged<'_>, warnings: &mut Report) {
    let of_points = merged.include.iter().flat_map(|point| &point.assignments);
    let assignments = merged.axes.iter().flat_map(|axis| axis.options.iter().flatten()).chain(of_points);
    let assigned = || assignments.into_iter().find(|assignment| assignment.key == key).map(|found| found.at);
    let at: Option<At> = merged.node(key).map(|node| node.at).or_else(assigned);
    if let Some(at) = at.filter(|&at| !merged.is_in_base(at)) {
        let draft =
            Draft::new(at, format!("`{key}` changes nothing in this experiment")).label("without effect");
        warnings.push(draft.help(format!("remove it: {when}")));
    }
}

/// Points under construction.
struct Points<'a> {
    merged: &'a Merged<'a>,
    /// The sections as declared, and what they come to without any axis.
    base: &'a Value,
    base_config: &'a RunConfig,
    keys: &'a [String],
    rules: Rules<'a>,
    found: Vec<Point>,
    /// The configurations that are there already: the point of each hash.
    seen: HashMap<[u8; 32], usize>,
    /// Which of the conditional keys count in some point.
    counted: [bool; relevance::COUNT],
}

impl Points<'_> {
    /// Every combination of the axes' options, the last axis fastest. Returns which of the
    /// exclusions matched.
    fn add_product(&mut self) -> Vec<bool> {
        let merged = self.merged;
        let axes = &merged.axes;
        let defaults = serde_json::to_value(RunConfig::default()).unwrap_or_default();
        let mut matched = vec![false; merged.exclude.len()];
        let mut choice = vec![0_usize; axes.len()];
        loop {
            let options = axes.iter().zip(&choice).flat_map(|(axis, &index)| &axis.options[index]);
            let assignments: Vec<&Assignment> = options.collect();
            let mut is_excluded = false;
            for (exclusion, matched) in merged.exclude.iter().zip(&mut matched) {
                if matches(exclusion, &assignments, self.base, &defaults) {
                    *matched = true;
                    is_excluded = true;
                }
            }
            if !is_excluded {
                self.add_point(&assignments);
            }
            // Count up, the last digit first.
            let Some(digit) = (0..axes.len()).rev().find(|&axis| choice[axis] + 1 < axes[axis].options.len())
            else {
                return matched;
            };
            choice[digit] += 1;
            choice[digit + 1..].fill(0);
        }
    }

    /// `[[include]]`: points over the sections. A point is run with every seed, as those of the
    /// product are.
    fn add_included(&mut self) {
        let merged = self.merged;
        let is_seeds = |axis: &&Axis| axis.keys() == [SEED];
        let seeds = merged.axes.iter().find(is_seeds).map_or(&[][..], |axis| axis.options.as_slice());
        for selection in merged.include {
            let own: Vec<&Assignment> = selection.assignments.iter().collect();
            if seeds.is_empty() || own.iter().any(|assignment| assignment.key == SEED) {
                self.add_point(&own);
                continue;
            }
            for seed in seeds {
                let assignments: Vec<&Assignment> = own.iter().copied().chain(seed).collect();
                self.add_point(&assignments);
            }
        }
    }

    /// One run on labels alone for each configuration of everything but the loss.
    fn add_baselines(&mut self) {
        for index in 0..self.found.len() {
            if self.found[index].is_baseline {
                continue;
            }
            let point = &self.found[index];
            let config = relevance::baseline_of(&point.config);
            let is_kept = |(key, _): &(&String, &Value)| !key::is_within(key, "loss");
            let values: HashMap<String, Value> = point
                .values
                .iter()
                .filter(is_kept)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let baseline = self.push(config, |key| values.get(key));
            if let Some(point) = baseline.and_then(|index| self.found.get_mut(index)) {
                point.is_baseline = true;
            }
        }
    }

    fn add_point(&mut self, assignments: &[&Assignment]) {
        let mut config = match self.build_config(assignments) {
            Ok(config) => config,
            Err(error) => {
                let at = assignments.first().map_or_else(|| self.merged.beginning(), |first| first.at);
                return self
                    .rules
                    .errors
                    .push(Draft::new(at, format!("this is not a configuration: {error}")));
            }
        };
        self.rules.check(&config, &Site { merged: self.merged, assignments });
        for (conditional, counted) in CONDITIONAL.iter().zip(&mut self.counted) {
            *counted |= conditional.counts(&config);
        }
        relevance::canonicalize(&mut config);
        self.push(config, |key| {
            let assigned = assignments.iter().rev().find(|assignment| assignment.key == key);
            assigned.map(|assignment| &assignment.declared)
        });
    }

    /// The sections with the assignments in place. Only the sections that they change are read again.
    fn build_config(&self, assignments: &[&Assignment]) -> serde_json::Result<RunConfig> {
        let mut config = self.base_config.clone();
        let section_of = |assignment: &Assignment| key::section_of(&assignment.key).to_owned();
        let changed: BTreeSet<String> = assignments.iter().map(|assignment| section_of(assignment)).collect();
        for name in &changed {
            let declared = self.base.get(name).cloned().unwrap_or_default();
            let mut root = Value::Object(Map::from_iter([(name.clone(), declared)]));
            for assignment in assignments.iter().filter(|assignment| section_of(assignment) == *name) {
                key::set(&mut root, &assignment.key, assignment.value.clone());
            }
            let section = &root[name];
            match name.as_str() {
                "data" => config.data = Deserialize::deserialize(section)?,
                "teacher" => config.teacher = Deserialize::deserialize(section)?,
                "student" => config.student = Deserialize::deserialize(section)?,
                "loss" => config.loss = Deserialize::deserialize(section)?,
                "optimizer" => config.optimizer = Deserialize::deserialize(section)?,
                "schedule" => config.schedule = Deserialize::deserialize(section)?,
                "train" => config.train = Deserialize::deserialize(section)?,
                "evaluate" => config.evaluate = Deserialize::deserialize(section)?,
                other => return Err(serde::de::Error::custom(format!("there is no section [{other}]"))),
            }
        }
        Ok(config)
    }

    /// Adds a point, unless the same run is there already. The values are those that were assigned,
    /// else those of the configuration. Returns which point it is.
    fn push<'v>(&mut self, config: RunConfig, assigned: impl Fn(&str) -> Option<&'v Value>) -> Option<usize> {
        let text = serde_json::to_vec(&config).ok()?;
        let index = match self.seen.entry(*blake3::hash(&text).as_bytes()) {
            Entry::Occupied(known) => return Some(*known.get()),
            Entry::Vacant(new) => *new.insert(self.found.len()),
        };
        let mut resolved = None;
        let mut values = BTreeMap::new();
        for key in self.keys.iter().filter(|key| relevance::counts(key, &config)) {
            let value = assigned(key).or_else(|| {
                let resolved =
                    resolved.get_or_insert_with(|| serde_json::to_value(&config).unwrap_or_default());
                key::get(resolved, key)
            });
            if let Some(value) = value {
                values.insert(key.clone(), value.clone());
            }
        }
        self.found.push(Point { values, config, is_baseline: false });
        Some(index)
    }
}

/// Whether a point has every value that an exclusion names.
fn matches(exclusion: &Selection, assignments: &[&Assignment], base: &Value, defaults: &Value) -> bool {
    exclusion.assignments.iter().all(|wanted| {
        let assigned = assignments.iter().rev().find(|assignment| assignment.key == wanted.key);
        let value = assigned.map(|assignment| &assignment.value);
        value.or_else(|| key::get(base, &wanted.key)).or_else(|| key::get(defaults, &wanted.key))
            == Some(&wanted.value)
    })
}
