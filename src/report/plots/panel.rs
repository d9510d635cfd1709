//! The furniture of a plot: title, legend, and panels with axes.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{FontTransform, RGBColor};

use super::error::DrawError;
use super::scale::Scale;
use super::style::{GRID, INK, MUTED, PAPER, Type, px, text};

/// A rectangle to draw in, with pixels as coordinates.
pub type Area<DB> = DrawingArea<DB, Shift>;

/// Fills the background, draws title and subtitle, and returns what is below.
pub fn header<DB: DrawingBackend>(
    area: &Area<DB>,
    title: &str,
    subtitle: &str,
) -> Result<Area<DB>, DrawError> {
    area.fill(&PAPER)?;
    let inner = area.margin(px(12), px(10), px(14), px(14));
    let width = inner.dim_in_pixel().0 as i32;
    let mut y = 0;
    for (kind, color, content) in [(Type::Title, INK, title), (Type::Body, MUTED, subtitle)] {
        let style = text(kind, color, HPos::Left, VPos::Top);
        for line in wrap(&inner, content, &style, width)? {
            inner.draw_text(&line, &style, (0, y))?;
            y += line_height(&inner, &style)?;
        }
        y += px(2);
    }
    Ok(inner.split_vertically(y + px(6)).1)
}

fn line_height<DB: DrawingBackend>(area: &Area<DB>, style: &TextStyle) -> Result<i32, DrawError> {
    Ok((f64::from(area.estimate_text_size("Ag", style)?.1 as i32) * 1.3) as i32)
}

/// Text broken at spaces into lines of at most `width`.
pub fn wrap<DB: DrawingBackend>(
    area: &Area<DB>,
    content: &str,
    style: &TextStyle,
    width: i32,
) -> Result<Vec<String>, DrawError> {
    let mut lines: Vec<String> = Vec::new();
    for word in content.split_whitespace() {
        let longer = lines.last().map(|line| format!("{line} {word}"));
        match longer {
            Some(longer) if measure(area, &longer, style)? <= width => {
                if let Some(line) = lines.last_mut() {
                    *line = longer;
                }
            }
            _ => lines.push(word.to_owned()),
        }
    }
    Ok(lines)
}

/// The width of a text.
pub fn measure<DB: DrawingBackend>(
    area: &Area<DB>,
    content: &str,
    style: &TextStyle,
) -> Result<i32, DrawError> {
    Ok(area.estimate_text_size(content, style)?.0 as i32)
}

/// `content` with its middle left out where it is wider than `width`.
pub fn fit<DB: DrawingBackend>(
    area: &Area<DB>,
    content: &str,
    style: &TextStyle,
    width: i32,
) -> Result<String, DrawError> {
    let mut length = content.chars().count();
    let mut shown = content.to_owned();
    while length > 3 && measure(area, &shown, style)? > width {
        length -= 1;
        shown = crate::report::format::shorten(content, length);
    }
    Ok(shown)
}

/// What a mark of a series looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A filled circle.
    Circle,
    /// A filled square.
    Square,
    /// A filled triangle.
    Triangle,
    /// A filled square on its corner.
    Diamond,
    /// Two strokes that cross.
    Cross,
    /// No mark: a line.
    Line,
}

impl Mark {
    /// The mark of series `index`.
    pub fn of_series(index: usize) -> Self {
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond][index % 4]
    }
}

/// Draws one mark at a pixel.
pub fn mark<DB: DrawingBackend>(
    area: &Area<DB>,
    kind: Mark,
    (x, y): (i32, i32),
    size: i32,
    style: ShapeStyle,
) -> Result<(), DrawError> {
    let polygon = |corners: &[(i32, i32)]| {
        let points: Vec<_> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        area.draw(&Polygon::new(points, style))
    };
    let s = size;
    match kind {
        Mark::Circle => area.draw(&Circle::new((x, y), s, style))?,
        Mark::Square => {
            let s = s * 9 / 10;
            polygon(&[(-s, -s), (s, -s), (s, s), (-s, s)])?;
        }
        Mark::Triangle => polygon(&[(0, -s * 6 / 5), (s * 11 / 10, s * 4 / 5), (-s * 11 / 10, s * 4 / 5)])?,
        Mark::Diamond => {
            let s = s * 13 / 10;
            polygon(&[(0, -s), (s, 0), (0, s), (-s, 0)])?;
        }
        Mark::Cross => {
            for (a, b) in [((x - s, y - s), (x + s, y + s)), ((x - s, y + s), (x + s, y - s))] {
                area.draw(&PathElement::new(vec![a, b], style))?;
            }
        }
        Mark::Line => area.draw(&PathElement::new(vec![(x - px(9), y), (x + px(9), y)], style))?,
    }
    Ok(())
}

