//! One binary for all integration tests: each further one would link Burn and Polars again.

mod report;
mod support;
