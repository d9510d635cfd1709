//! All integration tests in one binary: each further one would link Burn and Polars again.

mod experiment_docs;
mod golden;
mod compare;
mod report;
mod runs;
mod support;
mod sweeps;
mod wrong_data;
mod wrong_experiments;
