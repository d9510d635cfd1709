//! Numbers, durations and tables as people read them.

use std::io::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::schedule::Job;
use crate::spec::metric::{self, FRACTION, MetricInfo};
use crate::store::Evaluation;

/// Prints to standard output. A reader that went away, as in `kdx ls | head`, is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// [`print`] with a format, as a line.
macro_rules! say {
    ($($arguments:tt)*) => {
        $crate::cli::text::print(&format!("{}\n", format_args!($($arguments)*)))
    };
}
pub(super) use say;

/// Says what needs no answer, where it is in the way of no program.
pub fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {text}");
}

/// A table with a heading row; columns whose cells are all numbers stand to the right.
pub fn table<'a>(heading: impl AsRef<[&'a str]>, rows: Vec<impl AsRef<[String]>>) -> String {
    let heading = heading.as_ref();
    let is_number = |text: &String| text.starts_with(|c: char| c.is_ascii_digit() || c == '–' || c == '-');
    let right: Vec<bool> = (0..heading.len())
        .map(|column| rows.iter().all(|row| row.as_ref().get(column).is_none_or(is_number)))
        .collect();
    let cell = |column: usize, text: &str| {
        let alignment = if right[column] { CellAlignment::Right } else { CellAlignment::Left };
        Cell::new(text).set_alignment(alignment)
    };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.iter().enumerate().map(|(column, text)| cell(column, text)));
    for row in &rows {
        table.add_row(row.as_ref().iter().enumerate().map(|(column, text)| cell(column, text)));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A count as `17.3 M`.
pub fn count(n: u64) -> String {
    let n = n as f64;
    match n {
        _ if n >= 1e12 => format!("{:.2} T", n / 1e12),
        _ if n >= 1e9 => format!("{:.2} G", n / 1e9),
        _ if n >= 1e6 => format!("{:.2} M", n / 1e6),
        _ if n >= 1e4 => format!("{:.1} k", n / 1e3),
        _ => format!("{n}"),
    }
}

/// Bytes as `1.5 GiB`.
pub fn bytes(n: u64) -> String {
    let n = n as f64;
    match n {
        _ if n >= (1u64 << 30) as f64 => format!("{:.1} GiB", n / (1u64 << 30) as f64),
        _ => format!("{:.0} MiB", (n / (1u64 << 20) as f64).max(1.0)),
    }
}

/// Seconds as `1 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A value of a metric: a fraction as a percentage, anything else with four decimals.
pub fn write_measured(info: &MetricInfo, value: f64) -> String {
    if info.unit == FRACTION { format!("{:.2} %", 100.0 * value) } else { format!("{value:.4}") }
}

/// What an evaluation holds, in words: `hard loss 1.2345, agreement 61.23 %`.
pub fn describe_evaluation(evaluation: &Evaluation) -> String {
    let words = |(name, value): (&str, f64)| {
        format!("{} {}", metric::title(name), write_measured(&evaluation.info(name), value))
    };
    evaluation.values.ordered().into_iter().map(words).collect::<Vec<_>>().join(", ")
}

/// `1 run`, `3 runs`.
pub fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// How many jobs there are of each purpose, as `1 teacher and 13 runs`.
pub fn count_jobs(jobs: &[Job]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for job in jobs {
        match counts.iter_mut().find(|(purpose, _)| *purpose == job.purpose()) {
            Some((_, count)) => *count += 1,
            None => counts.push((job.purpose(), 1)),
        }
    }
    // The points last: they are what the rest is for.
    counts.sort_by_key(|(purpose, _)| *purpose == "run");
    let words: Vec<String> = counts.into_iter().map(|(purpose, count)| plural(count, purpose)).collect();
    match &words[..] {
        [] => plural(0, "run"),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// That the runs of an experiment are done, so many.
pub fn all_done(runs: usize) -> String {
    if runs == 1 { "the only run is done".to_owned() } else { format!("all {runs} runs are done") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_parts() {
        assert_eq!(duration(59.4), "59 s");
        assert_eq!(duration(59.6), "1 min 00 s");
        assert_eq!(duration(3_900.0), "1 h 05 min");
        assert_eq!(duration(90_000.0), "1 d 01 h");
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = [["a", "5"], ["b", "10"]].map(|row| row.map(str::to_owned));
        let text = table(["name", "n"], rows.to_vec());
        assert_eq!(text, " name   n\n a      5\n b     10\n");
    }
}
