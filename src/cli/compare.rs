//! `kdx compare`.

use std::io::IsTerminal;
use std::process::ExitCode;

use miette::IntoDiagnostic;

use super::{Global, text};
use crate::compare::{self, Overrides, Source};
use crate::spec::Better;

/// Arguments of `kdx compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 no worse, 1 worse or missing, 2 could not compare.")]
pub struct Args {
    /// What to measure by: an experiment, a report folder, or a runs table (Parquet or CSV).
    #[arg(value_name = "BASE")]
    base: String,
    /// What to judge: the same kinds. Its `[compare]` holds the tolerances.
    #[arg(value_name = "HEAD")]
    head: String,
    /// Compare this metric, by its name or its column of the runs table; may be repeated [default: those of
    /// `[compare]`].
    #[arg(long = "metric", value_name = "NAME")]
    metrics: Vec<String>,
    /// Allow this worsening, as a fraction of base's value.
    #[arg(long, value_name = "FRACTION")]
    relative: Option<f64>,
    /// Allow this worsening, in the metric's own unit; the larger allowance counts.
    #[arg(long, value_name = "AMOUNT")]
    absolute: Option<f64>,
    /// Which direction is better [default: that of `[compare]`, else what is known of the metric].
    #[arg(long, value_enum, value_name = "DIRECTION")]
    better: Option<Direction>,
    /// Confidence that a difference must reach to count, where several seeds allow a test.
    #[arg(long, value_name = "FRACTION")]
    confidence: Option<f64>,
    /// Pair runs that differ in this configuration key; may be repeated.
    #[arg(long = "ignore", value_name = "KEY")]
    ignored: Vec<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print Markdown, as for `$GITHUB_STEP_SUMMARY`.
    #[arg(long)]
    markdown: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Direction {
    Lower,
    Higher,
}

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let store = global.store();
    let base = Source::find(&args.base, &store)?;
    let head = Source::find(&args.head, &store)?;
    let overrides = Overrides {
        metrics: args.metrics.clone(),
        relative: args.relative,
        absolute: args.absolute,
        better: args.better.map(|direction| match direction {
            Direction::Lower => Better::Lower,
            Direction::Higher => Better::Higher,
        }),
        confidence: args.confidence,
        ignored: args.ignored.clone(),
    };
    let comparison = compare::compare(&base, &head, &overrides)?;
    if args.json {
        text::print(&format!("{}\n", compare::json::render(&comparison).into_diagnostic()?));
    } else if args.markdown {
        text::print(&compare::markdown::render(&comparison));
    } else {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        text::print(&compare::text::render(&comparison, colour));
    }
    Ok(if comparison.is_failure() { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
