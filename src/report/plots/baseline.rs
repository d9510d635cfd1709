//! Distilled students beside the same students trained on labels alone.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::error::DrawError;
use super::figure::{Data, Figure};
use super::panel::{Area, Direction, Entry, Mark, Panel, Titles, dashed, header, legend, mark};
use super::scale::Scale;
use super::style::{ACCENT, MUTED, NEUTRAL, Type, px, text};
use crate::report::findings::{confidence_text, student_groups};
use crate::report::format;
use crate::report::grid::LABELS_ALONE;
use crate::report::statistics::{Difference, Sample};

/// Distilled students beside their baselines.
pub struct Baseline {
    rows: Vec<Row>,
    left_out: usize,
    confidence: f64,
}

struct Row {
    label: String,
    is_baseline: bool,
    seeds: Vec<f64>,
    sample: Sample,
    /// To the baseline of the same student.
    difference: Option<Difference>,
}

/// Rows of the figure at most, over all students.
const MOST_ROWS: usize = 24;

impl Baseline {
    /// None if no student has both a finished baseline and a finished distilled configuration.
    pub fn of(data: &Data) -> Option<Self> {
        let confidence = data.evidence.confidence;
        let groups = student_groups(data.evidence.grid, data.evidence.configurations, confidence);
        let each = (MOST_ROWS / groups.len().max(1)).max(3) - 1;
        let mut rows = Vec::new();
        let mut left_out = 0;
        for group in &groups {
            let losses = |values: &[(u64, f64)]| values.iter().map(|(_, v)| *v).collect();
            rows.push(Row {
                label: group.baseline.label.clone(),
                is_baseline: true,
                seeds: losses(group.baseline.hard_losses()),
                sample: group.baseline.hard_loss()?,
                difference: None,
            });
            for (configuration, difference) in group.distilled.iter().take(each) {
                rows.push(Row {
                    label: configuration.label.clone(),
                    is_baseline: false,
                    seeds: losses(configuration.hard_losses()),
                    sample: configuration.hard_loss()?,
                    difference: Some(*difference),
                });
            }
            left_out += group.distilled.len().saturating_sub(each);
        }
        (!rows.is_empty()).then_some(Self { rows, left_out, confidence })
    }

    fn has_tests(&self) -> bool {
        self.rows.iter().any(|row| row.difference.is_some_and(|d| d.tested.is_some()))
    }

    /// What the right panel must show. An interval of two seeds can be many times as wide as all
    /// the differences: it may leave the panel.
    fn difference_range(&self) -> (f64, f64) {
        let differences = || self.rows.iter().filter_map(|row| row.difference);
        let largest = differences().map(|d| d.mean.abs()).fold(0.0, f64::max);
        let room = if largest > 0.0 { largest * 2.5 } else { 1.0 };
        let mut ends = (0.0f64, 0.0f64);
        for d in differences() {
            let margin = d.tested.map_or(0.0, |t| t.margin);
            ends.0 = ends.0.min((d.mean - margin).max(-room));
            ends.1 = ends.1.max((d.mean + margin).min(room));
        }
        ends
    }
}

impl Figure for Baseline {
    fn size(&self) -> (i32, i32) {
        (880, 170 + self.rows.len() as i32 * 26)
    }

    fn title(&self) -> String {
        "Distilled students against labels alone".to_owned()
    }

    fn caption(&self) -> String {
        let mut text = "Left: held-out hard loss, one dot a seed, the mark is their mean. Right: difference \
                        to the same student trained on labels alone"
            .to_owned();
        if self.has_tests() {
            text += &format!(" with its {} interval", confidence_text(self.confidence));
        } else {
            text += "; one seed allows no interval";
        }
        text += ". Left of zero is better.";
        if self.left_out > 0 {
            let noun = format::plural(self.left_out, "worse configuration");
            text += &format!(" {noun} not shown.");
        }
        text
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), DrawError> {
        let rest = header(area, &self.title(), &self.caption())?;
        let entry = |label: &str, color, mark| Entry { label: label.to_owned(), color, mark };
        let entries = [entry("distilled", ACCENT, Mark::Circle), entry(LABELS_ALONE, NEUTRAL, Mark::Square)];
        let rest = legend(&rest, "", &entries)?;
        let width = rest.dim_in_pixel().0 as i32;
        let (left, right) = rest.split_horizontally(width * 62 / 100);

        let labels: Vec<String> = self.rows.iter().map(|row| row.label.clone()).collect();
        let rows = || Scale::categories(&labels).reversed();
        let losses = self.rows.iter().flat_map(|row| row.seeds.iter().copied());
        let losses = Scale::linear(losses, 3).unwrap_or_else(|| Scale::categories(&[]));
        let titles = Titles { x: "held-out hard loss (nats a token)", is_rows: true, ..Titles::default() };
        let panel = Panel::new(&left, losses, rows(), &titles)?;
        for (index, row) in self.rows.iter().enumerate() {
            let (color, kind) =
                if row.is_baseline { (NEUTRAL, Mark::Square) } else { (ACCENT, Mark::Circle) };
            let y = panel.y_at(index as f64);
            for seed in &row.seeds {
                mark(&panel.area, Mark::Circle, (panel.x_at(*seed), y), px(5) / 2, color.mix(0.4).filled())?;
            }
            mark(&panel.area, kind, (panel.x_at(row.sample.mean), y), px(9) / 2, color.filled())?;
        }
        self.draw_differences(&right, rows())
    }
}

impl Baseline {
    fn draw_differences<DB: DrawingBackend>(&self, area: &Area<DB>, rows: Scale) -> Result<(), DrawError> {
        let (low, high) = self.difference_range();
        let x = Scale::linear([low, high], 3).unwrap_or_else(|| Scale::categories(&[]));
        let numbers = px(118);
        let titles =
            Titles { x: "difference (nats a token)", is_rows: true, right: numbers, ..Titles::default() };
        // The rows have their names on the left.
        let mut unnamed = rows;
        unnamed.ticks.clear();
        let panel = Panel::new(area, x, unnamed, &titles)?;
        let zero = panel.x_at(0.0);
        let (top, bottom) = panel.y_pixels;
        dashed(&panel.area, &[(zero, top), (zero, bottom)], NEUTRAL.stroke_width(px(3) as u32 / 2))?;
        let style = text(Type::Small, MUTED, HPos::Left, VPos::Center);
        let margins = self.rows.iter().filter_map(|row| Some(row.difference?.tested?.margin));
        let digits = format::common_precision(margins);
        for (index, row) in self.rows.iter().enumerate() {
            let Some(difference) = row.difference else { continue };
            let y = panel.y_at(index as f64);
            let at = (panel.x_at(difference.mean), y);
            let margin = difference.tested.map(|t| t.margin);
            if let Some(margin) = margin {
                let ends = (difference.mean - margin, difference.mean + margin);
                panel.error_bar(y, ends, Direction::Across, ACCENT.stroke_width(px(3) as u32 / 2))?;
            }
            mark(&panel.area, Mark::Circle, at, px(9) / 2, ACCENT.filled())?;
            let mut label = format::signed(difference.mean, digits);
            if let Some(margin) = margin {
                label += &format!(" ± {}", format::decimals(margin, digits));
            }
            panel.area.draw_text(&label, &style, (panel.x_pixels.1 + px(10), y))?;
        }
        Ok(())
    }
}
