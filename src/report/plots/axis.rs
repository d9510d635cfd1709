//! Held-out hard loss along one axis, with its spread over seeds.

use plotters::prelude::*;

use super::error::DrawError;
use super::figure::{Data, Figure};
use super::panel::{Area, Direction, Entry, Mark, Panel, Titles, header, legend, level_room, mark};
use super::scale::Scale;
use super::style::{ACCENT, NEUTRAL, SEQUENCE_LENGTH, px, series_color};
use crate::report::aggregate::{self, Dot, Marginal, dots};
use crate::report::cell::Cell;
use crate::report::columns::{BASELINE, KIND};
use crate::report::error::ReportError;
use crate::report::format;
use crate::report::grid::{Axis, LABELS_ALONE, Spacing};

/// Held-out hard loss along one axis.
pub struct AxisPlot {
    axis: Axis,
    series: Option<Axis>,
    marginals: Vec<Marginal>,
    dots: Vec<Dot>,
    /// The mean of the students that learn from labels alone, on axes where they have no place.
    baseline: Option<f64>,
    others: Vec<String>,
}

/// Runs beyond which single ones are no longer drawn.
const MOST_DOTS: usize = 600;

impl AxisPlot {
    /// None if there are not two values with finished runs.
    pub fn of(data: &Data, axis: &Axis) -> Result<Option<Self>, ReportError> {
        let grid = data.evidence.grid;
        let (series, marginals) = with_series(data, axis)?;
        let series = series.as_ref();
        let mut values: Vec<&Cell> = Vec::new();
        for marginal in &marginals {
            if !values.contains(&&marginal.x) {
                values.push(&marginal.x);
            }
        }
        if values.len() < 2 {
            return Ok(None);
        }
        let mut dots = dots(data.runs, axis, series)?;
        // Where every mark is a run, dots would say the same again.
        if dots.len() > MOST_DOTS || dots.len() == marginals.len() {
            dots.clear();
        }
        let baselines: Vec<f64> = data
            .evidence
            .configurations
            .iter()
            .filter(|c| c.is_baseline && axis.is_of_loss())
            .filter_map(|c| Some(c.hard_loss()?.mean))
            .collect();
        let baseline =
            (!baselines.is_empty()).then(|| baselines.iter().sum::<f64>() / baselines.len() as f64);
        let mut others = Vec::new();
        for other in grid.varied().filter(|a| a.key != axis.key && Some(&a.key) != series.map(|s| &s.key)) {
            // What moves with this axis is not averaged over.
            if along(data, axis, Some(other))?.len() > values.len() {
                others.push(other.name.clone());
            }
        }
        Ok(Some(Self { axis: axis.clone(), series: series.cloned(), marginals, dots, baseline, others }))
    }

    fn series_cells(&self) -> Vec<Cell> {
        self.series.as_ref().map_or_else(|| vec![Cell::Null], |axis| axis.cells.clone())
    }

    fn style(&self, index: usize) -> (RGBColor, Mark) {
        match &self.series {
            None => (ACCENT, Mark::Circle),
            Some(axis) if axis.key == BASELINE && index == 1 => (NEUTRAL, Mark::Square),
            Some(axis) => {
                let ordered = axis.spacing != Spacing::Category;
                (series_color(index, axis.cells.len(), ordered), Mark::of_series(index))
            }
        }
    }

    fn losses(&self) -> impl Iterator<Item = f64> {
        let means = self.marginals.iter().flat_map(|m| {
            let std = m.sample.std.unwrap_or(0.0);
            [m.sample.mean - std, m.sample.mean + std]
        });
        means.chain(self.dots.iter().map(|d| d.y)).chain(self.baseline)
    }

    fn is_horizontal(&self) -> bool {
        self.axis.spacing == Spacing::Category
    }

