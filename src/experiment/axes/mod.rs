//! What varies between the runs of an experiment, as it is declared: grids, and what is sampled.

pub(super) mod axis;
pub(super) mod grid;
mod names;
pub(super) mod sample;
mod series;
