//! What a plot is drawn from, and what it has to know.

use plotters::prelude::*;
use polars::prelude::DataFrame;

use super::error::DrawError;
use super::panel::Area;
use crate::report::findings::Evidence;

/// What all plots are drawn from.
pub struct Data<'a> {
    /// The runs table.
    pub runs: &'a DataFrame,
    /// The metrics table.
    pub metrics: &'a DataFrame,
    /// What the findings are computed from.
    pub evidence: &'a Evidence<'a>,
}

/// Something that can be drawn on any backend.
pub trait Figure {
    /// Width and height in CSS pixels.
    fn size(&self) -> (i32, i32);
    /// What it shows, in a line.
    fn title(&self) -> String;
    /// How to read it.
    fn caption(&self) -> String;
    /// Whether its colours are those of series.
    fn has_series(&self) -> bool {
        true
    }
    /// Draws it.
    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), DrawError>;
}
