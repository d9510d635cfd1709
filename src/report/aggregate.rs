//! What the runs of a configuration come to together: lazy queries over the runs table.

use std::collections::BTreeMap;

use polars::prelude::*;
use serde::Serialize;

use super::cell::{Cell, numbers};
use super::columns::{BASELINE, HARD_LOSS, KIND, find_held_out_columns};
use super::grid::{Axis, Grid};
use super::relevance::in_place;
use super::statistics::{Sample, Seeded};

/// A configuration with its seeds taken together.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Its values, in the order of [`Grid::axes`].
    pub cells: Vec<Cell>,
    /// What people call it.
    pub label: String,
    /// Whether it learns from labels alone.
    pub is_baseline: bool,
    /// Runs that the plan asks for.
    pub planned: usize,
    /// Runs that are finished.
    pub finished: usize,
    /// Trained parameters of the student.
    pub parameters: Option<f64>,
    /// What the finished seeds measured, by the column of the runs table.
    pub figures: BTreeMap<String, Figure>,
}

/// A held-out metric of one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Over the seeds.
    pub sample: Sample,
    /// Seed by seed.
    pub by_seed: Vec<Seeded>,
}

impl Configuration {
    /// A held-out metric over the finished seeds, by its column; none where it was not measured.
    pub fn sample(&self, column: &str) -> Option<Sample> {
        self.figures.get(column).map(|figure| figure.sample)
    }

    /// The same by seed.
    pub fn by_seed(&self, column: &str) -> &[Seeded] {
        self.figures.get(column).map_or(&[], |figure| &figure.by_seed)
    }

    /// Held-out hard loss over the finished seeds: what configurations are ranked by.
    pub fn hard_loss(&self) -> Option<Sample> {
        self.sample(HARD_LOSS)
    }

    /// The same by seed.
    pub fn hard_losses(&self) -> &[Seeded] {
        self.by_seed(HARD_LOSS)
    }
}

/// A mean over seeds at one value of an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Marginal {
    /// The value on the axis.
    pub x: Cell,
    /// The value on the axis that makes the series; null without one.
    pub series: Cell,
    /// Over seeds. Where other axes vary as well, the value of a seed is the mean over them.
    pub sample: Sample,
}

/// One finished run on an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Dot {
    /// The value on the axis.
    pub x: Cell,
    /// The value on the axis that makes the series; null without one.
    pub series: Cell,
    /// Its held-out hard loss.
    pub y: f64,
}

/// Name of an aggregated column.
fn part(metric: &str, what: &str) -> String {
    format!("{metric}:{what}")
}

fn finished(runs: &DataFrame) -> LazyFrame {
    runs.clone().lazy().filter(col("status").eq(lit("finished")))
}

/// All configurations, the best held-out hard loss first, those without one last.
pub fn configurations(runs: &DataFrame, grid: &Grid) -> PolarsResult<Vec<Configuration>> {
    let metrics = find_held_out_columns(runs);
    let mut by: Vec<Expr> = grid.keys().map(col).collect();
    by.push(col("baseline"));
    let mut aggregates = vec![
        len().alias("planned"),
        col("status").eq(lit("finished")).sum().alias("finished"),
        col("seed").alias("seeds"),
        col("parameters").max(),
    ];
    for metric in metrics.iter().map(String::as_str) {
        aggregates.push(col(metric).alias(part(metric, "values")));
        aggregates.push(col(metric).mean().alias(part(metric, "mean")));
        aggregates.push(col(metric).std(1).alias(part(metric, "std")));
        aggregates.push(col(metric).count().alias(part(metric, "n")));
    }
    // The plan's order breaks ties.
    let order = SortMultipleOptions::default().with_nulls_last(true).with_maintain_order(true);
    let table = runs
        .clone()
        .lazy()
        .group_by_stable(by)
        .agg(aggregates)
        .sort([part(HARD_LOSS, "mean")], order)
        .collect()?;

    let cells: Vec<&Column> = grid.keys().map(|key| table.column(key)).collect::<PolarsResult<_>>()?;
    let planned = numbers(&table, "planned")?;
    let done = numbers(&table, "finished")?;
    let baseline = table.column("baseline")?.bool()?.clone();
    let parameters = numbers(&table, "parameters")?;
    let mut figures = vec![BTreeMap::new(); table.height()];
    for metric in metrics {
        let measured = samples(&table, &metric)?.into_iter().zip(seeded(&table, &metric)?);
        for (figures, (sample, by_seed)) in figures.iter_mut().zip(measured) {
            let Some(sample) = sample else { continue };
            figures.insert(metric.clone(), Figure { sample, by_seed });
        }
    }
    let configuration = |(row, figures): (usize, BTreeMap<String, Figure>)| {
        let cells: Vec<Cell> = cells.iter().map(|column| Cell::of(column, row)).collect();
        let is_baseline = baseline.get(row).unwrap_or(false);
        Configuration {
            label: grid.label(&cells),
            cells,
            is_baseline,
            planned: planned[row].unwrap_or(0.0) as usize,
            finished: done[row].unwrap_or(0.0) as usize,
            parameters: parameters[row],
            figures,
        }
    };
    Ok(figures.into_iter().enumerate().map(configuration).collect())
}

