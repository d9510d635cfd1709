//! A metric over the steps of training, and held out.

use plotters::prelude::*;
use polars::prelude::*;

use super::curve_tables::{Row, Tables, read};
use super::error::DrawError;
use super::figure::{Data, Figure};
use super::panel::{Area, Entry, Mark, Panel, Titles, header, legend, mark};
use super::scale::Scale;
use super::style::{ACCENT, NEUTRAL, PAPER, SEQUENCE_LENGTH, TEACHER, px, series_color};
use crate::report::cell::Cell;
use crate::report::columns::{HARD_LOSS, KIND};
use crate::report::error::ReportError;
use crate::report::format;
use crate::report::grid::{Axis, LABELS_ALONE, Spacing};
use crate::report::measure::Measure;
use crate::spec::Better;

/// A metric over the steps, a panel for each loss kind, a colour for each value of another axis.
pub struct Curves {
    measure: Measure,
    panels: Vec<PanelData>,
    color: Option<Axis>,
    entries: Vec<Entry>,
    window: u64,
    /// Whether training measures it as well; if not, what is held out is drawn as lines.
    has_training: bool,
    has_single_runs: bool,
    has_validation: bool,
    has_diverged: bool,
}

#[derive(Default)]
struct PanelData {
    title: String,
    thin: Vec<Line>,
    bold: Vec<Line>,
    /// Held-out figures.
    dots: Vec<Line>,
    /// The last points of runs that diverged.
    ends: Vec<(f64, f64)>,
}

impl PanelData {
    fn shows(&self, color: RGBColor) -> bool {
        self.thin.iter().chain(&self.bold).chain(&self.dots).any(|line| line.color == color)
    }
}

struct Line {
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Points of a curve: a training loss is averaged over windows of steps down to this many.
const POINTS: u64 = 120;
/// Runs beyond which single ones are no longer drawn.
const MOST_LINES: usize = 60;
/// Panels beyond which kinds share one.
const MOST_PANELS: usize = 9;

impl Curves {
    /// None without measurements, and where what is held out was measured only once.
    pub fn of(data: &Data, measure: &Measure) -> Result<Option<Self>, ReportError> {
        if data.metrics.column(&measure.name).is_err() {
            return Ok(None);
        }
        let Some(last) = data.metrics.column("step")?.u64()?.max() else { return Ok(None) };
        let varied: Vec<&Axis> = data.evidence.grid.varied().collect();
        let of_kind = |a: &&&Axis| a.key == KIND && a.cells.len() < MOST_PANELS && varied.len() > 1;
        let facet = varied.iter().find(of_kind).copied();
        let color = varied.iter().find(|a| facet.is_none_or(|f| f.key != a.key)).copied();
        let window = last.div_ceil(POINTS).max(1);
        let tables = Tables::query(data, &measure.name, facet, color, window)?;
        let has_training = tables.single.height() > 0;
        if !has_training && tables.validation.column("x")?.n_unique()? < 2 {
            return Ok(None);
        }

        let mut curves = Self {
            measure: measure.clone(),
            panels: Vec::new(),
            color: color.cloned(),
            entries: Vec::new(),
            window,
            has_training,
            has_single_runs: false,
            has_validation: false,
            has_diverged: false,
        };
        curves.add_panels(&tables, facet)?;
        curves.panels.retain(|p| !(p.thin.is_empty() && p.bold.is_empty() && p.dots.is_empty()));
        if curves.panels.is_empty() {
            return Ok(None);
        }
        curves.has_validation = curves.panels.iter().any(|p| !p.dots.is_empty());
        curves.has_single_runs = curves.panels.iter().any(|p| !p.thin.is_empty());
        curves.has_diverged = curves.panels.iter().any(|p| !p.ends.is_empty());
        curves.add_entries(&tables);
        Ok(Some(curves))
    }

    fn series_style(&self, cell: &Cell) -> RGBColor {
        match &self.color {
            None => ACCENT,
            Some(axis) => match axis.index(cell) {
                Some(i) => series_color(i, axis.cells.len(), axis.spacing != Spacing::Category),
                None => NEUTRAL,
            },
        }
    }

    /// Whether students without a soft loss are a grey reference in every panel: they have no
    /// place on an axis of the loss. On other axes they have colours, and a panel, of their own.
    fn baseline_is_reference(&self) -> bool {
        self.color.as_ref().is_none_or(Axis::is_of_loss)
    }

