//! `kdx toydata`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::text;
use crate::data::{ToyOptions, toy_data};

/// Arguments of `kdx toydata`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory for train.jsonl, validation.jsonl and tokenizer/.
    #[arg(long, value_name = "DIR", default_value = "toydata")]
    output: PathBuf,
    /// Conversations to train on.
    #[arg(long, value_name = "N", default_value_t = ToyOptions::default().train)]
    train: usize,
    /// Held-out conversations.
    #[arg(long, value_name = "N", default_value_t = ToyOptions::default().validation)]
    validation: usize,
    /// Tokens of the tokenizer.
    #[arg(long, value_name = "N", default_value_t = ToyOptions::default().vocab_size)]
    vocab_size: usize,
    /// Another seed makes other questions.
    #[arg(long, value_name = "N", default_value_t = ToyOptions::default().seed)]
    seed: u64,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> miette::Result<ExitCode> {
    let options = ToyOptions {
        train: args.train,
        validation: args.validation,
        vocab_size: args.vocab_size,
        seed: args.seed,
    };
    let data = toy_data(&options)?;
    data.write(&args.output, args.force)?;
    text::say!("| kind | train | validation |\n|---|---:|---:|");
    for kind in &data.kinds {
        text::say!("| {} | {} | {} |", kind.name, kind.train, kind.validation);
    }
    text::say!(
        "\n{} and {} conversations, and a tokenizer of {} tokens, are in {}",
        args.train,
        args.validation,
        data.tokenizer.vocab_size,
        args.output.display()
    );
    Ok(ExitCode::SUCCESS)
}
