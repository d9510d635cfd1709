//! Which runs of the two sides are of the same configuration.

use std::collections::BTreeMap;

use polars::prelude::*;

use super::error::CompareError;
use super::source::Side;
use crate::report::cell::{Cell, texts};
use crate::report::columns::{KIND, NO_SOFT_LOSS, SEED, is_configuration_column};
use crate::report::grid::{below_common_directory, brief_name, label};
use crate::report::relevance::has_place;
use crate::spec::PATH_KEYS;

/// A configuration with its runs on both sides.
#[derive(Debug)]
pub struct Pair {
    /// Its values, of the keys in which configurations differ.
    pub configuration: BTreeMap<String, String>,
    /// What people call it.
    pub label: String,
    /// Its runs in base.
    pub base: Vec<PairedRun>,
    /// Its runs in head.
    pub head: Vec<PairedRun>,
}

/// A run as far as a comparison needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct PairedRun {
    /// Its seed; none of a run that was never tried.
    pub seed: Option<u64>,
    /// Where it stands.
    pub status: String,
    /// Its figures, in the order of the metrics that were asked for.
    pub metrics: Vec<Option<f64>>,
}

/// The pairs, in the order of base, then what only head has.
#[derive(Debug)]
pub struct Pairing {
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// What the reader should know about how they were found.
    pub notes: Vec<String>,
}

/// A configuration key with its values on both sides, as text.
struct Key {
    name: String,
    base: Vec<Option<String>>,
    head: Vec<Option<String>>,
}

impl Key {
    /// Whether configurations differ in it to which it means something: a baseline alone makes no
    /// difference worth a word.
    fn is_worth_naming(&self, kind: Option<&Self>) -> bool {
        let Some(kind) = kind else { return true };
        let values = self.base.iter().chain(&self.head).zip(kind.base.iter().chain(&kind.head));
        // Of a run that nobody has tried the kind may not be known.
        let counts = |kind: &Option<String>| {
            let kind = kind.as_deref();
            kind.is_some()
                && has_place(&self.name, kind)
                && !(self.name == KIND && kind == Some(NO_SOFT_LOSS))
        };
        distinct(values.filter(|(_, kind)| counts(kind)).map(|(value, _)| value)) > 1
    }
}

/// Pairs the runs by all configuration keys but the seed, where files lie, and `ignored` ones.
///
/// A key that only one side has takes part if it varies there: an older table without it cannot say
/// which of the values it had.
pub fn pair(
    base: &Side,
    head: &Side,
    metrics: &[String],
    ignored: &[String],
) -> Result<Pairing, CompareError> {
    let mut notes = Vec::new();
    let keys = keys(base, head, ignored, &mut notes)?;
    let sides = [
        rows(base, keys.iter().map(|key| &key.base), metrics, "base")?,
        rows(head, keys.iter().map(|key| &key.head), metrics, "head")?,
    ];
    let by: Vec<Expr> = (0..keys.len()).map(|i| col(key_column(i))).chain([lit(0).alias("all")]).collect();
    let mut lists = vec![col("side"), col("seed"), col("status")];
    lists.extend((0..metrics.len()).map(|i| col(metric_column(i))));
    let groups =
        concat(sides.map(IntoLazy::lazy), UnionArgs::default())?.group_by_stable(by).agg(lists).collect()?;

    let varying: Vec<String> = keys
        .iter()
        .filter(|key| distinct(key.base.iter().chain(&key.head)) > 1)
        .map(|k| k.name.clone())
        .collect();
    let kind = keys.iter().find(|key| key.name == KIND);
    let mut labelled = Vec::new();
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| varying.contains(&key.name)) {
        let brief = brief_name(&key.name, &varying);
        let is_named = key.is_worth_naming(kind);
        labelled.push((key.name.as_str(), brief, is_named, texts(&groups, &key_column(index))?));
    }
    let mut pairs = Vec::new();
    for row in 0..groups.height() {
        let mut pair = read_runs(&groups, row, metrics.len())?;
        let mut parts = Vec::new();
        let mut kind = None;
        for (key, name, is_named, values) in &labelled {
            let Some(value) = values[row].clone() else { continue };
            if *key == KIND {
                kind = Some(value.clone());
            }
            pair.configuration.insert((*key).to_owned(), value.clone());
            if *is_named {
                parts.push((*key, name.as_str(), value));
            }
        }
        pair.label = label(&parts, kind.as_deref());
        pairs.push(pair);
    }
    if !pairs.iter().any(|pair| !pair.base.is_empty() && !pair.head.is_empty()) {
        return Err(CompareError::NothingInCommon {
            base: base.name.clone(),
            head: head.name.clone(),
            advice: advice(&keys),
        });
    }
    Ok(Pairing { pairs, notes })
}

