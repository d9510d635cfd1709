//! `kdx devices`: what runs can be placed on.

use std::process::ExitCode;

use super::text;
use crate::schedule;

/// Arguments of `kdx devices`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: &Args) -> miette::Result<ExitCode> {
    let rows = schedule::inventory();
    let memory = |is_cpu: bool| match schedule::memory().filter(|_| is_cpu) {
        Some((all, free)) => format!("{}, {} free", text::bytes(all), text::bytes(free)),
        None => "–".to_owned(),
    };
    let rows = rows.into_iter().map(|found| {
        let is_cpu = found.name.is_cpu();
        [found.name.to_string(), found.description, memory(is_cpu)]
    });
    text::print(&text::table(["device", "what", "memory"], rows.collect()));
    Ok(ExitCode::SUCCESS)
}