    fn add_panels(&mut self, tables: &Tables, facet: Option<&Axis>) -> PolarsResult<()> {
        let reference = self.baseline_is_reference();
        let mut kinds: Vec<(Cell, String)> = match facet {
            Some(axis) => axis.cells.iter().cloned().zip(axis.labels.iter().cloned()).collect(),
            None => vec![(Cell::Null, String::new())],
        };
        if !reference && tables.has_baseline()? {
            if facet.is_none() {
                kinds[0].1 = "distilled".to_owned();
            }
            kinds.push((Cell::Text(LABELS_ALONE.to_owned()), LABELS_ALONE.to_owned()));
        }
        for (kind, title) in kinds {
            let alone = kind == Cell::Text(LABELS_ALONE.to_owned());
            let here = |row: &Row| match (row.has_soft_loss, reference) {
                (true, _) => !alone && (facet.is_none() || row.facet == kind),
                (false, true) => true,
                (false, false) => alone,
            };
            let color = |row: &Row| {
                if reference && !row.has_soft_loss { NEUTRAL } else { self.series_style(&row.color) }
            };
            let mut panel = PanelData { title, ..PanelData::default() };
            if tables.runs <= MOST_LINES {
                let rows = read(&tables.single)?;
                panel.thin = lines(&rows, &here, &color, |row| row.run_id.clone());
                let is_diverged = |row: &&Row| here(row) && row.status.as_deref() == Some("diverged");
                for row in rows.iter().filter(is_diverged) {
                    let later = rows.iter().any(|other| other.run_id == row.run_id && other.x > row.x);
                    if !later {
                        panel.ends.push((row.x, row.y));
                    }
                }
            }
            let key = |row: &Row| Some(format!("{:?} {}", row.color, row.has_soft_loss));
            let mut means = read(&tables.mean)?;
            let mut held_out = read(&tables.validation)?;
            // In the order of the legend, so that the same colour lies on top in every panel.
            for rows in [&mut means, &mut held_out] {
                rows.sort_by(|a, b| a.color.order(&b.color));
            }
            panel.bold = lines(&means, &here, &color, key);
            panel.dots = lines(&held_out, &here, &color, key);
            if !self.has_training {
                panel.bold = lines(&held_out, &here, &color, key);
            }
            // Where every mean is of one run, thin lines would say the same again.
            if panel.thin.len() == panel.bold.len() {
                panel.thin.clear();
            }
            self.panels.push(panel);
        }
        Ok(())
    }

    fn add_entries(&mut self, tables: &Tables) {
        if let Some(axis) = &self.color {
            let ordered = axis.spacing != Spacing::Category;
            let count = axis.cells.len();
            let step = count.div_ceil(SEQUENCE_LENGTH);
            for (index, label) in
                axis.labels.iter().enumerate().filter(|(i, _)| i % step == 0 || i + 1 == count)
            {
                let color = series_color(index, count, ordered);
                if !self.panels.iter().any(|panel| panel.shows(color)) {
                    continue;
                }
                self.entries.push(Entry { label: label.clone(), color, mark: Mark::Line });
            }
        }
        let neutral = |label: &str, mark| Entry { label: label.to_owned(), color: NEUTRAL, mark };
        if self.baseline_is_reference() && tables.has_baseline().unwrap_or(false) {
            self.entries.push(neutral(LABELS_ALONE, Mark::Line));
        }
        if self.has_diverged {
            self.entries.push(Entry { label: "diverged".to_owned(), color: TEACHER, mark: Mark::Cross });
        }
    }
}

/// The rows that belong here as lines, one for each key, in the order in which they come.
fn lines(
    rows: &[Row],
    here: &impl Fn(&Row) -> bool,
    color: &impl Fn(&Row) -> RGBColor,
    key: impl Fn(&Row) -> Option<String>,
) -> Vec<Line> {
    let mut keys: Vec<Option<String>> = Vec::new();
    let mut lines: Vec<Line> = Vec::new();
    for row in rows.iter().filter(|row| here(row)) {
        let key = key(row);
        let point = (row.x, row.y);
        match keys.iter().position(|known| *known == key) {
            Some(index) => lines[index].points.push(point),
            None => {
                keys.push(key);
                lines.push(Line { color: color(row), points: vec![point] });
            }
        }
    }
    lines
}

impl Curves {
    fn columns(&self) -> usize {
        match self.panels.len() {
            1 => 1,
            2 | 4 => 2,
            _ => 3,
        }
    }

