//! `kdx devices`: what runs can be placed on.

use std::process::ExitCode;

use miette::IntoDiagnostic;
use serde_json::{Value, json};

use super::text;
use crate::schedule::{self, Found, Memory};

/// Arguments of `kdx devices`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON: name, description, total_memory and free_memory in bytes (null where nobody says), and
    /// whether `--devices auto` takes it.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let found = schedule::inventory();
    let choice = schedule::automatic();
    let is_chosen = |device: &Found| choice.devices.contains(&device.name);
    if args.json {
        let devices: Vec<Value> = found.iter().map(|device| object(device, is_chosen(device))).collect();
        text::print(&format!("{}\n", serde_json::to_string_pretty(&devices).into_diagnostic()?));
        return Ok(ExitCode::SUCCESS);
    }
    let row = |device: &Found| {
        let chosen = if is_chosen(device) { "yes" } else { "–" };
        [device.name.to_string(), device.description.clone(), memory(device.memory), chosen.to_owned()]
    };
    text::print(&text::table(["device", "what", "memory", "auto"], found.iter().map(row).collect()));
    if let Some(notice) = choice.notice {
        text::say!("{notice}");
    }
    Ok(ExitCode::SUCCESS)
}

fn memory(memory: Option<Memory>) -> String {
    match memory {
        Some(Memory { total, free: Some(free) }) => {
            format!("{}, {} free", text::bytes(total), text::bytes(free))
        }
        Some(Memory { total, free: None }) => format!("{}, free not known", text::bytes(total)),
        None => "not known".to_owned(),
    }
}

/// A device for programs.
fn object(device: &Found, is_chosen: bool) -> Value {
    json!({
        "name": device.name.to_string(),
        "description": device.description,
        "total_memory": device.memory.map(|memory| memory.total),
        "free_memory": device.memory.and_then(|memory| memory.free),
        "auto": is_chosen,
    })
}