/// Draws a dashed line through pixels.
pub fn dashed<DB: DrawingBackend>(
    area: &Area<DB>,
    points: &[(i32, i32)],
    style: ShapeStyle,
) -> Result<(), DrawError> {
    let (dash, gap) = (f64::from(px(5)), f64::from(px(4)));
    // Dashes run on over the corners of the line.
    let (mut is_on, mut left) = (true, dash);
    for pair in points.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        let (dx, dy) = (f64::from(b.0 - a.0), f64::from(b.1 - a.1));
        let length = dx.hypot(dy);
        let at =
            |t: f64| ((f64::from(a.0) + dx * t / length) as i32, (f64::from(a.1) + dy * t / length) as i32);
        let mut done = 0.0;
        while done < length {
            let step = left.min(length - done);
            if is_on {
                area.draw(&PathElement::new(vec![at(done), at(done + step)], style))?;
            }
            done += step;
            left -= step;
            if left <= 0.0 {
                is_on = !is_on;
                left = if is_on { dash } else { gap };
            }
        }
    }
    Ok(())
}

/// An entry of a legend.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What the series is called.
    pub label: String,
    /// Its colour.
    pub color: RGBColor,
    /// Its mark.
    pub mark: Mark,
}

/// Draws a legend in as many rows as it needs, and returns what is below.
pub fn legend<DB: DrawingBackend>(
    area: &Area<DB>,
    title: &str,
    entries: &[Entry],
) -> Result<Area<DB>, DrawError> {
    if entries.is_empty() {
        return Ok(area.clone());
    }
    let width = area.dim_in_pixel().0 as i32;
    let row = px(19);
    let style = text(Type::Body, INK, HPos::Left, VPos::Center);
    let muted = text(Type::Body, MUTED, HPos::Left, VPos::Center);
    let (mut x, mut y) = (0, row / 2);
    if !title.is_empty() {
        area.draw_text(title, &muted, (0, y))?;
        x = measure(area, title, &muted)? + px(12);
    }
    for entry in entries {
        let is_line = entry.mark == Mark::Line;
        let swatch = if is_line { px(20) } else { px(11) };
        let label = fit(area, &entry.label, &style, width - swatch - px(10))?;
        let needed = swatch + px(5) + measure(area, &label, &style)?;
        if x > 0 && x + needed > width {
            (x, y) = (0, y + row);
        }
        let shape = if is_line || entry.mark == Mark::Cross {
            entry.color.stroke_width(px(2) as u32)
        } else {
            entry.color.filled()
        };
        mark(area, entry.mark, (x + swatch / 2, y), px(4), shape)?;
        area.draw_text(&label, &style, (x + swatch + px(5), y))?;
        x += needed + px(16);
    }
    Ok(area.split_vertically(y + row / 2 + px(6)).1)
}

/// A rectangle with axes, in which values have positions.
pub struct Panel<DB: DrawingBackend> {
    /// The whole panel; pixels are counted from its corner.
    pub area: Area<DB>,
    /// The first and last pixel across.
    pub x_pixels: (i32, i32),
    /// The first and last pixel down.
    pub y_pixels: (i32, i32),
    x: Scale,
    y: Scale,
}

/// What a panel shows beside its data.
#[derive(Debug, Clone, Copy, Default)]
pub struct Titles<'a> {
    /// Above the panel.
    pub panel: &'a str,
    /// Below the horizontal axis.
    pub x: &'a str,
    /// Beside the vertical axis.
    pub y: &'a str,
    /// Whether the vertical axis has names: no grid lines, darker text.
    pub is_rows: bool,
    /// Whether there are no grid lines at all.
    pub is_bare: bool,
    /// Room on the right that is left free.
    pub right: i32,
}