    /// Values on the axis that have figures, in the order in which they are drawn: categories by
    /// their best mean, so that the eye finds the order.
    fn shown(&self) -> Vec<Cell> {
        let best = |cell: &Cell| {
            let of_cell = self.marginals.iter().filter(|m| m.x == *cell).map(|m| m.sample.mean);
            of_cell.min_by(f64::total_cmp)
        };
        let mut cells: Vec<Cell> =
            self.axis.cells.iter().filter(|cell| best(cell).is_some()).cloned().collect();
        if self.is_horizontal() {
            cells.sort_by(|a, b| best(a).unwrap_or(f64::MAX).total_cmp(&best(b).unwrap_or(f64::MAX)));
        }
        cells
    }
}

/// The axis whose values become series, with the means along both: distilled or not, where the axis
/// holds both; else the loss kind, else the first with few enough values. Axes that move together
/// with this one would give series of single points, and are passed over.
fn with_series(data: &Data, axis: &Axis) -> Result<(Option<Axis>, Vec<Marginal>), ReportError> {
    let evidence = data.evidence;
    let mut candidates: Vec<Axis> = Vec::new();
    let is_measured = |baseline: bool| {
        evidence.configurations.iter().any(|c| c.is_baseline == baseline && c.hard_loss().is_some())
    };
    if !axis.is_of_loss() && is_measured(true) && is_measured(false) {
        candidates.push(Axis::of_training());
    }
    let fits = |a: &&Axis| {
        let most = if a.spacing == Spacing::Category { 7 } else { SEQUENCE_LENGTH };
        a.key != axis.key && a.cells.len() <= most
    };
    let mut others: Vec<&Axis> = evidence.grid.varied().filter(fits).collect();
    others.sort_by_key(|a| a.key != KIND);
    candidates.extend(others.into_iter().cloned());
    for series in candidates {
        let found = along(data, axis, Some(&series))?;
        let (full, longest) =
            (axis.cells.len() * series.cells.len(), axis.cells.len().max(series.cells.len()));
        if found.len() > longest && found.len() * 2 >= full {
            return Ok((Some(series), found));
        }
    }
    Ok((None, along(data, axis, None)?))
}

fn along(data: &Data, axis: &Axis, series: Option<&Axis>) -> Result<Vec<Marginal>, ReportError> {
    Ok(aggregate::marginals(data.runs, axis, series)?)
}

impl Figure for AxisPlot {
    fn size(&self) -> (i32, i32) {
        if self.is_horizontal() {
            let rows = self.shown().len() as i32;
            let row = (self.series_cells().len() as i32 * 13 + 14).max(34);
            (880, 150 + rows * row)
        } else {
            (880, 420)
        }
    }

    fn title(&self) -> String {
        format!("Held-out hard loss by {}", self.axis.name)
    }

    fn caption(&self) -> String {
        let has_spread = self.marginals.iter().any(|m| m.sample.std.is_some());
        let mut text = match (has_spread, self.others.is_empty()) {
            (true, true) => "Marks: mean over seeds".to_owned(),
            (true, false) => format!("Marks: mean over seeds (and over {})", format::list(&self.others)),
            (false, true) => "One run each; one seed shows no spread".to_owned(),
            (false, false) => format!("Marks: mean over {}", format::list(&self.others)),
        };
        if has_spread {
            text += "; bars: ± one standard deviation over seeds";
        }
        if !self.dots.is_empty() {
            text += "; faint dots: single runs";
        }
        text + "."
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), DrawError> {
        let rest = header(area, &self.title(), &self.caption())?;
        let cells = self.series_cells();
        let mut entries: Vec<Entry> = Vec::new();
        if let Some(series) = &self.series {
            for (index, label) in series.labels.iter().enumerate() {
                let (color, mark) = self.style(index);
                entries.push(Entry { label: label.clone(), color, mark });
            }
        }
        let title = self.series.as_ref().map_or("", |s| s.name.as_str());
        let rest = legend(&rest, title, &entries)?;

        let shown = self.shown();
        let labels: Vec<String> = shown.iter().map(|cell| self.axis.text(cell)).collect();
        let loss = Scale::linear(self.losses(), 6).unwrap_or_else(|| Scale::categories(&[]));
        let loss_title = "held-out hard loss (nats a token)";
        let panel = if self.is_horizontal() {
            let rows = Scale::categories(&labels).reversed();
            Panel::new(&rest, loss, rows, &Titles { x: loss_title, is_rows: true, ..Titles::default() })?
        } else {
            let values: Vec<f64> = shown.iter().filter_map(Cell::number).collect();
            let is_log = self.axis.spacing == Spacing::Log;
            let x = Scale::at(&values, is_log, &labels).unwrap_or_else(|| Scale::categories(&labels));
            let title = format!("{}{}", self.axis.title, if is_log { ", log scale" } else { "" });
            let right = if self.baseline.is_some() { level_room(&rest, LABELS_ALONE)? } else { 0 };
            Panel::new(&rest, x, loss, &Titles { x: &title, y: loss_title, right, ..Titles::default() })?
        };
        if let Some(level) = self.baseline {
            self.draw_baseline(&panel, level)?;
        }
        for (index, cell) in cells.iter().enumerate() {
            let (color, kind) = self.style(index);
            // Series stand beside each other, so that their bars do not cover each other.
            let step = if self.is_horizontal() { px(13) } else { px(9) };
            let dodge = (index as i32 * 2 - (cells.len() as i32 - 1)) * step / 2;
            self.draw_series(&panel, &shown, cell, dodge, color, kind)?;
        }
        Ok(())
    }
}

