//! Parse, call, print the error, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    kdx::cli::main()
}
