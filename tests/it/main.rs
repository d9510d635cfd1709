//! One binary for all integration tests: each further one would link Burn and Polars again.

mod compare;
mod report;
mod support;