    /// The top of the panels. Training begins far above where it ends, and on a scale that shows
    /// its beginning all ends look the same: the first fifth may leave the panels.
    fn highest(&self) -> f64 {
        let mut losses: Vec<f64> = self.values().map(|(_, y)| y).collect();
        losses.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (losses.first(), losses.last()) else { return f64::INFINITY };
        let fifth = losses[(losses.len() - 1) * 4 / 5];
        let top = fifth + 0.35 * (fifth - low);
        let is_loss = self.measure.info.better == Some(Better::Lower);
        if is_loss && *high > low + 1.5 * (top - low) { top } else { *high }
    }

    fn values(&self) -> impl Iterator<Item = (f64, f64)> {
        let lines = self.panels.iter().flat_map(|p| p.thin.iter().chain(&p.bold).chain(&p.dots));
        lines.flat_map(|line| line.points.iter().copied())
    }
}

impl Figure for Curves {
    fn size(&self) -> (i32, i32) {
        let rows = self.panels.len().div_ceil(self.columns()) as i32;
        (880, 120 + rows * if self.columns() == 1 { 340 } else { 260 })
    }

    fn title(&self) -> String {
        let of = match self.measure.column.as_str() {
            HARD_LOSS => String::new(),
            _ => format!(" of {}", self.measure.title),
        };
        let by = self.color.as_ref().map_or(String::new(), |axis| format!(" by {}", axis.name));
        format!("Learning curves{of}{by}")
    }

    fn caption(&self) -> String {
        let metric = format::capitalized(&self.measure.title);
        if !self.has_training {
            return format!("{metric}, held out: means over runs.");
        }
        let mut text = format!("{metric}. Lines: training");
        if self.window > 1 {
            text += &format!(", mean over {}", format::plural(self.window as usize, "step"));
        }
        if self.has_single_runs {
            text += ", thin for single runs and bold for means over finished ones";
        }
        if self.has_validation {
            text += "; dots: held out";
        }
        if self.highest() < self.values().map(|(_, y)| y).fold(f64::NEG_INFINITY, f64::max) {
            text += ". The first steps lie above the panel";
        }
        text + "."
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), DrawError> {
        let rest = header(area, &self.title(), &self.caption())?;
        let name = self.color.as_ref().map_or("", |axis| axis.name.as_str());
        let rest = legend(&rest, name, &self.entries)?;

        let x = Scale::linear(self.values().map(|(x, _)| x), 5).unwrap_or_else(|| Scale::categories(&[]));
        let highest = self.highest();
        let losses = self.values().map(|(_, y)| y.min(highest));
        let y = Scale::linear(losses, 5).unwrap_or_else(|| Scale::categories(&[]));
        let y_title = self.measure.title_with_unit();

        let columns = self.columns();
        let rows = self.panels.len().div_ceil(columns);
        for (index, (cell, data)) in rest.split_evenly((rows, columns)).iter().zip(&self.panels).enumerate() {
            let titles = Titles {
                panel: &data.title,
                x: if index + columns >= self.panels.len() { "optimizer step" } else { "" },
                y: if index % columns == 0 { y_title.as_str() } else { "" },
                ..Titles::default()
            };
            let panel = Panel::new(cell, x.clone(), y.clone(), &titles)?;
            for line in &data.thin {
                panel.line(&line.points, line.color.mix(0.3).stroke_width(px(1) as u32))?;
            }
            for line in &data.bold {
                panel.line(&line.points, line.color.stroke_width(px(2) as u32))?;
            }
            for line in &data.dots {
                // A ring of background keeps dots apart that lie on lines and on each other.
                for (x, y) in line.points.iter().filter(|(_, y)| panel.holds(*y)) {
                    mark(&panel.area, Mark::Circle, panel.at(*x, *y), px(9) / 2, PAPER.filled())?;
                    mark(&panel.area, Mark::Circle, panel.at(*x, *y), px(7) / 2, line.color.filled())?;
                }
            }
            for (x, y) in data.ends.iter().map(|(x, y)| (x, y.min(highest))) {
                mark(&panel.area, Mark::Cross, panel.at(*x, y), px(4), TEACHER.stroke_width(px(2) as u32))?;
            }
        }
        Ok(())
    }
}
