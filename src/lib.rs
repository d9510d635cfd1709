//! kdx: declarative experiments in knowledge distillation of language models.
//!
//! Data flows one way: TOML → `Experiment` → runs → plan → worker → run directory → tables → page
//! or verdict. Nothing downstream reads the TOML again.

#![warn(missing_docs)]

pub mod interrupt;
pub mod thread_log;

pub mod kernels;
pub mod spec;

pub mod model;

pub mod data;
pub mod distill;

pub mod cache;
pub mod experiment;
pub mod store;

pub mod schedule;

pub mod bench;

pub mod compare;
pub mod report;

pub mod cli;
