//! All integration tests in one binary: linking Burn and Polars takes longer than the tests.

mod golden;
mod runs;
mod support;
