//! What a page shows, whatever its format.

use serde::Serialize;

use super::aggregate::Configuration;
use super::collect::{CollectedRun, Standing};
use super::columns::{HARD_LOSS, KIND, NO_SOFT_LOSS};
use super::findings::{Evidence, Finding, confidence_text, findings, status_counts, student_groups};
use super::format;
use super::grid::{Axis, LABELS_ALONE};
use super::measure::Measure;
use super::page_table::{Entry, Row, Table};
use super::plots::Plot;
use super::relevance::counts;
use crate::spec::{ModelSource, Purpose, metric};
use crate::store::{Evaluation, RunState};

/// A page.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The experiment's name.
    pub experiment: String,
    /// The file that it came from.
    pub source: String,
    /// The version of kdx.
    pub version: &'static str,
    /// The last change of any run, RFC 3339 in UTC.
    pub updated: Option<String>,
    /// The same for people.
    pub last_change: Option<String>,
    /// Number of runs in the plan.
    pub total: usize,
    /// How many runs stand where.
    pub counts: Vec<Count>,
    /// Sentences, the most important first.
    pub findings: Vec<Finding>,
    /// Configurations, best first.
    pub configurations: Table,
    /// Plots in order.
    pub figures: Vec<FigureView>,
    /// All runs in the plan's order.
    pub runs: Table,
    /// Teachers.
    pub teachers: Table,
    /// The models that runs start from.
    pub starts: Table,
    /// Runs that failed, diverged or cannot be read.
    pub failures: Table,
    /// Runs that a search gave up.
    pub stopped: Table,
}

/// A status and the number of its runs.
#[derive(Debug, Serialize)]
pub struct Count {
    status: &'static str,
    n: usize,
}

/// A plot as a page shows it.
#[derive(Debug, Serialize)]
pub struct FigureView {
    name: String,
    title: String,
    caption: String,
    svg: String,
    has_series: bool,
}

impl Page {
    /// Puts a page together.
    pub fn new(evidence: &Evidence, plots: &[Plot]) -> Self {
        let collected = evidence.collected;
        let figure = |plot: &Plot| FigureView {
            name: plot.name.clone(),
            title: plot.title.clone(),
            caption: plot.caption.clone(),
            svg: plot.svg.clone(),
            has_series: plot.has_series,
        };
        let counts = status_counts(collected);
        Self {
            experiment: collected.experiment.name.clone(),
            source: collected.experiment.source.clone(),
            version: env!("CARGO_PKG_VERSION"),
            updated: collected.updated().map(str::to_owned),
            last_change: collected.updated().map(format::time),
            total: collected.runs.len(),
            counts: counts.into_iter().map(|(status, n)| Count { status, n }).collect(),
            findings: findings(evidence),
            configurations: configurations(evidence),
            figures: plots.iter().map(figure).collect(),
            runs: runs(evidence),
            teachers: models(evidence, Purpose::Teacher),
            starts: models(evidence, Purpose::Start),
            failures: failures(evidence),
            stopped: stopped(evidence),
        }
    }
}

