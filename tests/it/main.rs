//! All integration tests in one binary: each further one would link Burn and Polars again.

mod compare;
mod golden;
mod report;
mod runs;
mod support;
mod sweeps;
mod wrong_data;
