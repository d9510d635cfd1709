//! `kdx logs`: what the worker of a run printed.

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use super::{Global, text};
use crate::store::{RunDir, RunState, StoreError};

/// Arguments of `kdx logs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run: its id, or the first digits of it.
    run: String,
    /// Go on printing while the run is running.
    #[arg(long, short)]
    follow: bool,
}

/// Time between two looks at a log that is followed.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs the command.
pub fn run(args: &Args, global: &Global) -> miette::Result<ExitCode> {
    let dir = global.store().find_run(&args.run)?;
    let mut log = None;
    loop {
        // Asked before the log is read, so that the last lines of a run that ends are not missed.
        let goes_on = args.follow && dir.state()? == RunState::Running;
        print_new(&dir, &mut log)?;
        if !goes_on {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Prints what the log has beyond what was read before; a run that never began has none.
fn print_new(dir: &RunDir, log: &mut Option<File>) -> Result<(), StoreError> {
    let path = dir.log_path();
    if log.is_none() {
        match File::open(&path) {
            Ok(file) => *log = Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        }
    }
    let mut new = Vec::new();
    if let Some(log) = log {
        log.read_to_end(&mut new).map_err(StoreError::io("read", &path))?;
    }
    text::print(&String::from_utf8_lossy(&new));
    Ok(())
}