fn keys(
    base: &Side,
    head: &Side,
    ignored: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<Key>, CompareError> {
    let mut names: Vec<String> = Vec::new();
    for side in [base, head] {
        for column in side.runs.get_column_names() {
            let is_key = is_configuration_column(column) && column.as_str() != SEED;
            if is_key && !names.iter().any(|name| name == column.as_str()) {
                names.push(column.to_string());
            }
        }
    }
    for name in ignored.iter().filter(|name| !names.contains(name)) {
        notes.push(format!("`{name}` is no configuration key of either side: ignoring it changes nothing"));
    }
    let mut keys = Vec::new();
    for name in names.into_iter().filter(|name| !ignored.contains(name)) {
        let key = Key { base: values(base, &name)?, head: values(head, &name)?, name };
        let (in_base, in_head) = (distinct(&key.base), distinct(&key.head));
        let is_path = PATH_KEYS.contains(&key.name.as_str());
        // Where files lie says nothing, unless they differ within a side.
        if is_path && in_base <= 1 && in_head <= 1 {
            continue;
        }
        let (only, n) = match (base.runs.column(&key.name).is_ok(), head.runs.column(&key.name).is_ok()) {
            (true, true) => {
                keys.push(key);
                continue;
            }
            (true, false) => (&base.name, in_base),
            (false, _) => (&head.name, in_head),
        };
        if n > 1 {
            notes.push(format!("`{}` is only in {only}, where it varies", key.name));
            keys.push(key);
        } else {
            notes.push(format!("`{}` is only in {only}: not used for pairing", key.name));
        }
    }
    Ok(keys)
}

/// The values of a key as text that is the same for the same value of any type.
fn values(side: &Side, name: &str) -> Result<Vec<Option<String>>, CompareError> {
    let height = side.runs.height();
    let Ok(column) = side.runs.column(name) else { return Ok(vec![None; height]) };
    let mut cells: Vec<Cell> = (0..height).map(|row| Cell::of(column, row)).collect();
    complete(side, &mut cells)?;
    if PATH_KEYS.contains(&name) {
        let set: Vec<Cell> = cells.iter().filter(|cell| **cell != Cell::Null).cloned().collect();
        let mut short = below_common_directory(&set).into_iter();
        return Ok(cells.iter().map(|cell| if *cell == Cell::Null { None } else { short.next() }).collect());
    }
    Ok(cells.iter().map(|cell| (*cell != Cell::Null).then(|| cell.to_string())).collect())
}

/// Of a run that was never tried only the axes are known: what is the same for all other runs is the
/// same for it.
fn complete(side: &Side, cells: &mut [Cell]) -> Result<(), CompareError> {
    let status = texts(&side.runs, "status")?;
    let is_planned = |row: usize| status[row].as_deref() == Some("planned");
    let mut tried = cells.iter().enumerate().filter(|(row, _)| !is_planned(*row)).map(|(_, cell)| cell);
    let Some(first) = tried.next().cloned() else { return Ok(()) };
    if tried.all(|cell| *cell == first) {
        for (row, cell) in cells.iter_mut().enumerate() {
            if is_planned(row) && *cell == Cell::Null {
                *cell = first.clone();
            }
        }
    }
    Ok(())
}

fn distinct<'a>(values: impl IntoIterator<Item = &'a Option<String>>) -> usize {
    values.into_iter().collect::<std::collections::HashSet<_>>().len()
}

fn key_column(index: usize) -> String {
    format!("key {index}")
}

fn metric_column(index: usize) -> String {
    format!("metric {index}")
}

fn rows<'a>(
    side: &Side,
    keys: impl Iterator<Item = &'a Vec<Option<String>>>,
    metrics: &[String],
    which: &str,
) -> Result<DataFrame, CompareError> {
    let height = side.runs.height();
    let mut columns: Vec<Column> =
        keys.enumerate().map(|(i, values)| Column::new(key_column(i).into(), values)).collect();
    columns.push(Column::new("side".into(), vec![which; height]));
    columns.push(side.runs.column("seed")?.cast(&DataType::UInt64)?);
    columns.push(side.runs.column("status")?.cast(&DataType::String)?);
    for (i, metric) in metrics.iter().enumerate() {
        let mut column = side.runs.column(metric)?.cast(&DataType::Float64)?;
        column.rename(metric_column(i).into());
        columns.push(column);
    }
    Ok(DataFrame::new(height, columns)?)
}

/// The runs of one group, without their name.
fn read_runs(groups: &DataFrame, row: usize, metrics: usize) -> Result<Pair, CompareError> {
    let list = |name: &str| -> PolarsResult<DataFrame> {
        let series = groups.column(name)?.list()?.get_as_series(row).unwrap_or_default();
        DataFrame::new(series.len(), vec![series.with_name("list".into()).into_column()])
    };
    let side = texts(&list("side")?, "list")?;
    let seeds = list("seed")?;
    let seeds = seeds.column("list")?.u64()?;
    let status = texts(&list("status")?, "list")?;
    let mut figures = Vec::with_capacity(metrics);
    for metric in 0..metrics {
        let column = list(&metric_column(metric))?;
        // A figure that is no number is kept: it tells a diverged run from one without the figure.
        figures.push(column.column("list")?.f64()?.iter().collect::<Vec<_>>());
    }
    let mut pair =
        Pair { configuration: BTreeMap::new(), label: String::new(), base: Vec::new(), head: Vec::new() };
    for (index, side) in side.iter().enumerate() {
        let run = PairedRun {
            seed: seeds.get(index),
            status: status[index].clone().unwrap_or_default(),
            metrics: figures.iter().map(|values| values[index]).collect(),
        };
        let runs = if side.as_deref() == Some("base") { &mut pair.base } else { &mut pair.head };
        runs.push(run);
    }
    Ok(pair)
}

/// Which keys keep the sides apart: those without a common value.
fn advice(keys: &[Key]) -> String {
    let show = |values: &[Option<String>]| {
        let mut all: Vec<&str> = values.iter().map(|v| v.as_deref().unwrap_or("not set")).collect();
        all.sort_unstable();
        all.dedup();
        let more = if all.len() > 3 { ", …" } else { "" };
        format!("{}{more}", all[..all.len().min(3)].join(", "))
    };
    let apart: Vec<String> = keys
        .iter()
        .filter(|key| !key.base.iter().any(|value| key.head.contains(value)))
        .map(|key| format!("`{}` ({} in base, {} in head)", key.name, show(&key.base), show(&key.head)))
        .collect();
    if apart.is_empty() {
        "their values never come together in the same way; `--ignore KEY` pairs without a key".to_owned()
    } else {
        format!("they differ in {}; `--ignore KEY` pairs without a key", apart.join(", "))
    }
}
