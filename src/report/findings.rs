//! What an experiment found, in sentences that are computed from its table.

use serde::Serialize;

use super::aggregate::{Configuration, Marginal};
use super::collect::{Collected, STATUSES};
use super::columns::{AGREEMENT, HARD_LOSS};
use super::format;
use super::grid::{Axis, Grid};
use super::measure::Measure;
use super::statistics::{Difference, Test, difference};
use crate::spec::metric;

/// A finding: what it is about, and a sentence or two.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What it is about, as `Best configuration`.
    pub topic: &'static str,
    /// The finding.
    pub text: String,
}

/// All that findings are computed from.
pub struct Evidence<'a> {
    /// What was read.
    pub collected: &'a Collected,
    /// What differs between the runs.
    pub grid: &'a Grid,
    /// Best first.
    pub configurations: &'a [Configuration],
    /// The held-out metrics.
    pub measures: &'a [Measure],
    /// Each varied axis with the means along it.
    pub marginals: &'a [(Axis, Vec<Marginal>)],
    /// Of intervals and tests.
    pub confidence: f64,
}

/// The findings, the most important first.
pub fn findings(evidence: &Evidence) -> Vec<Finding> {
    let mut found: Vec<Finding> = completeness(evidence.collected).into_iter().collect();
    found.extend(best(evidence));
    found.extend(against_baseline(evidence));
    found.extend(teacher_gap(evidence));
    found.extend(axes(evidence));
    found
}

/// How many runs stand where, in the order of [`STATUSES`].
pub fn status_counts(collected: &Collected) -> Vec<(&'static str, usize)> {
    let count = |status: &&str| collected.runs.iter().filter(|run| run.standing.as_str() == *status).count();
    STATUSES.iter().map(|status| (*status, count(status))).filter(|(_, n)| *n > 0).collect()
}

/// None where all is finished: there is more to say.
fn completeness(collected: &Collected) -> Option<Finding> {
    let total = collected.runs.len();
    let counts = status_counts(collected);
    let finished = counts.iter().find(|(status, _)| *status == "finished").map_or(0, |(_, n)| *n);
    if finished == total {
        return None;
    }
    let rest: Vec<String> =
        counts.iter().filter(|(s, _)| *s != "finished").map(|(status, n)| format!("{n} {status}")).collect();
    let what = match finished {
        0 => "There is nothing to compare yet.",
        _ => "Everything below speaks of the finished runs alone.",
    };
    let text =
        format!("{finished} of {} finished; {}. {what}", format::plural(total, "run"), format::list(&rest));
    Some(Finding { topic: "Completeness", text })
}

fn best(evidence: &Evidence) -> Option<Finding> {
    let mut ranked = evidence.configurations.iter().filter(|c| c.hard_loss().is_some());
    let first = ranked.next()?;
    let sample = first.hard_loss()?;
    let mut text = format!(
        "{} has the lowest held-out hard loss: {} nats a token ({}){}.",
        format::capitalized(&first.label),
        format::with_margin(sample.mean, sample.margin(evidence.confidence)),
        seeds(sample.n, evidence.confidence),
        extras(evidence.measures, first),
    );
    if let Some(second) = ranked.next()
        && let Some(ahead) = difference(first.hard_losses(), second.hard_losses(), evidence.confidence)
    {
        let gap = gap(&ahead);
        text += &match &ahead.tested {
            None => format!(
                " The next, {}, is {gap} behind; one seed cannot tell whether by chance.",
                second.label
            ),
            Some(_) if ahead.is_significant() => format!(" The next, {}, is {gap} behind.", second.label),
            Some(_) => format!(
                " The next, {}, is {gap} behind: the interval spans zero, so their order may be chance.",
                second.label
            ),
        };
    }
    Some(Finding { topic: "Best configuration", text })
}