fn samples(table: &DataFrame, metric: &str) -> PolarsResult<Vec<Option<Sample>>> {
    let mean = numbers(table, &part(metric, "mean"))?;
    let std = numbers(table, &part(metric, "std"))?;
    let n = numbers(table, &part(metric, "n"))?;
    let sample = |row: usize| {
        let n = n[row].unwrap_or(0.0) as usize;
        mean[row].map(|mean| Sample { n, mean, std: std[row] })
    };
    Ok((0..table.height()).map(sample).collect())
}

fn seeded(table: &DataFrame, metric: &str) -> PolarsResult<Vec<Vec<Seeded>>> {
    let seeds = table.column("seeds")?.list()?.clone();
    let values = table.column(&part(metric, "values"))?.list()?.clone();
    let mut rows = Vec::with_capacity(table.height());
    for row in 0..table.height() {
        let (Some(seeds), Some(values)) = (seeds.get_as_series(row), values.get_as_series(row)) else {
            rows.push(Vec::new());
            continue;
        };
        let (seeds, values) = (seeds.cast(&DataType::UInt64)?, values.cast(&DataType::Float64)?);
        let pairs = seeds.u64()?.iter().zip(values.f64()?.iter());
        rows.push(
            pairs.filter_map(|(seed, value)| Some((seed?, value.filter(|v| v.is_finite())?))).collect(),
        );
    }
    Ok(rows)
}

/// Held-out hard loss of distilled students along an axis, a series for each value of another: first
/// the mean over everything else for each seed, then the mean and spread over seeds. (Of all
/// students where none is distilled, or where [`Axis::of_training`] makes the series.)
pub fn marginals(runs: &DataFrame, axis: &Axis, series: Option<&Axis>) -> PolarsResult<Vec<Marginal>> {
    let mut by = vec![col(axis.key.as_str())];
    by.extend(series.map(|series| col(series.key.as_str())));
    let mut by_seed = by.clone();
    by_seed.push(col("seed"));
    let table = on_axis(runs, axis, series)?
        .group_by_stable(by_seed)
        .agg([col(HARD_LOSS).mean()])
        .group_by_stable(by)
        .agg([
            col(HARD_LOSS).mean().alias(part(HARD_LOSS, "mean")),
            col(HARD_LOSS).std(1).alias(part(HARD_LOSS, "std")),
            col(HARD_LOSS).count().alias(part(HARD_LOSS, "n")),
        ])
        .collect()?;
    let samples = samples(&table, HARD_LOSS)?;
    let (x, s) = cells_on(&table, axis, series)?;
    let rows = x.into_iter().zip(s).zip(samples);
    Ok(rows.filter_map(|((x, series), sample)| Some(Marginal { x, series, sample: sample? })).collect())
}

/// Every finished run along an axis.
pub fn dots(runs: &DataFrame, axis: &Axis, series: Option<&Axis>) -> PolarsResult<Vec<Dot>> {
    let mut columns = vec![col(axis.key.as_str()), col(HARD_LOSS)];
    columns.extend(series.map(|series| col(series.key.as_str())));
    let table = on_axis(runs, axis, series)?.select(columns).collect()?;
    let y = numbers(&table, HARD_LOSS)?;
    let (x, s) = cells_on(&table, axis, series)?;
    let rows = x.into_iter().zip(s).zip(y);
    Ok(rows.filter_map(|((x, series), y)| Some(Dot { x, series, y: y? })).collect())
}

/// Mean held-out hard loss for each pair of values of two axes, over everything else:
/// `(index on a, index on b, mean)`.
pub fn heat(runs: &DataFrame, a: &Axis, b: &Axis) -> PolarsResult<Vec<(usize, usize, f64)>> {
    let table = on_axis(runs, a, Some(b))?
        .group_by_stable([col(a.key.as_str()), col(b.key.as_str())])
        .agg([col(HARD_LOSS).mean()])
        .collect()?;
    let mean = numbers(&table, HARD_LOSS)?;
    let (x, y) = cells_on(&table, a, Some(b))?;
    let rows = x.iter().zip(&y).zip(mean);
    Ok(rows.filter_map(|((x, y), mean)| Some((a.index(x)?, b.index(y)?, mean?))).collect())
}

