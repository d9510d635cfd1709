//! `kdx cache ls`.

use std::process::ExitCode;
use std::time::SystemTime;

use miette::IntoDiagnostic;
use serde_json::{Value, json};

use crate::cache::{ByteSize, Entry, Kind, list};
use crate::cli::{Global, text};

/// Arguments of `kdx cache ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let directory = global.store().cache_dir();
    let entries = list(&directory)?;
    if args.json {
        let entries: Vec<Value> = entries.iter().map(object).collect();
        text::print(&format!("{}\n", serde_json::to_string_pretty(&entries).into_diagnostic()?));
    } else if entries.is_empty() {
        text::print(&format!("nothing in {}\n", directory.display()));
    } else {
        text::print(&table(&entries));
    }
    Ok(ExitCode::SUCCESS)
}

/// The entries and their sum, as people read them.
pub(super) fn table(entries: &[Entry]) -> String {
    let now = SystemTime::now();
    let heading = ["kind", "teacher", "data", "rows", "width", "type", "size", "last used", "left out"];
    let rows = entries.iter().map(|entry| row(entry, now)).collect();
    let total = ByteSize(entries.iter().map(|entry| entry.bytes).sum());
    format!("{}{}, {total}\n", text::table(heading, rows), text::plural(entries.len(), "file"))
}

fn row(entry: &Entry, now: SystemTime) -> [String; 9] {
    let none = || "–".to_owned();
    let name = || entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let [teacher, data, rows, width, element, left_out] = match &entry.kind {
        Kind::Signal(header) => [
            header.teacher.clone(),
            header.data.clone(),
            header.rows.to_string(),
            header.width.to_string(),
            header.element.as_str().to_owned(),
            header.loss.map_or_else(none, |loss| {
                format!("{:.2} % of the mass, KL {:.1e}", 100.0 * loss.tail_mass, loss.divergence)
            }),
        ],
        Kind::Tokens { sequences, tokens } => {
            [none(), format!("{sequences} sequences"), tokens.to_string(), none(), "u32".to_owned(), none()]
        }
        Kind::Partial | Kind::Kernels | Kind::Unknown => [none(), name(), none(), none(), none(), none()],
    };
    let age = now.duration_since(entry.last_used).unwrap_or_default();
    let last_used = format!("{} ago", text::duration(age.as_secs_f64()));
    let size = ByteSize(entry.bytes).to_string();
    [entry.kind.as_str().to_owned(), teacher, data, rows, width, element, size, last_used, left_out]
}

/// An entry for programs.
pub(super) fn object(entry: &Entry) -> Value {
    let mut object = json!({
        "kind": entry.kind.as_str(),
        "path": entry.path,
        "bytes": entry.bytes,
        "last_used": humantime::format_rfc3339_seconds(entry.last_used).to_string(),
    });
    match &entry.kind {
        Kind::Signal(header) => object["signal"] = json!(header),
        Kind::Tokens { sequences, tokens } => {
            object["tokens"] = json!({ "sequences": sequences, "tokens": tokens });
        }
        Kind::Partial | Kind::Kernels | Kind::Unknown => {}
    }
    object
}