impl AxisPlot {
    fn draw_baseline<DB: DrawingBackend>(&self, panel: &Panel<DB>, level: f64) -> Result<(), DrawError> {
        if !self.is_horizontal() {
            return panel.level(level, NEUTRAL, LABELS_ALONE);
        }
        let x = panel.x_at(level);
        let (top, bottom) = panel.y_pixels;
        super::panel::dashed(&panel.area, &[(x, top), (x, bottom)], NEUTRAL.stroke_width(px(3) as u32 / 2))?;
        super::panel::beside(panel, x, top, LABELS_ALONE, NEUTRAL)
    }

    fn draw_series<DB: DrawingBackend>(
        &self,
        panel: &Panel<DB>,
        shown: &[Cell],
        series: &Cell,
        dodge: i32,
        color: RGBColor,
        kind: Mark,
    ) -> Result<(), DrawError> {
        let place = |x: &Cell, y: f64| -> Option<(i32, i32)> {
            if self.is_horizontal() {
                let row = shown.iter().position(|cell| cell == x)?;
                Some((panel.x_at(y), panel.y_at(row as f64) + dodge))
            } else {
                Some((panel.x_at(x.number()?) + dodge, panel.y_at(y)))
            }
        };
        // Beside the bar, which would cover them.
        let (right, down) = if self.is_horizontal() { (0, px(5)) } else { (px(4), 0) };
        let faint = color.mix(0.35).filled();
        for dot in self.dots.iter().filter(|dot| dot.series == *series) {
            if let Some((x, y)) = place(&dot.x, dot.y) {
                mark(&panel.area, Mark::Circle, (x + right, y + down), px(2), faint)?;
            }
        }
        let mut means: Vec<&Marginal> = self.marginals.iter().filter(|m| m.series == *series).collect();
        means.sort_by(|a, b| a.x.order(&b.x));
        if !self.is_horizontal() {
            let line: Vec<_> = means.iter().filter_map(|m| place(&m.x, m.sample.mean)).collect();
            panel.area.draw(&PathElement::new(line, color.mix(0.55).stroke_width(px(2) as u32)))?;
        }
        for marginal in means {
            let Some(at) = place(&marginal.x, marginal.sample.mean) else { continue };
            if let Some(std) = marginal.sample.std {
                let ends = (marginal.sample.mean - std, marginal.sample.mean + std);
                let (along, direction) =
                    if self.is_horizontal() { (at.1, Direction::Across) } else { (at.0, Direction::Down) };
                panel.error_bar(along, ends, direction, color.stroke_width(px(3) as u32 / 2))?;
            }
            mark(&panel.area, kind, at, px(9) / 2, color.filled())?;
        }
        Ok(())
    }
}
