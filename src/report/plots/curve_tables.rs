//! The queries behind curves of a metric over the steps.

use polars::prelude::*;

use super::figure::Data;
use crate::report::cell::{Cell, numbers, texts};
use crate::report::columns::{KIND, TRAIN, VALIDATION};
use crate::report::grid::Axis;
use crate::report::relevance::in_place;

/// The three queries behind the figure. Columns: `x, y, facet, color, soft`, and of single runs
/// `run_id, status`.
pub(super) struct Tables {
    pub(super) single: DataFrame,
    pub(super) mean: DataFrame,
    pub(super) validation: DataFrame,
    pub(super) runs: usize,
}

impl Tables {
    /// Runs the queries, with panels and colours by two axes; training is averaged over windows of steps.
    pub(super) fn query(
        data: &Data,
        metric: &str,
        facet: Option<&Axis>,
        color: Option<&Axis>,
        window: u64,
    ) -> PolarsResult<Self> {
        let key = |axis: Option<&Axis>, name: &str| match axis {
            Some(axis) => col(axis.key.as_str()).alias(name),
            None => lit(NULL).alias(name),
        };
        let soft = in_place(data.runs, KIND)?.alias("soft");
        let info = data.runs.clone().lazy().select([
            col("run_id"),
            col("status"),
            key(facet, "facet"),
            key(color, "color"),
            soft,
        ]);
        let rows = |split: &str| {
            let measured = col("split").eq(lit(split)).and(col(metric).is_finite());
            data.metrics.clone().lazy().filter(measured)
        };
        // Casting cuts the fraction off.
        let bucket =
            ((col("step").cast(DataType::Float64) - lit(1.0)) / lit(window as f64)).cast(DataType::Int64);
        let single = rows(TRAIN)
            .with_column(bucket.alias("bucket"))
            .group_by_stable([col("run_id"), col("bucket")])
            .agg([col("step").mean().alias("x"), col(metric).mean().alias("y")])
            .left_join(info.clone(), col("run_id"), col("run_id"))
            .sort(["run_id", "bucket"], order());

        // Means speak of finished runs; while there is none, of all that have begun.
        let any_finished = texts(data.runs, "status")?.iter().flatten().any(|s| s == "finished");
        let counted = if any_finished { col("status").eq(lit("finished")) } else { lit(true) };
        let series = [col("facet"), col("color"), col("soft")];
        let mean = single
            .clone()
            .filter(counted.clone())
            // The sums of a group run in one order on every machine only if the rows are sorted.
            .sort(["bucket"], order())
            .group_by_stable([&[col("bucket")], &series[..]].concat())
            .agg([col("x").mean(), col("y").mean(), len().alias("n")])
            // Where a run has ended before the others, the mean would jump.
            .with_column(col("n").max().over(series.clone())?.alias("most"))
            .filter(col("n").eq(col("most")))
            .sort(["bucket"], order());
        let validation = rows(VALIDATION)
            .left_join(info, col("run_id"), col("run_id"))
            .filter(counted)
            .sort(["step", "run_id"], order())
            .group_by_stable([&[col("step")], &series[..]].concat())
            .agg([col(metric).mean().alias("y")])
            .with_column(col("step").alias("x"))
            .sort(["step"], order());
        let single = single.collect()?;
        let runs = single.column("run_id")?.n_unique()?;
        Ok(Self { single, mean: mean.collect()?, validation: validation.collect()?, runs })
    }

    /// Whether a run learns from labels alone.
    pub(super) fn has_baseline(&self) -> PolarsResult<bool> {
        let mut rows = read(&self.single)?.into_iter().chain(read(&self.validation)?);
        Ok(rows.any(|row| !row.has_soft_loss))
    }
}

fn order() -> SortMultipleOptions {
    SortMultipleOptions::default().with_maintain_order(true)
}

/// A point of a curve, and what it is of.
pub(super) struct Row {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) facet: Cell,
    pub(super) color: Cell,
    pub(super) has_soft_loss: bool,
    pub(super) run_id: Option<String>,
    pub(super) status: Option<String>,
}

/// Reads the points of a query.
pub(super) fn read(table: &DataFrame) -> PolarsResult<Vec<Row>> {
    let (x, y) = (numbers(table, "x")?, numbers(table, "y")?);
    let (facet, color) = (table.column("facet")?, table.column("color")?);
    let soft = table.column("soft")?.bool()?.clone();
    let optional = |name: &str| texts(table, name).unwrap_or_else(|_| vec![None; table.height()]);
    let (run_id, status) = (optional("run_id"), optional("status"));
    let ids = run_id.into_iter().zip(status);
    let rows = x.into_iter().zip(y).zip(ids).enumerate();
    let rows = rows.filter_map(|(index, ((x, y), (run_id, status)))| {
        Some(Row {
            x: x?,
            y: y?,
            facet: Cell::of(facet, index),
            color: Cell::of(color, index),
            has_soft_loss: soft.get(index).unwrap_or(true),
            run_id,
            status,
        })
    });
    Ok(rows.collect())
}
