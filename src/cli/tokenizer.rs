//! `kdx tokenizer`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use miette::IntoDiagnostic;

use super::text;
use crate::data::{
    ChatTokenizer, Form, IGNORED, Message, Record, Role, TokenizerSource, read_record, train_tokenizer,
};

/// Arguments of `kdx tokenizer`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a byte-level BPE tokenizer on the texts of JSONL records or plain text.
    Train(TrainArgs),
    /// Show the tokens of a record, and which of them count in the loss.
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct TrainArgs {
    /// JSONL files in any form but `tokenized`, or plain text (.txt).
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Directory for tokenizer.json and tokenizer_config.json.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Number of tokens, 259 or more: all bytes and three special tokens are among them.
    #[arg(long, value_name = "N", default_value_t = 6400)]
    vocab_size: usize,
    #[command(flatten)]
    form: FormArgs,
    /// Replace a tokenizer that is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Directory with tokenizer.json, or the file itself.
    tokenizer: PathBuf,
    /// A user's message and the assistant's answer to it, or one running text.
    #[arg(long, num_args = 1..=2, value_names = ["USER", "ASSISTANT"])]
    #[arg(conflicts_with = "file", required_unless_present = "file")]
    text: Option<Vec<String>>,
    /// A JSONL file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The line of the file, from 1.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "file")]
    line: u64,
    /// A Jinja file used in place of the tokenizer's own chat template.
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    #[command(flatten)]
    form: FormArgs,
}

/// The form of the records; left out, each file's first record shows it.
#[derive(Debug, clap::Args)]
struct FormArgs {
    /// The form of the records; left out, the first record shows it.
    #[arg(long, value_enum, conflicts_with_all = ["prompt", "response"])]
    format: Option<FormName>,
    /// The field of the user's text, for question and answer under their own names.
    #[arg(long, value_name = "FIELD", requires = "response")]
    prompt: Option<String>,
    /// The field of the assistant's text.
    #[arg(long, value_name = "FIELD", requires = "prompt")]
    response: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormName {
    Conversations,
    Messages,
    Text,
}

impl FormArgs {
    fn form(&self) -> Option<Form> {
        if let (Some(prompt), Some(response)) = (self.prompt.clone(), self.response.clone()) {
            return Some(Form::PromptResponse { prompt, response });
        }
        self.format.map(|name| match name {
            FormName::Conversations => Form::Conversations,
            FormName::Messages => Form::Messages,
            FormName::Text => Form::Text,
        })
    }
}

/// Runs the command.
pub fn run(args: &Args) -> miette::Result<ExitCode> {
    match &args.command {
        Command::Train(args) => train(args),
        Command::Show(args) => show(args),
    }
}

fn train(args: &TrainArgs) -> miette::Result<ExitCode> {
    let files = train_tokenizer(&args.files, args.form.form().as_ref(), args.vocab_size)?;
    files.write(&args.output, args.force)?;
    text::say!("a tokenizer of {} tokens is in {}", files.vocab_size, args.output.display());
    if files.vocab_size < args.vocab_size {
        text::say!(
            "the texts have no more pairs to merge: it is smaller than the {} asked for",
            args.vocab_size
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> miette::Result<ExitCode> {
    let source = TokenizerSource::read(&args.tokenizer, args.chat_template.as_deref())?;
    let tokenizer = ChatTokenizer::new(&source)?;
    let encoded = tokenizer.encode(read_shown_record(args)?).into_diagnostic()?;
    text::say!("{:>5}  {:>6}  counts  token", "place", "id");
    for (place, (&id, &label)) in encoded.input_ids.iter().zip(&encoded.labels).enumerate() {
        let token = tokenizer.token(id).unwrap_or_default();
        text::say!("{place:>5}  {id:>6}  {:<6}  {token}", if label == IGNORED { "" } else { "yes" });
    }
    let counting = encoded.labels.iter().skip(1).filter(|&&label| label != IGNORED).count();
    text::say!("\n{} tokens, {counting} of them count in the loss", encoded.input_ids.len());
    Ok(ExitCode::SUCCESS)
}

fn read_shown_record(args: &ShowArgs) -> miette::Result<Record> {
    let message = |role, content: &String| Message { role, content: content.clone() };
    match (&args.text, &args.file) {
        (Some(text), _) => Ok(match text.as_slice() {
            [user, assistant] => {
                Record::Chat(vec![message(Role::User, user), message(Role::Assistant, assistant)])
            }
            other => Record::Text(other.concat()),
        }),
        (None, Some(path)) => Ok(read_record(path, args.line, args.form.form().as_ref())?),
        (None, None) => Err(miette::miette!("nothing to show: give --text or --file")),
    }
}
