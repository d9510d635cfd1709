//! What Slurm's commands print.

/// What Slurm says about one or more tasks of a job array that stand alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLine {
    /// The number of the array.
    pub job: u64,
    /// The tasks; empty for a job that is no array.
    pub tasks: Vec<u32>,
    /// Where they stand.
    pub state: TaskState,
    /// The job's name.
    pub name: String,
    /// The node, where they run.
    pub node: String,
    /// Why they wait, in Slurm's word.
    pub reason: String,
}

/// The fields of a [`QueueLine`], for `squeue --format`. The reason comes last: it may hold anything.
pub const QUEUE_FORMAT: &str = "%F|%K|%T|%j|%N|%r";

/// Where a task of a job array stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// It waits, for the first time or again.
    Queued,
    /// It has a node.
    Running,
    /// It will do nothing more.
    Ended(Ending),
}

/// How a task ended, as Slurm sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With exit code 0.
    Completed,
    /// With another exit code, or by a signal.
    Failed,
    /// By `scancel`.
    Cancelled,
    /// At its wall limit.
    Timeout,
    /// It took more memory than it had asked for.
    OutOfMemory,
    /// To make room for a job with a higher priority.
    Preempted,
    /// With its node.
    NodeFailed,
    /// It is no longer known: it ended a while ago, or the controller has lost it.
    Forgotten,
}

impl TaskState {
    /// A state by Slurm's word for it. Words that this kdx does not know count as waiting: whoever
    /// waits can still be told of an end.
    pub fn parse(word: &str) -> Self {
        // `CANCELLED by 1000` in accounting.
        match word.split_whitespace().next().unwrap_or_default().trim_end_matches('+') {
            "RUNNING" | "COMPLETING" | "SUSPENDED" | "STOPPED" | "SIGNALING" | "STAGE_OUT" | "RESIZING" => {
                Self::Running
            }
            "COMPLETED" => Self::Ended(Ending::Completed),
            "FAILED" | "SPECIAL_EXIT" => Self::Ended(Ending::Failed),
            "CANCELLED" | "REVOKED" => Self::Ended(Ending::Cancelled),
            "TIMEOUT" | "DEADLINE" => Self::Ended(Ending::Timeout),
            "OUT_OF_MEMORY" => Self::Ended(Ending::OutOfMemory),
            "PREEMPTED" => Self::Ended(Ending::Preempted),
            "NODE_FAIL" | "BOOT_FAIL" => Self::Ended(Ending::NodeFailed),
            _ => Self::Queued,
        }
    }
}

/// Reads what `squeue --noheader --format=…` printed. Lines that are no lines of it are left out.
pub fn queue(text: &str) -> Vec<QueueLine> {
    text.lines().filter_map(queue_line).collect()
}

fn queue_line(line: &str) -> Option<QueueLine> {
    let mut fields = line.trim().splitn(6, '|');
    let mut next = || fields.next().map(str::trim);
    Some(QueueLine {
        job: next()?.parse().ok()?,
        tasks: tasks(next()?)?,
        state: TaskState::parse(next()?),
        name: next()?.to_owned(),
        node: next()?.to_owned(),
        reason: next()?.to_owned(),
    })
}

/// The numbers in `3`, `3-7`, `1,4-9:2` or `3-7%2`, with or without brackets; none at all in `N/A`.
fn tasks(text: &str) -> Option<Vec<u32>> {
    let text = text.trim_start_matches('[').trim_end_matches(']');
    let text = text.split('%').next().unwrap_or_default();
    if text == "N/A" {
        return Some(Vec::new());
    }
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let step: usize = step.parse().ok().filter(|step| *step > 0)?;
        numbers.extend((first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?).step_by(step));
    }
    Some(numbers)
}

/// The number of the job in what `sbatch --parsable` printed: `12`, or `12;cluster`.
pub fn submitted(text: &str) -> Option<u64> {
    // A site's own messages may stand before it.
    text.lines().rev().find_map(|line| line.split(';').next()?.trim().parse().ok())
}

/// A field of `scontrol show …`: `Name=value` or `Name = value`.
pub fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let at = line
            .match_indices(name)
            .find(|(at, _)| line[..*at].chars().next_back().is_none_or(char::is_whitespace))
            .map(|(at, _)| line[at + name.len()..].trim_start())?;
        at.strip_prefix('=')?.split_whitespace().next()
    })
}