/// The axes that have a column, and whether baselines need a column that tells them apart.
fn shown_axes<'a>(evidence: &Evidence<'a>) -> (Vec<(usize, &'a Axis)>, bool) {
    let axes: Vec<_> = evidence.grid.axes.iter().enumerate().filter(|(_, a)| a.cells.len() > 1).collect();
    let has_baseline = evidence.configurations.iter().any(|c| c.is_baseline);
    let tells = axes.iter().any(|(_, a)| a.key == KIND);
    (axes, has_baseline && !tells)
}

/// The value of a configuration on an axis; a dash where it means nothing.
fn axis_entry(axis: &Axis, configuration: &Configuration, index: usize, kind: Option<&str>) -> Entry {
    let cell = &configuration.cells[index];
    if axis.key == KIND && kind == Some(NO_SOFT_LOSS) {
        return Entry::text(LABELS_ALONE);
    }
    if !counts(&axis.key, kind) {
        return Entry::text("–");
    }
    Entry { text: axis.text(cell), sort: cell.number() }
}

fn configurations(evidence: &Evidence) -> Table {
    let confidence = evidence.confidence;
    let (axes, tell_baseline) = shown_axes(evidence);
    let groups = student_groups(evidence.grid, evidence.configurations, confidence);
    let is_measured = |m: &&Measure| evidence.configurations.iter().any(|c| c.sample(&m.column).is_some());
    let others: Vec<&Measure> =
        evidence.measures.iter().filter(|m| m.column != HARD_LOSS).filter(is_measured).collect();

    let caption = format!(
        "Configurations by held-out hard loss, the mean over seeds ± its {} interval",
        confidence_text(confidence)
    );
    let mut table = Table { caption, ..Table::default() };
    table.column("#", true, "rank by held-out hard loss");
    for (_, axis) in &axes {
        table.column(&axis.name, axis.cells.iter().all(|c| c.number().is_some()), "");
    }
    if axes.is_empty() || tell_baseline {
        table.column("trained on", false, "");
    }
    table.column("hard loss", true, "held out, nats a token; lower is better");
    if !groups.is_empty() {
        table.column("vs labels alone", true, "difference to the same student trained on labels alone");
    }
    for measure in &others {
        table.column(&measure.title, true, measure.hint());
    }
    table.column("parameters", true, "trained parameters of the student");
    table.column("seeds", true, "finished of planned");

    let difference_of = |c: &Configuration| {
        let all = groups.iter().flat_map(|g| &g.distilled);
        all.clone().find(|(other, _)| std::ptr::eq(*other, c)).map(|(_, d)| *d)
    };
    let margin_of = |c: &Configuration| c.hard_loss().and_then(|s| s.margin(confidence));
    let loss_digits = format::common_precision(evidence.configurations.iter().filter_map(margin_of));
    let margins = groups.iter().flat_map(|g| &g.distilled).filter_map(|(_, d)| Some(d.tested?.margin));
    let difference_digits = format::common_precision(margins);
    let kind_axis = evidence.grid.keys().position(|key| key == KIND);
    for (rank, c) in evidence.configurations.iter().enumerate() {
        let mut cells = vec![match c.hard_loss() {
            Some(_) => Entry { text: (rank + 1).to_string(), sort: Some((rank + 1) as f64) },
            None => Entry::text("–"),
        }];
        let kind = kind_axis.map(|index| c.cells[index].to_string());
        cells.extend(axes.iter().map(|(index, axis)| axis_entry(axis, c, *index, kind.as_deref())));
        if axes.is_empty() || tell_baseline {
            cells.push(Entry::text(if c.is_baseline { LABELS_ALONE } else { "teacher and labels" }));
        }
        cells.push(Entry::loss(c.hard_loss().map(|s| s.mean), margin_of(c), loss_digits));
        if !groups.is_empty() {
            let difference = difference_of(c);
            cells.push(Entry::number(difference.map(|d| d.mean), |v| {
                let margin = difference.and_then(|d| d.tested).map(|t| t.margin);
                let mut text = format::signed(v, difference_digits);
                if let Some(margin) = margin {
                    text += &format!(" ± {}", format::decimals(margin, difference_digits));
                }
                text
            }));
        }
        cells.extend(
            others.iter().map(|measure| Entry::sample(measure, c.sample(&measure.column), confidence)),
        );
        cells.push(Entry::number(c.parameters, format::count));
        cells.push(Entry {
            text: if c.finished == c.planned {
                c.planned.to_string()
            } else {
                format!("{} of {}", c.finished, c.planned)
            },
            sort: Some(c.finished as f64),
        });
        let class = match (rank, c.hard_loss().is_some(), c.is_baseline) {
            (0, true, _) => "best",
            (_, _, true) => "baseline",
            _ => "",
        };
        table.rows.push(Row { class, cells });
    }
    table
}

/// The configuration of a run as text, its seed left out.
fn run_label(evidence: &Evidence, run: &CollectedRun) -> String {
    let cells = evidence.grid.axes.iter().map(|axis| axis.cell_of(&run.config)).collect::<Vec<_>>();
    evidence.grid.label(&cells)
}

fn runs(evidence: &Evidence) -> Table {
    let mut table = Table { caption: "All runs, in the order of the plan".to_owned(), ..Table::default() };
    table.column("run", false, "the first digits of an id are enough for `kdx show`");
    table.column("configuration", false, "");
    table.column("seed", true, "");
    table.column("status", false, "");
    table.column("attempt", true, "");
    let headlines: Vec<&Measure> = evidence.measures.iter().filter(|measure| measure.is_headline()).collect();
    for measure in &headlines {
        table.column(&measure.title, true, measure.hint());
    }
    table.column("tokens/s", true, "in training, evaluation left out");
    table.column("time", true, "from the start of the last attempt to its end");
    table.column("peak memory", true, "of the worker process");
    table.column("device", false, "");
    for run in &evidence.collected.runs {
        let summary = run.summary.as_ref();
        let validation = summary.filter(|_| run.is_finished()).and_then(|s| s.validation.as_ref());
        let status = run.status.as_ref();
        let mut cells = vec![
            Entry::text(run.run_id.0.chars().take(8).collect::<String>()),
            Entry::text(run_label(evidence, run)),
            Entry::number(run.seed().map(|s| s as f64), |v| v.to_string()),
            Entry::text(run.standing.as_str()),
            Entry::number(status.map(|s| f64::from(s.attempt)), |v| v.to_string()),
        ];
        cells.extend(headlines.iter().map(|measure| {
            Entry::number(validation.and_then(|v| v.value(&measure.name)), |v| measure.write(v))
        }));
        cells.extend([
            Entry::number(summary.map(|s| s.tokens_per_second), format::count),
            Entry::number(summary.map(|s| s.wall_seconds), format::seconds),
            Entry::number(summary.map(|s| s.peak_memory as f64).filter(|b| *b > 0.0), format::bytes),
            Entry::text(status.map_or("–", |s| s.device.as_str())),
        ]);
        table.rows.push(Row { class: run.standing.as_str(), cells });
    }
    table
}

struct Model {
    name: String,
    status: &'static str,
    parameters: Option<f64>,
    figures: Option<Evaluation>,
    wall_seconds: Option<f64>,
    students: usize,
}

/// The models that runs learn from, or that they start from.
fn models(evidence: &Evidence, purpose: Purpose) -> Table {
    let collected = evidence.collected;
    let mut found: Vec<Model> = Vec::new();
    for (_, teacher) in collected.needs.iter().filter(|(what_for, _)| *what_for == purpose) {
        let summary = teacher.summary.as_ref();
        let is_of = |run: &&CollectedRun| run.needed_run(purpose) == Some(&teacher.run_id);
        let students: Vec<_> = collected.runs.iter().filter(is_of).collect();
        // A teacher that was trained without held-out data of its own is measured by its students.
        let by_students = match purpose {
            Purpose::Teacher => {
                students.iter().filter_map(|r| r.summary.as_ref()).find_map(|s| s.teacher_validation.clone())
            }
            Purpose::Start => None,
        };
        found.push(Model {
            name: format!("trained by kdx, run {}", teacher.run_id.0.chars().take(8).collect::<String>()),
            status: teacher.standing.as_str(),
            parameters: summary.map(|s| s.parameters as f64),
            figures: summary.and_then(|s| s.validation.clone()).or(by_students),
            wall_seconds: summary.map(|s| s.wall_seconds),
            students: students.len(),
        });
    }
    for run in &collected.runs {
        let Some(stage) = run.record.as_ref().map(|record| record.spec.stage()) else { continue };
        let model = match purpose {
            Purpose::Teacher => stage.teachers.first().map(|teacher| &teacher.model),
            Purpose::Start => stage.start.model(),
        };
        let Some(path) = model.and_then(ModelSource::directory) else { continue };
        let name = path.display().to_string();
        let summary = run.summary.as_ref();
        let index = found.iter().position(|t| t.name == name).unwrap_or_else(|| {
            found.push(Model {
                name,
                status: "given",
                parameters: None,
                figures: None,
                wall_seconds: None,
                students: 0,
            });
            found.len() - 1
        });
        let teacher = &mut found[index];
        teacher.students += 1;
        if purpose == Purpose::Teacher {
            teacher.parameters =
                teacher.parameters.or(summary.and_then(|s| s.teacher_parameters).map(|n| n as f64));
            teacher.figures = teacher.figures.take().or(summary.and_then(|s| s.teacher_validation.clone()));
        }
    }

    let (caption, runs) = match purpose {
        Purpose::Teacher => ("Teachers", "runs of this experiment that learn from it"),
        Purpose::Start => ("Starts", "runs of this experiment that start from it"),
    };
    let mut table = Table { caption: caption.to_owned(), ..Table::default() };
    table.column(purpose.as_str(), false, "");
    table.column("status", false, "");
    table.column("parameters", true, "");
    let has =
        |m: &&Measure| found.iter().any(|t| t.figures.as_ref().is_some_and(|f| f.value(&m.name).is_some()));
    let measures: Vec<&Measure> = evidence.measures.iter().filter(has).collect();
    for measure in &measures {
        table.column(&measure.title, true, measure.hint());
    }
    table.column("training time", true, "");
    table.column("students", true, runs);
    for teacher in &found {
        let mut cells = vec![
            Entry::text(teacher.name.as_str()),
            Entry::text(teacher.status),
            Entry::number(teacher.parameters, format::count),
        ];
        cells.extend(measures.iter().map(|measure| {
            let value = teacher.figures.as_ref().and_then(|figures| figures.value(&measure.name));
            Entry::number(value, |v| measure.write(v))
        }));
        cells.extend([
            Entry::number(teacher.wall_seconds, format::seconds),
            Entry::number(Some(teacher.students as f64), |v| v.to_string()),
        ]);
        table.rows.push(Row { class: teacher.status, cells });
    }
    table
}

/// Runs that a search gave up, with how far they came.
fn stopped(evidence: &Evidence) -> Table {
    let caption = "Runs that were stopped early, as others did better".to_owned();
    let mut table = Table { caption, ..Table::default() };
    table.column("run", false, "");
    table.column("configuration", false, "");
    table.column("seed", true, "");
    table.column("steps", true, "");
    table.column(
        "hard loss by then",
        true,
        "held out, when it was last measured: not that of a finished run",
    );
    table.column("reason", false, "");
    let runs = evidence.collected.runs.iter();
    for run in runs.filter(|run| run.standing == Standing::State(RunState::Stopped)) {
        let summary = run.summary.as_ref();
        let cells = vec![
            Entry::text(run.run_id.0.clone()),
            Entry::text(run_label(evidence, run)),
            Entry::number(run.seed().map(|s| s as f64), |v| v.to_string()),
            Entry::number(summary.map(|s| s.steps as f64), |v| v.to_string()),
            Entry::number(
                summary.and_then(|s| s.validation.as_ref()?.value(metric::HARD_LOSS)),
                format::loss,
            ),
            Entry::text(run.reason().unwrap_or("not recorded")),
        ];
        table.rows.push(Row { class: run.standing.as_str(), cells });
    }
    table
}

fn failures(evidence: &Evidence) -> Table {
    let caption = "Runs that failed, diverged or cannot be read".to_owned();
    let mut table = Table { caption, ..Table::default() };
    table.column("run", false, "");
    table.column("configuration", false, "");
    table.column("seed", true, "");
    table.column("status", false, "");
    table.column("reason", false, "");
    let went_wrong = |run: &&CollectedRun| {
        matches!(run.standing, Standing::Damaged(_) | Standing::State(RunState::Failed | RunState::Diverged))
    };
    let collected = evidence.collected;
    for (run, purpose) in collected
        .runs
        .iter()
        .map(|run| (run, None))
        .chain(collected.needs.iter().map(|(purpose, run)| (run, Some(*purpose))))
        .filter(|(run, _)| went_wrong(run))
    {
        let at = run.summary.as_ref().and_then(|s| s.diverged_at).map(|step| format!("at step {step}"));
        let reason = run.reason().map(str::to_owned).or(at).unwrap_or_else(|| "not recorded".to_owned());
        let label = purpose.map_or_else(|| run_label(evidence, run), |purpose| purpose.as_str().to_owned());
        let cells = vec![
            Entry::text(run.run_id.0.clone()),
            Entry::text(label),
            Entry::number(run.seed().map(|s| s as f64), |v| v.to_string()),
            Entry::text(run.standing.as_str()),
            Entry::text(reason),
        ];
        table.rows.push(Row { class: run.standing.as_str(), cells });
    }
    table
}