impl<DB: DrawingBackend> Panel<DB> {
    /// Draws grid lines, tick labels and titles into `area`.
    pub fn new(area: &Area<DB>, x: Scale, y: Scale, titles: &Titles) -> Result<Self, DrawError> {
        let (width, height) = area.dim_in_pixel();
        let (width, height) = (width as i32, height as i32);
        let small = text(Type::Small, MUTED, HPos::Center, VPos::Top);
        let row_label = text(Type::Body, INK, HPos::Right, VPos::Center);
        let y_style =
            if titles.is_rows { row_label } else { text(Type::Small, MUTED, HPos::Right, VPos::Center) };

        let widest = if titles.is_rows { width * 11 / 20 } else { width / 3 };
        let mut y_labels = Vec::new();
        let mut y_width = 0;
        for (value, label) in &y.ticks {
            let label = fit(area, label, &y_style, widest)?;
            y_width = y_width.max(measure(area, &label, &y_style)?);
            y_labels.push((*value, label));
        }
        let body = line_height(area, &text(Type::Body, MUTED, HPos::Left, VPos::Top))?;
        let left = y_width + px(8) + if titles.y.is_empty() { 0 } else { body + px(4) };
        let top = if titles.panel.is_empty() { px(6) } else { px(24) };
        let bottom = height - px(20) - if titles.x.is_empty() { 0 } else { body + px(2) };
        let right = width - px(10) - titles.right;
        let panel = Self { area: area.clone(), x_pixels: (left, right), y_pixels: (top, bottom), x, y };

        if !titles.panel.is_empty() {
            let style = text(Type::Heading, INK, HPos::Left, VPos::Top);
            let shown = fit(area, titles.panel, &style, right - left)?;
            area.draw_text(&shown, &style, (left, px(2)))?;
        }
        panel.horizontal_axis(&small, !titles.is_bare)?;
        for (value, label) in &y_labels {
            let y = panel.y_at(*value);
            if !titles.is_rows {
                area.draw(&PathElement::new(vec![(left, y), (right, y)], GRID.stroke_width(px(1) as u32)))?;
            }
            area.draw_text(label, &y_style, (left - px(8), y))?;
        }
        let axis = MUTED.stroke_width(px(1) as u32);
        area.draw(&PathElement::new(vec![(left, bottom), (right, bottom)], axis))?;
        let title = text(Type::Body, MUTED, HPos::Center, VPos::Bottom);
        if !titles.x.is_empty() {
            let shown = fit(area, titles.x, &title, right - left + left.min(px(60)))?;
            area.draw_text(&shown, &title, ((left + right) / 2, height))?;
        }
        if !titles.y.is_empty() {
            let style = text(Type::Body, MUTED, HPos::Center, VPos::Top);
            let shown = fit(area, titles.y, &style, height)?;
            let half = measure(area, &shown, &style)? / 2;
            let middle = ((top + bottom) / 2).max(half).min(height - half);
            area.draw_text(&shown, &style.transform(FontTransform::Rotate270), (0, middle))?;
        }
        Ok(panel)
    }

    /// Grid lines and labels; a label that would touch its neighbour is left out.
    fn horizontal_axis(&self, style: &TextStyle, has_grid: bool) -> Result<(), DrawError> {
        let (top, bottom) = self.y_pixels;
        let mut free = i32::MIN;
        for (value, label) in &self.x.ticks {
            let x = self.x_at(*value);
            if has_grid {
                let line = vec![(x, top), (x, bottom)];
                self.area.draw(&PathElement::new(line, GRID.stroke_width(px(1) as u32)))?;
            }
            let half = measure(&self.area, label, style)? / 2;
            if x - half > free {
                self.area.draw_text(label, style, (x, bottom + px(6)))?;
                free = x + half + px(6);
            }
        }
        Ok(())
    }

    /// The pixel of a value across.
    pub fn x_at(&self, value: f64) -> i32 {
        let (start, end) = self.x_pixels;
        start + (f64::from(end - start) * self.x.fraction(value)).round() as i32
    }

    /// The pixel of a value down.
    pub fn y_at(&self, value: f64) -> i32 {
        let (top, bottom) = self.y_pixels;
        bottom - (f64::from(bottom - top) * self.y.fraction(value)).round() as i32
    }

    /// The pixel of a pair of values.
    pub fn at(&self, x: f64, y: f64) -> (i32, i32) {
        (self.x_at(x), self.y_at(y))
    }

    /// Draws a line through values; what lies above or below the panel is cut off.
    pub fn line(&self, points: &[(f64, f64)], style: ShapeStyle) -> Result<(), DrawError> {
        let pixels: Vec<_> = points.iter().map(|(x, y)| self.at(*x, *y)).collect();
        for part in clipped(&pixels, self.y_pixels) {
            self.area.draw(&PathElement::new(part, style))?;
        }
        Ok(())
    }

    /// Whether a value down lies in the panel.
    pub fn holds(&self, y: f64) -> bool {
        (self.y_pixels.0..=self.y_pixels.1).contains(&self.y_at(y))
    }