/// What else a configuration measures that configurations can be held against each other by.
fn extras(measures: &[Measure], configuration: &Configuration) -> String {
    let others = measures.iter().filter(|measure| measure.column != HARD_LOSS && measure.is_comparable());
    let parts = others.filter_map(|measure| {
        let sample = configuration.sample(&measure.column)?;
        Some(format!(", {} {}", measure.title, measure.write(sample.mean)))
    });
    parts.collect()
}

/// `0.12 ± 0.03 nats`, without its sign.
fn gap(difference: &Difference) -> String {
    let margin = difference.tested.map(|t| t.margin);
    let digits = format::precision(margin).min(4);
    let mean = format::decimals(difference.mean.abs(), digits);
    match margin {
        Some(margin) => format!("{mean} ± {} nats", format::decimals(margin, digits)),
        None => format!("{mean} nats"),
    }
}

fn seeds(n: usize, confidence: f64) -> String {
    match n {
        1 => "1 seed, so no interval".to_owned(),
        n => format!("mean of {n} seeds, {} interval", confidence_text(confidence)),
    }
}

/// `95 %`.
pub fn confidence_text(confidence: f64) -> String {
    format!("{}\u{a0}%", format::value((confidence * 1e6).round() / 1e4))
}

/// A student (whatever is neither loss, teacher nor seed) with its baseline and what is distilled.
#[derive(Debug, Clone)]
pub struct StudentGroup<'a> {
    /// What people call it; empty if there is one student.
    pub label: String,
    /// Learned from labels alone.
    pub baseline: &'a Configuration,
    /// The others, best first, each with its difference to the baseline (negative is better).
    pub distilled: Vec<(&'a Configuration, Difference)>,
    /// The baseline that was measured by the teacher of the best: agreement is with a teacher.
    pub baseline_of_best: Option<&'a Configuration>,
}

/// Every student that has a finished baseline and a finished distilled configuration, in the order
/// of their baselines.
pub fn student_groups<'a>(
    grid: &Grid,
    configurations: &'a [Configuration],
    confidence: f64,
) -> Vec<StudentGroup<'a>> {
    // Everything that the student is, apart from what it learns from.
    let of_student: Vec<usize> = (0..grid.axes.len()).filter(|i| !grid.axes[*i].is_of_loss()).collect();
    let same = |a: &Configuration, b: &Configuration| of_student.iter().all(|&i| a.cells[i] == b.cells[i]);
    let measured = || configurations.iter().filter(|c| c.hard_loss().is_some());
    let mut groups: Vec<StudentGroup> = Vec::new();
    for baseline in measured().filter(|c| c.is_baseline) {
        // Several baselines of one student differ in what means nothing to them: the first stands.
        if groups.iter().any(|group| same(group.baseline, baseline)) {
            continue;
        }
        let distilled: Vec<_> = measured()
            .filter(|c| !c.is_baseline && same(c, baseline))
            .filter_map(|c| Some((c, difference(baseline.hard_losses(), c.hard_losses(), confidence)?)))
            .collect();
        if !distilled.is_empty() {
            let words = of_student.iter().filter(|i| grid.axes[**i].cells.len() > 1);
            let words: Vec<String> = words.map(|&i| grid.axes[i].phrase(&baseline.cells[i])).collect();
            let best = distilled[0].0;
            let of_teacher = |i: &usize| grid.axes[*i].key.starts_with("teacher.");
            let same_teacher = |c: &Configuration| {
                (0..grid.axes.len()).filter(of_teacher).all(|i| c.cells[i] == best.cells[i])
            };
            let baseline_of_best = measured().find(|c| c.is_baseline && same(c, best) && same_teacher(c));
            groups.push(StudentGroup { label: words.join(", "), baseline, distilled, baseline_of_best });
        }
    }
    groups
}

fn against_baseline(evidence: &Evidence) -> Option<Finding> {
    let groups = student_groups(evidence.grid, evidence.configurations, evidence.confidence);
    let text = match &groups[..] {
        [] => return None,
        [group] => one_student(group, evidence.confidence)?,
        groups => several_students(groups, evidence.confidence),
    };
    Some(Finding { topic: "Distilled against labels alone", text })
}

