//! Parameters against held-out hard loss, with the teacher as reference.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::error::DrawError;
use super::figure::{Data, Figure};
use super::panel::{Area, Direction, Entry, Mark, Panel, Titles, header, legend, level_room, mark};
use super::scale::Scale;
use super::style::{ACCENT, NEUTRAL, TEACHER, Type, px, text};
use crate::report::aggregate::Configuration;
use crate::report::format;
use crate::report::grid::LABELS_ALONE;
use crate::report::statistics::Sample;
use crate::spec::metric::HARD_LOSS;

/// Parameters against held-out hard loss.
pub struct SizePlot {
    /// By size: the best distilled configuration.
    distilled: Vec<(f64, Sample)>,
    /// By size: the best of those that learn from labels alone.
    baseline: Vec<(f64, Sample)>,
    /// Every configuration.
    dots: Vec<(f64, f64)>,
    /// Size and hard loss of the teachers.
    teachers: Vec<(f64, f64)>,
}

impl SizePlot {
    /// None if there are not students of two sizes.
    pub fn of(data: &Data) -> Option<Self> {
        let configurations = data.evidence.configurations;
        let measured = |baseline: bool| {
            let of_kind = configurations.iter().filter(move |c| c.is_baseline == baseline);
            of_kind.filter_map(|c: &Configuration| Some((c.parameters?, c.hard_loss()?)))
        };
        let dots: Vec<_> = measured(false).chain(measured(true)).map(|(size, s)| (size, s.mean)).collect();
        let mut teachers: Vec<(f64, f64)> = Vec::new();
        let summaries = data
            .evidence
            .collected
            .runs
            .iter()
            .filter(|r| r.is_finished())
            .filter_map(|r| r.summary.as_ref());
        for summary in summaries {
            let loss = summary.teacher_validation.as_ref().and_then(|figures| figures.value(HARD_LOSS));
            let (Some(size), Some(loss)) = (summary.teacher_parameters, loss) else { continue };
            let teacher = (size as f64, loss);
            if !teachers.iter().any(|t| t.0 == teacher.0 && (t.1 - teacher.1).abs() < 1e-3 * t.1.abs()) {
                teachers.push(teacher);
            }
        }
        let mut sizes: Vec<f64> = dots.iter().map(|(size, _)| *size).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        if sizes.len() < 2 {
            return None;
        }
        let (distilled, baseline) = (best_by_size(measured(false)), best_by_size(measured(true)));
        Some(Self { distilled, baseline, dots, teachers })
    }
}

fn best_by_size(points: impl Iterator<Item = (f64, Sample)>) -> Vec<(f64, Sample)> {
    let mut best: Vec<(f64, Sample)> = Vec::new();
    for (size, sample) in points {
        match best.iter_mut().find(|(known, _)| *known == size) {
            Some((_, known)) if sample.mean < known.mean => *known = sample,
            Some(_) => {}
            None => best.push((size, sample)),
        }
    }
    best.sort_by(|a, b| a.0.total_cmp(&b.0));
    best
}

impl Figure for SizePlot {
    fn size(&self) -> (i32, i32) {
        (880, 400)
    }

    fn title(&self) -> String {
        "Size against quality".to_owned()
    }

    fn caption(&self) -> String {
        let mut text = "Marks: the best configuration of each size, mean over seeds".to_owned();
        if self.distilled.iter().chain(&self.baseline).any(|(_, s)| s.std.is_some()) {
            text += " ± one standard deviation";
        }
        text + "; faint dots: all configurations."
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), DrawError> {
        let rest = header(area, &self.title(), &self.caption())?;
        let series = [
            ("distilled", ACCENT, Mark::Circle, &self.distilled),
            (LABELS_ALONE, NEUTRAL, Mark::Square, &self.baseline),
        ];
        let mut entries: Vec<Entry> = Vec::new();
        for (label, color, mark, points) in &series {
            if !points.is_empty() {
                entries.push(Entry { label: (*label).to_owned(), color: *color, mark: *mark });
            }
        }
        if !self.teachers.is_empty() {
            entries.push(Entry { label: "teacher".to_owned(), color: TEACHER, mark: Mark::Diamond });
        }
        let rest = legend(&rest, "", &entries)?;

        let all = || self.distilled.iter().chain(&self.baseline);
        let sizes = self.dots.iter().chain(&self.teachers).map(|(size, _)| *size);
        let spread = all().flat_map(|(_, s)| [s.mean - s.std.unwrap_or(0.0), s.mean + s.std.unwrap_or(0.0)]);
        let losses = spread.chain(self.dots.iter().chain(&self.teachers).map(|(_, loss)| *loss));
        let empty = || Scale::categories(&[]);
        let x = Scale::log(sizes, format::short_count).unwrap_or_else(empty);
        let y = Scale::linear(losses, 6).unwrap_or_else(empty);
        let right = if self.teachers.len() == 1 { level_room(&rest, "teacher")? } else { 0 };
        let titles = Titles {
            right,
            x: "trained parameters, log scale",
            y: "held-out hard loss (nats a token)",
            ..Titles::default()
        };
        let panel = Panel::new(&rest, x, y, &titles)?;

        if let [(_, loss)] = self.teachers[..] {
            panel.level(loss, TEACHER, "teacher")?;
        }
        for (size, loss) in &self.dots {
            mark(&panel.area, Mark::Circle, panel.at(*size, *loss), px(2), NEUTRAL.mix(0.35).filled())?;
        }
        for (_, color, kind, points) in series {
            let line: Vec<_> = points.iter().map(|(size, s)| (*size, s.mean)).collect();
            panel.line(&line, color.mix(0.55).stroke_width(px(3) as u32 / 2))?;
            for (size, sample) in points {
                let at = panel.at(*size, sample.mean);
                if let Some(std) = sample.std {
                    let ends = (sample.mean - std, sample.mean + std);
                    panel.error_bar(at.0, ends, Direction::Down, color.stroke_width(px(3) as u32 / 2))?;
                }
                mark(&panel.area, kind, at, px(5), color.filled())?;
            }
        }
        let label = text(Type::Small, TEACHER, HPos::Center, VPos::Top);
        for (size, loss) in &self.teachers {
            let at = panel.at(*size, *loss);
            mark(&panel.area, Mark::Diamond, at, px(6), TEACHER.filled())?;
            if self.teachers.len() > 1 {
                panel.area.draw_text(&format::short_count(*size), &label, (at.0, at.1 + px(9)))?;
            }
        }
        Ok(())
    }
}