/// Finished runs that have a place on both axes.
fn on_axis(runs: &DataFrame, axis: &Axis, series: Option<&Axis>) -> PolarsResult<LazyFrame> {
    let mut rows =
        finished(runs).filter(col(HARD_LOSS).is_not_null()).filter(col(axis.key.as_str()).is_not_null());
    if let Some(series) = series {
        rows = rows.filter(col(series.key.as_str()).is_not_null());
    }
    // Baselines have no place on the axes of the loss, and on others they would count as one more
    // distilled configuration.
    for axis in [Some(axis), series].into_iter().flatten() {
        rows = rows.filter(in_place(runs, &axis.key)?);
    }
    if is_distilled(runs)? && series.is_none_or(|series| series.key != BASELINE) {
        rows = rows.filter(in_place(runs, KIND)?);
    }
    // The sums of a group run in one order on every machine only if the rows are sorted.
    Ok(rows.sort([axis.key.as_str()], SortMultipleOptions::default().with_maintain_order(true)))
}

/// Whether any finished run has a soft loss.
fn is_distilled(runs: &DataFrame) -> PolarsResult<bool> {
    let distilled = finished(runs).filter(in_place(runs, KIND)?).select([len()]).collect()?;
    Ok(numbers(&distilled, "len")?.first().copied().flatten().is_some_and(|n| n > 0.0))
}

fn cells_on(table: &DataFrame, axis: &Axis, series: Option<&Axis>) -> PolarsResult<(Vec<Cell>, Vec<Cell>)> {
    let read = |key: &str| -> PolarsResult<Vec<Cell>> {
        let column = table.column(key)?;
        Ok((0..table.height()).map(|row| Cell::of(column, row)).collect())
    };
    let s = match series {
        Some(series) => read(&series.key)?,
        None => vec![Cell::Null; table.height()],
    };
    Ok((read(&axis.key)?, s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::columns::{AGREEMENT, VALIDATION_TOKENS};

    fn runs() -> DataFrame {
        df!(
            "status" => ["finished", "finished", "finished", "diverged", "finished", "finished"],
            "seed" => [0u64, 1, 0, 1, 0, 1],
            "train.seed" => [0i64, 1, 0, 1, 0, 1],
            "loss.temperature" => [1.0, 1.0, 2.0, 2.0, 1.5, 1.5],
            "loss.kind" => ["js", "js", "js", "js", "none", "none"],
            "baseline" => [false, false, false, false, true, true],
            HARD_LOSS => [Some(1.0), Some(2.0), Some(1.25), None, Some(3.0), Some(3.5)],
            AGREEMENT => [Some(0.5), Some(0.5), Some(0.5), None, None, None],
            "validation/reward" => [Some(3.0), Some(7.0), None, None, None, None],
            VALIDATION_TOKENS => [64u64, 64, 64, 64, 64, 64],
            "parameters" => [10u64, 10, 10, 10, 10, 10],
        )
        .unwrap()
    }

    #[test]
    fn seeds_of_a_configuration_are_taken_together() {
        let runs = runs();
        let grid = Grid::of(&runs, &["loss.temperature".to_owned()]).unwrap();
        let found = configurations(&runs, &grid).unwrap();
        let labels: Vec<&str> = found.iter().map(|c| c.label.as_str()).collect();
        assert_eq!(labels, ["temperature 2", "temperature 1", "labels alone"]);
        assert_eq!((found[0].planned, found[0].finished), (2, 1));
        assert_eq!(found[0].hard_loss(), Some(Sample { n: 1, mean: 1.25, std: None }));
        let two = found[1].hard_loss().unwrap();
        assert_eq!((two.n, two.mean), (2, 1.5));
        assert!((two.std.unwrap() - 0.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(found[1].hard_losses(), [(0, 1.0), (1, 2.0)]);
        assert_eq!(found[1].by_seed("validation/reward"), [(0, 3.0), (1, 7.0)]);
        assert_eq!(found[0].sample("validation/reward"), None, "a metric that only one of them has");
        assert!(found[2].is_baseline && found[2].sample(AGREEMENT).is_none());
        assert!(found[0].sample(VALIDATION_TOKENS).is_none(), "it is no metric");
    }

    #[test]
    fn a_marginal_is_the_mean_over_seeds_of_means_over_the_rest() {
        let runs = runs();
        let grid = Grid::of(&runs, &["loss.temperature".to_owned()]).unwrap();
        let along = marginals(&runs, &grid.axes[0], None).unwrap();
        let points: Vec<_> =
            along.iter().map(|m| (m.x.number().unwrap(), m.sample.n, m.sample.mean)).collect();
        assert_eq!(points, [(1.0, 2, 1.5), (2.0, 1, 1.25)], "the baseline has no place on the axis");
        assert_eq!(dots(&runs, &grid.axes[0], None).unwrap().len(), 3);
    }
}
