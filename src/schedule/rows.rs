//! The rows in which those who look on are shown what runs.

use std::collections::BTreeMap;

/// The row of each running job, by the job's index: the lowest that is free.
#[derive(Debug, Default)]
pub struct Rows(BTreeMap<usize, usize>);

impl Rows {
    /// Gives a job a row, unless it has one.
    pub fn take(&mut self, index: usize) -> usize {
        if let Some(row) = self.of(index) {
            return row;
        }
        let row = (0..).find(|row| !self.0.contains_key(row)).unwrap_or_default();
        self.0.insert(row, index);
        row
    }

    /// The row of a job.
    pub fn of(&self, index: usize) -> Option<usize> {
        self.0.iter().find(|(_, job)| **job == index).map(|(row, _)| *row)
    }

    /// Frees the row of a job, and says which it was.
    pub fn free(&mut self, index: usize) -> Option<usize> {
        let row = self.of(index)?;
        self.0.remove(&row);
        Some(row)
    }

    /// Jobs and their rows.
    pub fn all(&self) -> Vec<(usize, usize)> {
        self.0.iter().map(|(row, job)| (*job, *row)).collect()
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_free_again_is_the_next_ones() {
        let mut rows = Rows::default();
        assert_eq!([7, 8, 7].map(|job| rows.take(job)), [0, 1, 0]);
        assert_eq!((rows.free(7), rows.free(7)), (Some(0), None));
        assert_eq!((rows.take(9), rows.of(8)), (0, Some(1)));
        assert_eq!(rows.all(), [(9, 0), (8, 1)]);
    }
}
