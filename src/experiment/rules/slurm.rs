//! Rules about what Slurm is asked for: what `sbatch` would refuse is said before anything is submitted.

use crate::experiment::layers::merge::Merged;
use crate::experiment::read::problem::{Draft, Report};
use crate::spec::{GpuRequest, SlurmConfig};

/// Checks `[slurm]`, which is about the whole experiment.
pub(crate) fn check_slurm(slurm: &SlurmConfig, merged: &Merged<'_>, errors: &mut Report) {
    let mut wrong = |key: &str, message: String, label: &str, help: &str| {
        let key = format!("slurm.{key}");
        if !errors.is_tainted(&key) {
            errors.push(Draft::new(merged.place(&key), message).label(label).help(help));
        }
    };
    let words = [
        ("partition", &slurm.partition),
        ("account", &slurm.account),
        ("qos", &slurm.qos),
        ("constraint", &slurm.constraint),
    ];
    for (key, word) in words.into_iter().filter_map(|(key, word)| Some((key, word.as_ref()?))) {
        if word.is_empty() || word.contains(|c: char| c.is_control() || c == ' ') {
            let message = format!("`slurm.{key} = {word:?}` is not one word");
            wrong(key, message, "one word", "leave the key out for the cluster's default");
        }
    }
    if let Some(time) = slurm.time.as_ref().filter(|time| !is_time(time)) {
        let help = "minutes, hours:minutes:seconds or days-hours: `90`, `04:00:00`, `1-12`";
        wrong("time", format!("`slurm.time = {time:?}` is no time that Slurm knows"), "not a time", help);
    }
    if let Some(seconds) =
        slurm.time.as_deref().and_then(read_seconds).filter(|&time| time <= u64::from(slurm.grace))
    {
        let message = format!("`slurm.grace = {}` is the whole wall limit of {seconds} s", slurm.grace);
        wrong("grace", message, "workers would stop at once", "lower `grace`, or raise `time`");
    }
    if let Some(memory) = slurm.memory.as_ref().filter(|memory| !is_memory(memory)) {
        let message = format!("`slurm.memory = {memory:?}` is no size that Slurm knows");
        wrong("memory", message, "not a size", "a whole number with K, M, G or T behind it: `16G`");
    }
    if let Some(GpuRequest::Typed(gpus)) = &slurm.gpus
        && !is_gpus(gpus)
    {
        let message = format!("`slurm.gpus = {gpus:?}` is no request that Slurm knows");
        wrong(
            "gpus",
            message,
            "not a type and a number",
            "a number, or a type and a number: `1`, `\"a100:1\"`",
        );
    }
    for option in &slurm.extra {
        if !option.starts_with('-') || option.contains(char::is_control) {
            let message = format!("{option:?} in `slurm.extra` is no option of sbatch");
            wrong(
                "extra",
                message,
                "not an option",
                "options begin with a dash, one in each item: `\"--exclude=n7\"`",
            );
        }
    }
    if let Some(template) = slurm.template.as_ref().filter(|path| !path.is_file()) {
        let message = format!("{} is not a file", template.display());
        let help = "relative paths start at the directory of the file that holds them";
        wrong("template", message, "not a file", help);
    }
}

/// `MM`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM` or `D-HH:MM:SS`.
fn is_time(text: &str) -> bool {
    let (days, rest) = text.split_once('-').map_or((None, text), |(days, rest)| (Some(days), rest));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    days.is_none_or(is_number) && rest.split(':').count() <= 3 && rest.split(':').all(is_number)
}

/// The seconds in what [`is_time`] takes.
fn read_seconds(text: &str) -> Option<u64> {
    let numbers = |text: &str| text.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>();
    let in_seconds = |parts: &[u64], units: [u64; 3]| parts.iter().zip(units).map(|(n, unit)| n * unit).sum();
    match text.split_once('-') {
        Some((days, rest)) => {
            let rest: u64 = in_seconds(&numbers(rest)?, [3600, 60, 1]);
            Some(days.parse::<u64>().ok()? * 86400 + rest)
        }
        None => {
            let parts = numbers(text)?;
            let units = if parts.len() == 3 { [3600, 60, 1] } else { [60, 1, 0] };
            Some(in_seconds(&parts, units))
        }
    }
}

fn is_memory(text: &str) -> bool {
    let number = text.strip_suffix(['K', 'M', 'G', 'T', 'k', 'm', 'g', 't']).unwrap_or(text);
    number.parse::<u64>().is_ok_and(|number| number > 0)
}

fn is_gpus(text: &str) -> bool {
    let (kind, count) = text.split_once(':').map_or((text, None), |(kind, count)| (kind, Some(count)));
    let is_kind = !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    is_kind && count.is_none_or(|count| count.parse::<u32>().is_ok_and(|count| count > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sbatch_takes_is_right() {
        for time in ["90", "90:30", "04:00:00", "1-12", "1-12:30", "2-00:00:00"] {
            assert!(is_time(time), "{time}");
        }
        for time in ["", "4h", "1:2:3:4", "1-", "-1", "01:00:", "1-2-3"] {
            assert!(!is_time(time), "{time}");
        }
        assert_eq!(read_seconds("90"), Some(5400));
        assert_eq!(read_seconds("01:30"), Some(90));
        assert_eq!(read_seconds("04:00:05"), Some(14405));
        assert_eq!(read_seconds("1-12:30"), Some(86400 + 12 * 3600 + 1800));
        assert!(is_memory("16G") && is_memory("512") && is_memory("1t"));
        assert!(!is_memory("16 GB") && !is_memory("G") && !is_memory("0") && !is_memory("1.5G"));
        assert!(is_gpus("a100:1") && is_gpus("2") && is_gpus("rtx_4090"));
        assert!(!is_gpus("") && !is_gpus("a100:") && !is_gpus("a100:0") && !is_gpus("a100, b"));
    }
}