fn one_student(group: &StudentGroup, confidence: f64) -> Option<String> {
    let (best, difference) = group.distilled.first()?;
    let n = group.distilled.len();
    let with = match n {
        1 => best.label.clone(),
        n => format!("{}, the best of {n} distilled configurations", best.label),
    };
    let gap = gap(difference);
    let is_better = difference.mean < 0.0;
    let verdict = match (difference.tested.is_some(), difference.is_significant()) {
        (true, true) if is_better => format!("Distilling beats labels alone by {gap} held-out hard loss"),
        (true, true) => format!("Distilling is worse than labels alone by {gap} held-out hard loss"),
        (true, false) => format!(
            "Distilling is not told apart from labels alone: {} by {gap} held-out hard loss, an interval \
             that spans zero",
            if is_better { "better" } else { "worse" }
        ),
        (false, _) => format!(
            "Distilling is {} labels alone by {gap} held-out hard loss",
            if is_better { "ahead of" } else { "behind" }
        ),
    };
    let mut text = format!("{verdict} ({}; {with}).", how(best, difference, confidence));
    text += &group.baseline_of_best.and_then(|b| agreement(b, best, confidence)).unwrap_or_default();
    if n > 1 {
        let better = group.distilled.iter().filter(|(_, d)| d.mean < 0.0).count();
        text +=
            &format!(" {better} of {n} distilled configurations are better than labels alone in the mean");
        if difference.tested.is_some() {
            let clear = group.distilled.iter().filter(|(_, d)| d.mean < 0.0 && d.is_significant()).count();
            text += &format!(", {clear} with an interval clear of zero");
        }
        text.push('.');
    }
    Some(text)
}

/// How much nearer to the teacher the student comes. None if the baseline was not measured by it.
fn agreement(baseline: &Configuration, best: &Configuration, confidence: f64) -> Option<String> {
    let change = difference(baseline.by_seed(AGREEMENT), best.by_seed(AGREEMENT), confidence)?;
    let margin = change.tested.map(|t| t.margin * 100.0);
    let digits = format::precision(margin).min(2);
    let mut points = format::signed(change.mean * 100.0, digits);
    if let Some(margin) = margin {
        points += &format!(" ± {}", format::decimals(margin, digits));
    }
    let (alone, distilled) = (baseline.sample(AGREEMENT)?.mean, best.sample(AGREEMENT)?.mean);
    let (alone, distilled) = (format::percent(alone), format::percent(distilled));
    Some(format!(" Agreement with the teacher: {distilled} against {alone} ({points} points)."))
}

fn how(best: &Configuration, difference: &Difference, confidence: f64) -> String {
    match &difference.tested {
        None => "1 seed, so no test is possible".to_owned(),
        Some(tested) => format!(
            "{}, {} interval {}",
            format::plural(best.hard_losses().len(), "seed"),
            confidence_text(confidence),
            match tested.test {
                Test::Paired => "paired by seed",
                Test::Welch => "by Welch's test",
            }
        ),
    }
}

fn several_students(groups: &[StudentGroup], confidence: f64) -> String {
    let best = || groups.iter().filter_map(|group| Some((group, group.distilled.first()?)));
    let better = best().filter(|(_, (_, d))| d.mean < 0.0).count();
    let is_tested = best().all(|(_, (_, d))| d.tested.is_some());
    let clear = best().filter(|(_, (_, d))| d.mean < 0.0 && d.is_significant()).count();
    let mut text = format!(
        "The best distilled configuration beats labels alone for {better} of {} students",
        groups.len()
    );
    text += &match is_tested {
        true => format!(", for {clear} with a {} interval clear of zero", confidence_text(confidence)),
        false => "; not all have the two seeds that a test needs".to_owned(),
    };
    let parts: Vec<String> = best()
        .map(|(group, (configuration, d))| {
            let digits = format::precision(d.tested.map(|t| t.margin)).min(4);
            let mut figure = format::signed(d.mean, digits);
            if let Some(tested) = d.tested {
                figure += &format!(" ± {}", format::decimals(tested.margin, digits));
            }
            match group.distilled.len() {
                1 => format!("{figure} for {}", group.label),
                _ => format!("{figure} for {} ({})", group.label, configuration.label),
            }
        })
        .collect();
    text + &format!(". Difference in held-out hard loss, nats: {}.", parts.join("; "))
}

