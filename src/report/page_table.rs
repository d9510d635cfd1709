//! The tables of a page, whatever its format.

use serde::Serialize;

use super::format;
use super::measure::Measure;
use super::statistics::Sample;
use crate::spec::metric::FRACTION;

/// A table.
#[derive(Debug, Serialize, Default)]
pub struct Table {
    /// What it is, for those who cannot see it.
    pub caption: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// A column of a table.
#[derive(Debug, Serialize)]
pub struct Column {
    /// What stands above it.
    pub title: String,
    /// Whether its cells are numbers.
    pub is_number: bool,
    /// What it is; may be empty.
    pub hint: String,
}

/// A row of a table.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What a style sheet knows it by.
    pub class: &'static str,
    /// Its cells, in the order of the columns.
    pub cells: Vec<Entry>,
}

/// A cell of a table.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// What it shows.
    pub text: String,
    /// What it is sorted by, where that is not the text.
    pub sort: Option<f64>,
}

impl Entry {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), sort: None }
    }

    /// A number as `write` puts it; a dash where there is none.
    pub fn number(value: Option<f64>, write: impl Fn(f64) -> String) -> Self {
        match value.filter(|v| v.is_finite()) {
            Some(v) => Self { text: write(v), sort: Some(v) },
            None => Self::text("–"),
        }
    }

    /// A loss with its margin, both to `digits` decimals.
    pub fn loss(mean: Option<f64>, margin: Option<f64>, digits: usize) -> Self {
        Self::number(mean, |v| match margin {
            Some(margin) => format!("{} ± {}", format::decimals(v, digits), format::decimals(margin, digits)),
            None => format::decimals(v, digits),
        })
    }

    /// A metric over seeds; fractions with their margin, which is as short as they are.
    pub fn sample(measure: &Measure, sample: Option<Sample>, confidence: f64) -> Self {
        let margin = sample.and_then(|s| s.margin(confidence)).filter(|_| measure.info.unit == FRACTION);
        Self::number(sample.map(|s| s.mean), |v| match margin {
            Some(margin) => format!("{} ± {}", format::decimals(v * 100.0, 1), format::percent(margin)),
            None => measure.write(v),
        })
    }
}

impl Table {
    /// Adds a column.
    pub fn column(&mut self, title: impl Into<String>, is_number: bool, hint: impl Into<String>) {
        self.columns.push(Column { title: title.into(), is_number, hint: hint.into() });
    }
}
