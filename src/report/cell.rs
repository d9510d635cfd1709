//! One value of a table column, whatever its type.

use std::cmp::Ordering;

use polars::prelude::*;
use serde::Serialize;

use super::format;

/// A value of a configuration column.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Not set.
    Null,
    /// A switch.
    Bool(bool),
    /// A number; integers up to 2⁵³ are exact.
    Number(f64),
    /// Anything else.
    Text(String),
}

impl Cell {
    /// The value in row `index` of `column`; null beyond its end.
    pub fn of(column: &Column, index: usize) -> Self {
        match column.get(index) {
            Ok(AnyValue::Null) | Err(_) => Self::Null,
            Ok(AnyValue::Boolean(v)) => Self::Bool(v),
            Ok(AnyValue::String(v)) => Self::Text(v.to_owned()),
            Ok(AnyValue::StringOwned(v)) => Self::Text(v.to_string()),
            Ok(other) => match other.extract::<f64>() {
                Some(v) => Self::Number(v),
                None => Self::Text(other.to_string()),
            },
        }
    }

    /// The number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(v) => Some(*v),
            _ => None,
        }
    }

    /// Nothing, then switches, numbers by size, and text by its letters.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::Text(_) => 3,
        }
    }
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("–"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::Number(v) => f.write_str(&format::value(*v)),
            Self::Text(v) => f.write_str(v),
        }
    }
}

/// The values of a column of numbers; none where it is null or not a number.
pub fn numbers(frame: &DataFrame, name: &str) -> PolarsResult<Vec<Option<f64>>> {
    let column = frame.column(name)?.cast(&DataType::Float64)?;
    Ok(column.f64()?.iter().map(|v| v.filter(|v| v.is_finite())).collect())
}

/// The values of a column of text.
pub fn texts(frame: &DataFrame, name: &str) -> PolarsResult<Vec<Option<String>>> {
    let column = frame.column(name)?.cast(&DataType::String)?;
    Ok(column.str()?.iter().map(|v| v.map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_column_is_read() {
        let cells = [
            Cell::of(&Column::new("a".into(), [Some(0.5), None]), 0),
            Cell::of(&Column::new("a".into(), [Some(0.5), None]), 1),
            Cell::of(&Column::new("a".into(), [7i64]), 0),
            Cell::of(&Column::new("a".into(), [true]), 0),
            Cell::of(&Column::new("a".into(), ["x"]), 0),
        ];
        let expected =
            [Cell::Number(0.5), Cell::Null, Cell::Number(7.0), Cell::Bool(true), Cell::Text("x".to_owned())];
        assert_eq!(cells, expected);
    }

    #[test]
    fn numbers_sort_by_size() {
        let mut cells = [Cell::Number(10.0), Cell::Text("a".to_owned()), Cell::Null, Cell::Number(2.0)];
        cells.sort_by(Cell::order);
        assert_eq!(cells.map(|c| c.to_string()), ["–", "2", "10", "a"]);
    }
}