/// How a job's program ended by `code:signal`, in words; none for an end without fault.
pub fn exit_in_words(text: &str) -> Option<String> {
    let (code, signal) = text.split_once(':')?;
    let (code, signal): (i32, i32) = (code.parse().ok()?, signal.parse().ok()?);
    match (code, signal) {
        (0, 0) => None,
        (_, 9) => Some("its worker was killed (signal 9)".to_owned()),
        (_, 11) => Some("its worker crashed (signal 11, segmentation fault)".to_owned()),
        (_, 6) => Some("its worker aborted (signal 6)".to_owned()),
        (code, 0) => Some(format!("its worker ended with exit code {code} and no report")),
        (_, signal) => Some(format!("its worker was ended by signal {signal}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Printed by Slurm 22.05 for an array of which one task was cancelled and one requeued.
    const SQUEUE: &str = "\
1|[2-5%3]|PENDING|kdx-test||Resources
1|0|RUNNING|kdx-test|n1|None
1|1|CANCELLED|kdx-test|n2|None
4|N/A|PENDING|j.sh||PartitionDown
5|N/A|FAILED|j.sh||BadConstraints
6|N/A|PENDING|j.sh||(ReqNodeNotAvail, UnavailableNodes:n[1-2])
";

    #[test]
    fn the_queue_is_read_with_pending_tasks_in_one_line() {
        let lines = queue(SQUEUE);
        assert_eq!(lines.len(), 6);
        assert_eq!(
            (lines[0].job, &lines[0].tasks[..], lines[0].state),
            (1, &[2, 3, 4, 5][..], TaskState::Queued)
        );
        assert_eq!(
            (&lines[1].tasks[..], lines[1].state, &lines[1].node[..]),
            (&[0][..], TaskState::Running, "n1")
        );
        assert_eq!(lines[2].state, TaskState::Ended(Ending::Cancelled));
        assert!(lines[3].tasks.is_empty());
        assert_eq!(lines[3].reason, "PartitionDown");
        assert_eq!(lines[5].reason, "(ReqNodeNotAvail, UnavailableNodes:n[1-2])");
    }

    #[test]
    fn what_is_no_line_of_the_queue_is_left_out() {
        assert_eq!(queue("slurm_load_jobs error: Invalid job id specified\n\n1|x|RUNNING|a|n|None\n"), []);
    }

    #[test]
    fn tasks_of_an_array_are_written_in_many_ways() {
        assert_eq!(tasks("7").unwrap(), [7]);
        assert_eq!(tasks("[0,4-5%3]").unwrap(), [0, 4, 5]);
        assert_eq!(tasks("1-7:3").unwrap(), [1, 4, 7]);
        assert!(tasks("N/A").unwrap().is_empty());
        assert_eq!(tasks("1-9:0"), None);
        assert_eq!(tasks("1,..."), None);
    }

    #[test]
    fn states_are_read_as_the_queue_and_accounting_write_them() {
        assert_eq!(TaskState::parse("CANCELLED by 1000"), TaskState::Ended(Ending::Cancelled));
        assert_eq!(TaskState::parse("OUT_OF_MEMORY"), TaskState::Ended(Ending::OutOfMemory));
        assert_eq!(TaskState::parse("COMPLETING"), TaskState::Running);
        assert_eq!(TaskState::parse("REQUEUE_HOLD"), TaskState::Queued);
    }

    #[test]
    fn the_number_of_a_submission_is_found_between_a_site_s_messages() {
        assert_eq!(submitted("12\n"), Some(12));
        assert_eq!(submitted("Welcome!\n12;alpha\n"), Some(12));
        assert_eq!(submitted("no\n"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text =
            "JobId=3 ArrayJobId=1 Restarts=0 ExitCode=0:9 RunTime=00:00:02\nMaxArraySize            = 1001\n";
        assert_eq!(field(text, "JobId"), Some("3"));
        assert_eq!(field(text, "ExitCode"), Some("0:9"));
        assert_eq!(field(text, "MaxArraySize"), Some("1001"));
        assert_eq!(field(text, "Time"), None);
    }

    #[test]
    fn exits_are_said_in_words() {
        assert_eq!(exit_in_words("0:0"), None);
        assert!(exit_in_words("0:9").unwrap().contains("killed"));
        assert!(exit_in_words("3:0").unwrap().contains("exit code 3"));
    }
}
