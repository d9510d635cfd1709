//! All integration tests in one binary: each further one would link Burn and Polars again.

mod bench;
mod chains;
mod checkpoints;
mod compare;
mod damage;
mod experiment_docs;
mod families;
mod golden;
mod golden_losses;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod gpu;
mod identities;
mod kernels;
mod leases;
mod old_stores;
mod permissions;
mod report;
mod resume;
mod runs;
mod search;
mod shared_process;
mod signals;
mod support;
mod sweeps;
mod tokenizer;
mod workers;
mod wrong_checkpoints;
mod wrong_data;
mod wrong_experiments;