    /// Draws a dashed line across the panel with a label beside its right end, in the room that
    /// [`level_room`] has left there.
    pub fn level(&self, y: f64, color: RGBColor, label: &str) -> Result<(), DrawError> {
        let (left, right) = self.x_pixels;
        let y = self.y_at(y);
        dashed(&self.area, &[(left, y), (right, y)], color.stroke_width(px(3) as u32 / 2))?;
        let style = text(Type::Small, color, HPos::Left, VPos::Center);
        self.area.draw_text(label, &style, (right + px(5), y))?;
        Ok(())
    }

    /// Draws a bar from `low` to `high` at pixel `along`, with caps where it ends inside the panel.
    pub fn error_bar(
        &self,
        along: i32,
        (low, high): (f64, f64),
        direction: Direction,
        style: ShapeStyle,
    ) -> Result<(), DrawError> {
        let cap = px(4);
        let (limits, ends) = match direction {
            Direction::Down => (self.y_pixels, (self.y_at(high), self.y_at(low))),
            Direction::Across => (self.x_pixels, (self.x_at(low), self.x_at(high))),
        };
        let inside = |p: i32| (limits.0..=limits.1).contains(&p);
        let place = |p: i32, side: i32| match direction {
            Direction::Down => (along + side, p),
            Direction::Across => (p, along + side),
        };
        let clamped = (ends.0.max(limits.0), ends.1.min(limits.1));
        if clamped.0 > clamped.1 {
            return Ok(());
        }
        self.area.draw(&PathElement::new(vec![place(clamped.0, 0), place(clamped.1, 0)], style))?;
        for end in [ends.0, ends.1] {
            if inside(end) {
                self.area.draw(&PathElement::new(vec![place(end, -cap), place(end, cap)], style))?;
            }
        }
        Ok(())
    }
}

/// The room that the label of a level needs on the right of a panel.
pub fn level_room<DB: DrawingBackend>(area: &Area<DB>, label: &str) -> Result<i32, DrawError> {
    measure(area, label, &text(Type::Small, MUTED, HPos::Left, VPos::Center))
}

/// The parts of a line that lie between two heights.
fn clipped(points: &[(i32, i32)], (top, bottom): (i32, i32)) -> Vec<Vec<(i32, i32)>> {
    let inside = |y: i32| (top..=bottom).contains(&y);
    // Where the line from an inner to an outer point leaves.
    let crossing = |a: (i32, i32), b: (i32, i32)| {
        let edge = if b.1 < top { top } else { bottom };
        let share = f64::from(edge - a.1) / f64::from(b.1 - a.1);
        (a.0 + (f64::from(b.0 - a.0) * share).round() as i32, edge)
    };
    let mut parts: Vec<Vec<(i32, i32)>> = vec![Vec::new()];
    for (index, &point) in points.iter().enumerate() {
        let last = index.checked_sub(1).map(|i| points[i]);
        let current = parts.len() - 1;
        match (last.map(|p| (p, inside(p.1))), inside(point.1)) {
            (Some((last, false)), true) => parts[current].extend([crossing(point, last), point]),
            (_, true) => parts[current].push(point),
            (Some((last, true)), false) => {
                parts[current].push(crossing(last, point));
                parts.push(Vec::new());
            }
            (_, false) => {}
        }
    }
    parts.retain(|part| part.len() > 1);
    parts
}

/// Which way an error bar runs.
#[derive(Debug, Clone, Copy)]
pub enum Direction {
    /// From top to bottom.
    Down,
    /// From left to right.
    Across,
}

/// Writes `label` at the top of a vertical line at pixel `x`, on the side where there is room.
pub fn beside<DB: DrawingBackend>(
    panel: &Panel<DB>,
    x: i32,
    top: i32,
    label: &str,
    color: RGBColor,
) -> Result<(), DrawError> {
    let style = text(Type::Small, color, HPos::Left, VPos::Top);
    let width = measure(&panel.area, label, &style)?;
    let at = if x + px(4) + width <= panel.x_pixels.1 { x + px(4) } else { x - px(4) - width };
    panel.area.draw_text(label, &style, (at, top))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_it_leaves_the_panel() {
        let line = [(0, -100), (10, 0), (20, 50), (30, 150), (40, 50), (50, 60)];
        let parts = clipped(&line, (0, 100));
        assert_eq!(parts, [vec![(10, 0), (10, 0), (20, 50), (25, 100)], vec![(35, 100), (40, 50), (50, 60)]]);
        assert_eq!(clipped(&[(0, -5), (1, -7)], (0, 100)), Vec::<Vec<_>>::new());
    }
}
