//! Slurm's commands. None of them can keep the sweep waiting for ever, and a controller that does not
//! answer, because it is restarted or the network is down, is something to wait out.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::error::SlurmError;
use super::parse::{self, QUEUE_FORMAT, QueueLine};

/// How long a command may take. Slurm's own patience with a silent controller is shorter, by default.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Tasks of an array where Slurm does not say how many it takes: its own default.
const DEFAULT_ARRAY: u32 = 1000;

/// Why a command of Slurm came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// It is not installed.
    Missing(String),
    /// Nobody knows whether it had an effect: no answer, or a broken connection.
    NoAnswer(String),
    /// Not now: a limit on the jobs that one may have submitted.
    Limit(String),
    /// Slurm said no.
    Refused(String),
}

impl From<CommandError> for SlurmError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Missing(program) => Self::Missing { program },
            CommandError::NoAnswer(reason) | CommandError::Limit(reason) | CommandError::Refused(reason) => {
                Self::Refused { reason }
            }
        }
    }
}

/// Runs Slurm's commands, as they are found on the path.
#[derive(Debug, Default)]
pub struct Client {
    /// Whether accounting was asked and did not answer.
    has_no_accounting: AtomicBool,
}

impl Client {
    /// The commands on the path.
    ///
    /// # Errors
    /// Where there are none.
    pub fn new() -> Result<Self, SlurmError> {
        match run("sbatch", &["--version"]) {
            Err(error @ CommandError::Missing(_)) => Err(error.into()),
            _ => Ok(Self::default()),
        }
    }

    /// Submits a script as a job array, and gives its number.
    pub fn submit(&self, script: &Path, name: &str, array: &str) -> Result<u64, CommandError> {
        // Once more what stands in the script: a template of the user's may have left it out.
        let (name, array) = (format!("--job-name={name}"), format!("--array={array}"));
        let printed = run("sbatch", &["--parsable", &name, &array, &script.to_string_lossy()])?;
        parse::submitted(&printed).ok_or(CommandError::NoAnswer(printed))
    }

    /// What the queue says about the jobs of these names, those that ended a short while ago included.
    pub fn queue(names: &[String]) -> Result<Vec<QueueLine>, CommandError> {
        let (names, format) = (format!("--name={}", names.join(",")), format!("--format={QUEUE_FORMAT}"));
        let printed = run("squeue", &["--noheader", "--all", "--states=all", &names, &format])?;
        Ok(parse::queue(&printed))
    }

    /// Cancels jobs or tasks of job arrays.
    pub fn cancel(&self, jobs: &[String]) -> Result<(), CommandError> {
        let words: Vec<&str> = jobs.iter().map(String::as_str).collect();
        run("scancel", &words).map(drop)
    }

    /// Cancels the jobs of a name.
    pub fn cancel_by_name(&self, name: &str) -> Result<(), CommandError> {
        run("scancel", &[&format!("--name={name}")]).map(drop)
    }

    /// How the program of a task ended, in words, if anyone knows: the controller for a few minutes,
    /// accounting, where there is such, for longer.
    pub fn exit(&self, job: u64, task: u32) -> Option<String> {
        let id = format!("{job}_{task}");
        if let Ok(printed) = run("scontrol", &["show", "job", "--oneliner", &id]) {
            return parse::exit_in_words(parse::field(&printed, "ExitCode")?);
        }
        if self.has_no_accounting.load(Ordering::Relaxed) {
            return None;
        }
        match run(
            "sacct",
            &["--noheader", "--parsable2", "--allocations", "--format=ExitCode", "--jobs", &id],
        ) {
            Ok(printed) if printed.contains(':') => parse::exit_in_words(printed.lines().next()?.trim()),
            // Without a database it prints so, and may call that a success.
            _ => {
                self.has_no_accounting.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// The most tasks that an array can have, the first being number 1.
    pub fn largest_array(&self) -> u32 {
        let size = |printed: String| parse::field(&printed, "MaxArraySize")?.parse::<u32>().ok();
        let size = run("scontrol", &["show", "config"]).ok().and_then(size);
        size.map_or(DEFAULT_ARRAY, |size| size.saturating_sub(1)).max(1)
    }
}

/// Runs a command, and gives what it printed.
fn run(program: &str, arguments: &[&str]) -> Result<String, CommandError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Long lists of tasks in full, and words that do not depend on the user's settings.
    command.env("SLURM_BITSTR_LEN", "0").env("LC_ALL", "C");
    for name in ["SQUEUE_FORMAT", "SQUEUE_FORMAT2", "SQUEUE_STATES", "SQUEUE_USERS", "SQUEUE_PARTITION"] {
        command.env_remove(name);
    }
    // Ctrl-C is for the sweep alone: a submission that is under way is made.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CommandError::Missing(program.to_owned()),
        _ => CommandError::NoAnswer(format!("{program}: {error}")),
    })?;
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let deadline = Instant::now() + TIMEOUT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(CommandError::NoAnswer(format!(
                    "no answer to {program} in {} s",
                    TIMEOUT.as_secs()
                )));
            }
            Err(error) => return Err(CommandError::NoAnswer(format!("{program}: {error}"))),
        }
    };
    let text =
        |thread: Option<thread::JoinHandle<String>>| thread.and_then(|t| t.join().ok()).unwrap_or_default();
    let (printed, complaint) = (text(stdout), text(stderr));
    if status.success() { Ok(printed) } else { Err(why(program, &complaint)) }
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Sorts a complaint of a command by what can be done about it.
fn why(program: &str, complaint: &str) -> CommandError {
    let has = |parts: &[&str]| parts.iter().any(|part| complaint.contains(part));
    let words: Vec<&str> =
        complaint.lines().map(|line| line.trim_start_matches(&format!("{program}: "))).collect();
    let words =
        words.iter().map(|line| line.trim_start_matches("error: ").trim()).filter(|line| !line.is_empty());
    let said = words.collect::<Vec<_>>().join("; ");
    let said = if said.is_empty() { format!("{program} failed") } else { said };
    if has(&[
        "Unable to contact slurm controller",
        "Connection refused",
        "Connection timed out",
        "Socket timed out",
        "Zero Bytes were transmitted",
        "Communication connection failure",
        "Unexpected message received",
        "Message receive failure",
        "backup mode",
        "Protocol authentication error",
        "Unable to establish",
        "Munge",
    ]) {
        CommandError::NoAnswer(said)
    } else if has(&[
        "job submit limit",
        "Job violates accounting",
        "temporarily unable",
        "Resource temporarily",
    ]) {
        CommandError::Limit(said)
    } else {
        CommandError::Refused(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_apart() {
        let invalid = "sbatch: error: invalid partition specified: nonsense\n\
                       sbatch: error: Batch job submission failed: Invalid partition name specified\n";
        let CommandError::Refused(said) = why("sbatch", invalid) else { panic!() };
        assert_eq!(
            said,
            "invalid partition specified: nonsense; Batch job submission failed: Invalid partition name \
             specified"
        );
        let down = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n";
        assert!(matches!(why("squeue", down), CommandError::NoAnswer(_)));
        let full = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job \
                    submit limit, user's size and/or time limits)\n";
        assert!(matches!(why("sbatch", full), CommandError::Limit(_)));
        assert_eq!(why("scancel", ""), CommandError::Refused("scancel failed".into()));
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        assert_eq!(run("kdx-no-such-command", &[]), Err(CommandError::Missing("kdx-no-such-command".into())));
    }
}