fn teacher_gap(evidence: &Evidence) -> Option<Finding> {
    let summaries =
        || evidence.collected.runs.iter().filter(|r| r.is_finished()).filter_map(|r| r.summary.as_ref());
    // Several teachers have several figures: the table of teachers shows them.
    let mut losses: Vec<f64> =
        summaries().filter_map(|s| s.teacher_validation.as_ref()?.value(metric::HARD_LOSS)).collect();
    losses.sort_by(f64::total_cmp);
    let (lowest, highest) = (*losses.first()?, *losses.last()?);
    if (highest - lowest).abs() > 1e-3 * lowest.abs() {
        return None;
    }
    let best = evidence.configurations.iter().find(|c| !c.is_baseline && c.hard_loss().is_some())?;
    let student = best.hard_loss()?.mean;
    let size = |n: f64| format!("{} parameters", format::count(n));
    let teacher_size = summaries().find_map(|s| s.teacher_parameters).map(|n| n as f64);
    let mut text = format!("The teacher reaches {} nats", format::loss(lowest));
    if let (Some(teacher), Some(student)) = (teacher_size, best.parameters.filter(|n| *n > 0.0)) {
        text += &format!(
            " with {}, {} times the {} of the best distilled student",
            size(teacher),
            format::decimals(teacher / student, 1),
            format::count(student)
        );
    }
    text.push('.');
    let groups = student_groups(evidence.grid, evidence.configurations, evidence.confidence);
    let group = groups.iter().find(|g| g.distilled.iter().any(|(c, _)| std::ptr::eq(*c, best)));
    let gain = group.and_then(|group| group.distilled.iter().find(|(c, _)| std::ptr::eq(*c, best)));
    // A share of a gap that may be chance says nothing.
    let is_sure = gain.is_some_and(|(_, d)| d.is_significant() || d.tested.is_none());
    if let Some(alone) = group.and_then(|group| group.baseline.hard_loss())
        && is_sure
        && alone.mean > lowest
    {
        let closed = (alone.mean - student) / (alone.mean - lowest);
        if closed > 0.0 {
            text += &format!(
                " Distilling closes {} of the gap between labels alone ({}) and the teacher.",
                format::percent(closed),
                format::loss(alone.mean)
            );
        }
    }
    Some(Finding { topic: "Teacher", text })
}

fn axes(evidence: &Evidence) -> Option<Finding> {
    let mut effects = Vec::new();
    for (axis, marginals) in evidence.marginals {
        let by_mean = |a: &&Marginal, b: &&Marginal| a.sample.mean.total_cmp(&b.sample.mean);
        let (Some(low), Some(high)) = (marginals.iter().min_by(by_mean), marginals.iter().max_by(by_mean))
        else {
            continue;
        };
        if low.x != high.x {
            effects.push((high.sample.mean - low.sample.mean, axis, low, high));
        }
    }
    effects.sort_by(|a, b| b.0.total_cmp(&a.0));
    if effects.is_empty() {
        return None;
    }
    let parts: Vec<String> = effects
        .iter()
        .map(|(range, axis, low, high)| {
            format!(
                "{} ({} nats: {} at {}, {} at {})",
                axis.name,
                format::decimals(*range, 3),
                format::loss(low.sample.mean),
                axis.text(&low.x),
                format::loss(high.sample.mean),
                axis.text(&high.x)
            )
        })
        .collect();
    let text = match parts.len() {
        1 => format!("Along {}.", parts[0]),
        _ => format!("By the range of held-out hard loss, averaged over all else: {}.", format::list(&parts)),
    };
    Some(Finding { topic: "What matters most", text })
}
