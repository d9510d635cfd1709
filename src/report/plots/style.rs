//! Fonts, colours and sizes of every plot.
//!
//! Plots are laid out on a grid of half CSS pixels, so that the same drawing code gives an SVG with
//! smooth curves and a PNG that is crisp on screens of double density.

use std::sync::OnceLock;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontFamily, RGBColor, register_font};

/// Drawing units in a CSS pixel.
pub const DENSITY: i32 = 2;

/// CSS pixels in drawing units.
pub const fn px(pixels: i32) -> i32 {
    pixels * DENSITY
}

/// Background.
pub const PAPER: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);
/// Titles, values, outlines.
pub const INK: RGBColor = RGBColor(0x1F, 0x23, 0x28);
/// Tick labels, captions.
pub const MUTED: RGBColor = RGBColor(0x59, 0x63, 0x6E);
/// Reference lines and students that learn from labels alone.
pub const NEUTRAL: RGBColor = RGBColor(0x76, 0x7D, 0x86);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xE1, 0xE5, 0xEA);
/// The teacher.
pub const TEACHER: RGBColor = RGBColor(0xC4, 0x46, 0x01);
/// The first colour of series without an order.
pub const ACCENT: RGBColor = CATEGORIES[0].0;

/// Okabe and Ito's colours for people of any colour vision, without black and yellow; each with a
/// lighter one for dark pages.
const CATEGORIES: [(RGBColor, RGBColor); 7] = [
    (RGBColor(0x00, 0x72, 0xB2), RGBColor(0x4C, 0xA8, 0xE0)),
    (RGBColor(0xD5, 0x5E, 0x00), RGBColor(0xF0, 0x8A, 0x3C)),
    (RGBColor(0x00, 0x9E, 0x73), RGBColor(0x2F, 0xC4, 0x99)),
    (RGBColor(0xCC, 0x79, 0xA7), RGBColor(0xE0, 0x9A, 0xC2)),
    (RGBColor(0xB8, 0x7D, 0x00), RGBColor(0xE6, 0xAF, 0x2E)),
    (RGBColor(0x56, 0xB4, 0xE9), RGBColor(0x8C, 0xCF, 0xF5)),
    (RGBColor(0x6B, 0x4E, 0x9B), RGBColor(0xA9, 0x8F, 0xD8)),
];

/// Values that a legend can tell apart by a sequence of colours.
pub const SEQUENCE_LENGTH: usize = 12;

/// The colour of series `index` of `count`: along viridis where the series have an order, else one
/// of seven.
pub fn series_color(index: usize, count: usize, ordered: bool) -> RGBColor {
    if ordered && count > 1 {
        return sequence(position(index, count), LIGHT);
    }
    CATEGORIES[index % CATEGORIES.len()].0
}

/// The part of viridis that stands out from white, and that which stands out from black.
const LIGHT: (f64, f64) = (0.0, 0.85);
const DARK: (f64, f64) = (0.3, 1.0);

/// Where series `index` of `count` lies between 0 and 1, in steps that [`dark_colors`] knows.
fn position(index: usize, count: usize) -> f64 {
    if count <= SEQUENCE_LENGTH {
        return index as f64 / (count - 1) as f64;
    }
    let steps = (SEQUENCE_LENGTH - 1) as f64;
    (index as f64 / (count - 1) as f64 * steps).round() / steps
}

fn sequence(position: f64, (low, high): (f64, f64)) -> RGBColor {
    heat(low + (high - low) * position)
}

/// Viridis: perceptually even, and the same order in grey.
pub fn heat(position: f64) -> RGBColor {
    ViridisRGB.get_color(position.clamp(0.0, 1.0))
}

/// Black or white, whichever reads better on `background` (WCAG relative luminance).
pub fn on_color(background: RGBColor) -> RGBColor {
    let linear = |c: u8| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    let luminance =
        0.2126 * linear(background.0) + 0.7152 * linear(background.1) + 0.0722 * linear(background.2);
    // These two are not INK and PAPER, which change places on a dark page.
    if luminance > 0.18 { RGBColor(0x10, 0x10, 0x10) } else { RGBColor(0xFA, 0xFA, 0xFA) }
}

/// Colours of a plot on a light page, each with its own on a dark one.
pub type DarkColors = Vec<(RGBColor, RGBColor)>;

/// What each colour of a plot becomes on a dark page. The colours of series come second: a heat
/// map keeps its own.
pub fn dark_colors() -> (DarkColors, DarkColors) {
    let neutrals = vec![
        (PAPER, RGBColor(0x15, 0x1B, 0x23)),
        (INK, RGBColor(0xE6, 0xED, 0xF3)),
        (MUTED, RGBColor(0xA0, 0xAB, 0xB6)),
        (NEUTRAL, RGBColor(0x9A, 0xA3, 0xAD)),
        (GRID, RGBColor(0x2B, 0x33, 0x3D)),
        (TEACHER, RGBColor(0xF0, 0x8A, 0x3C)),
    ];
    let mut series = CATEGORIES.to_vec();
    for count in 2..=SEQUENCE_LENGTH {
        for index in 0..count {
            let position = position(index, count);
            let pair = (sequence(position, LIGHT), sequence(position, DARK));
            if !series.iter().any(|(light, _)| *light == pair.0) {
                series.push(pair);
            }
        }
    }
    (neutrals, series)
}

/// `#1F2328`, as the SVG backend writes it.
pub fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

/// How large and heavy text is.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// The title of a plot.
    Title,
    /// The title of a panel.
    Heading,
    /// Axis titles, legends, subtitles.
    Body,
    /// Tick labels, values.
    Small,
}

/// A text style anchored at `horizontal`, `vertical`.
pub fn text(kind: Type, color: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let (pixels, style) = match kind {
        Type::Title => (15.0, FontStyle::Bold),
        Type::Heading => (12.5, FontStyle::Bold),
        Type::Body => (12.0, FontStyle::Normal),
        Type::Small => (11.0, FontStyle::Normal),
    };
    // Plotters counts from ascender to descender, which is 1.24 em to its SVG backend.
    let size = pixels * 1.24 * f64::from(DENSITY);
    let font = FontDesc::new(FontFamily::SansSerif, size, style);
    TextStyle { font, color: color.to_backend_color(), pos: Pos::new(horizontal, vertical) }
}

/// Gives Plotters the font of every plot. No font of the system is looked at.
pub fn register_fonts() -> Result<(), String> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let registered = DONE.get_or_init(|| {
        let family = FontFamily::SansSerif.as_str();
        register_font(family, FontStyle::Normal, dejavu::sans::regular()).is_ok()
            && register_font(family, FontStyle::Bold, dejavu::sans::bold()).is_ok()
    });
    registered.then_some(()).ok_or_else(|| "the built-in font cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_colour_has_a_dark_one() {
        let (_, series) = dark_colors();
        for count in 1..40 {
            for index in 0..count {
                for ordered in [false, true] {
                    let color = series_color(index, count, ordered);
                    assert!(series.iter().any(|(light, _)| *light == color), "{index} of {count}");
                }
            }
        }
    }

    #[test]
    fn text_on_a_colour_has_contrast() {
        assert_eq!(on_color(heat(0.0)).0, 0xFA);
        assert_eq!(on_color(heat(1.0)).0, 0x10);
    }
}
