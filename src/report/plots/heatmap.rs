//! Mean held-out hard loss over two axes.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::error::DrawError;
use super::figure::{Data, Figure};
use super::panel::{Area, Panel, Titles, header, measure};
use super::scale::Scale;
use super::style::{INK, MUTED, Type, heat as heat_color, on_color, px, text};
use crate::report::aggregate;
use crate::report::error::ReportError;
use crate::report::format;
use crate::report::grid::{Axis, Spacing};

/// Mean held-out hard loss over two axes.
pub struct HeatMap {
    columns: Axis,
    rows: Axis,
    /// Column, row, mean.
    cells: Vec<(usize, usize, f64)>,
    others: Vec<String>,
    /// Whether the experiment has students that are not distilled, which the map leaves out.
    is_mixed: bool,
}

/// Values of an axis beyond which a heat map is too fine to read.
const MOST_VALUES: usize = 24;

impl HeatMap {
    /// None for axes that move together, or that have too few finished runs for a picture.
    pub fn of(data: &Data, a: &Axis, b: &Axis) -> Result<Option<Self>, ReportError> {
        // Names have more room beside the rows than below the columns.
        let length = |axis: &Axis| axis.labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
        let is_name = |axis: &Axis| axis.spacing == Spacing::Category;
        let a_is_rows = (is_name(a), length(a)) > (is_name(b), length(b));
        let (columns, rows) = if a_is_rows { (b, a) } else { (a, b) };
        if columns.cells.len() > MOST_VALUES || rows.cells.len() > MOST_VALUES {
            return Ok(None);
        }
        let cells = aggregate::heat(data.runs, columns, rows)?;
        let full = columns.cells.len() * rows.cells.len();
        if cells.len() <= columns.cells.len().max(rows.cells.len()) || cells.len() * 2 < full {
            return Ok(None);
        }
        let is_mixed = data.evidence.configurations.iter().any(|c| c.is_baseline);
        let others = data.evidence.grid.varied().filter(|x| x.key != a.key && x.key != b.key);
        let others = others.map(|x| x.name.clone()).collect();
        Ok(Some(Self { columns: columns.clone(), rows: rows.clone(), cells, others, is_mixed }))
    }

    fn range(&self) -> (f64, f64) {
        let values = || self.cells.iter().map(|(_, _, v)| *v);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    }

    fn best(&self) -> Option<&(usize, usize, f64)> {
        self.cells.iter().min_by(|a, b| a.2.total_cmp(&b.2))
    }
}

impl Figure for HeatMap {
    fn size(&self) -> (i32, i32) {
        let columns = self.columns.cells.len() as i32;
        let width = (300 + columns * 84).clamp(480, 880);
        (width, 160 + self.rows.cells.len() as i32 * 40)
    }

    fn title(&self) -> String {
        format!("Held-out hard loss by {} and {}", self.columns.name, self.rows.name)
    }

    fn caption(&self) -> String {
        let mut over = vec!["seeds".to_owned()];
        over.extend(self.others.iter().cloned());
        let of = if self.is_mixed { " of distilled students" } else { "" };
        let over = format::list(&over);
        format!("Mean{of} over {over}, nats a token; lower is better, the best cell is framed.")
    }

    fn has_series(&self) -> bool {
        false
    }

    fn draw<DB: DrawingBackend>(&self, area: &Area<DB>) -> Result<(), DrawError> {
        let rest = header(area, &self.title(), &self.caption())?;
        let columns = Scale::categories(&self.columns.labels);
        let rows = Scale::categories(&self.rows.labels).reversed();
        let bar = px(86);
        let (x, y) = (&self.columns.name, &self.rows.name);
        let titles = Titles { x, y, is_rows: true, is_bare: true, right: bar, ..Titles::default() };
        let panel = Panel::new(&rest, columns, rows, &titles)?;
        let (low, high) = self.range();
        let position = |v: f64| if high > low { (v - low) / (high - low) } else { 0.5 };
        let corner = |column: usize, row: usize, side: f64| panel.at(column as f64 + side, row as f64 + side);
        let digits = format::precision((high > low).then_some((high - low) / 4.0)).clamp(2, 4);
        for &(column, row, value) in &self.cells {
            let color = heat_color(position(value));
            let (a, b) = (corner(column, row, -0.5), corner(column, row, 0.5));
            let gap = px(1);
            area_rectangle(&panel, (a.0 + gap, a.1 + gap), (b.0 - gap, b.1 - gap), color.filled())?;
            let style = text(Type::Small, on_color(color), HPos::Center, VPos::Center);
            let label = format::decimals(value, digits);
            if measure(&panel.area, &label, &style)? < b.0 - a.0 - px(6) && b.1 - a.1 > px(14) {
                panel.area.draw_text(&label, &style, ((a.0 + b.0) / 2, (a.1 + b.1) / 2))?;
            }
        }
        if let Some(&(column, row, _)) = self.best() {
            let (a, b) = (corner(column, row, -0.5), corner(column, row, 0.5));
            area_rectangle(&panel, a, b, INK.stroke_width(px(2) as u32))?;
        }
        color_bar(&panel, (low, high), digits)
    }
}

fn area_rectangle<DB: DrawingBackend>(
    panel: &Panel<DB>,
    a: (i32, i32),
    b: (i32, i32),
    style: ShapeStyle,
) -> Result<(), DrawError> {
    Ok(panel.area.draw(&Rectangle::new([a, b], style))?)
}

fn color_bar<DB: DrawingBackend>(
    panel: &Panel<DB>,
    (low, high): (f64, f64),
    digits: usize,
) -> Result<(), DrawError> {
    const STEPS: i32 = 128;
    let (top, bottom) = panel.y_pixels;
    let (left, right) = (panel.x_pixels.1 + px(18), panel.x_pixels.1 + px(32));
    let y = |step: i32| bottom - (bottom - top) * step / STEPS;
    for step in 0..STEPS {
        let color = heat_color((f64::from(step) + 0.5) / f64::from(STEPS));
        area_rectangle(panel, (left, y(step + 1)), (right, y(step)), color.filled())?;
    }
    let style = text(Type::Small, MUTED, HPos::Left, VPos::Center);
    let ticks = if high > low { vec![low, (low + high) / 2.0, high] } else { vec![low] };
    for value in ticks {
        let position = if high > low { (value - low) / (high - low) } else { 0.5 };
        let at = bottom - (f64::from(bottom - top) * position) as i32;
        panel.area.draw_text(&format::decimals(value, digits), &style, (right + px(5), at))?;
    }
    Ok(())
}
