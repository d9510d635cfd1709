//! The bitmap backend with text that is set as the SVG backend sets it.
//!
//! Plotters' own rasterizer places glyphs at whole pixels without their side bearings, and anchors
//! text elsewhere than its SVG backend does. Everything but text is left to it.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontStyle, FontTransform,
};

/// A bitmap in which text has the places that it has in an SVG.
pub struct Bitmap<'a> {
    pixels: BitMapBackend<'a>,
    regular: FontRef<'static>,
    bold: FontRef<'static>,
}

/// Plotters' font sizes in em, as its SVG backend reads them.
const EM: f64 = 1.24;

impl<'a> Bitmap<'a> {
    /// Draws on `pixels` with the built-in font. None if the font cannot be read.
    pub fn new(pixels: BitMapBackend<'a>) -> Option<Self> {
        let regular = FontRef::try_from_slice(dejavu::sans::regular()).ok()?;
        let bold = FontRef::try_from_slice(dejavu::sans::bold()).ok()?;
        Some(Self { pixels, regular, bold })
    }

    fn font(&self, style: FontStyle) -> &FontRef<'static> {
        if matches!(style, FontStyle::Bold) { &self.bold } else { &self.regular }
    }
}

/// Glyphs side by side from 0, with the width of them all.
fn set(font: &FontRef, em: f32, text: &str) -> (Vec<Glyph>, f32) {
    // ab_glyph scales by the height from ascender to descender.
    let scale = PxScale::from(em * font.height_unscaled() / font.units_per_em().unwrap_or(2048.0));
    let scaled = font.as_scaled(scale);
    let mut x = 0.0;
    let mut glyphs: Vec<Glyph> = Vec::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        let id = font.glyph_id(c);
        if let Some(last) = glyphs.last() {
            x += scaled.kern(last.id, id);
        }
        glyphs.push(id.with_scale_and_position(scale, point(x, 0.0)));
        x += scaled.h_advance(id);
    }
    (glyphs, x)
}

/// Height of a lower-case x in em (DejaVu Sans).
const EX: f32 = 0.547;

impl DrawingBackend for Bitmap<'_> {
    type ErrorType = <BitMapBackend<'static> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.pixels.get_size()
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.pixels.ensure_prepared()
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.pixels.present()
    }

    fn draw_pixel(
        &mut self,
        at: BackendCoord,
        color: BackendColor,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.pixels.draw_pixel(at, color)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.pixels.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.pixels.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.pixels.draw_path(path, style)
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.pixels.draw_circle(center, radius, style, fill)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.pixels.fill_polygon(corners, style)
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        let em = (style.size() / EM) as f32;
        let font = self.font(style.style());
        let (glyphs, width) = set(font, em, text);
        let start = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -width / 2.0,
            HPos::Right => -width,
        };
        let baseline = match style.anchor().v_pos {
            VPos::Top => 0.76 * em,
            VPos::Center => 0.5 * EX * em,
            VPos::Bottom => -0.5 * EX * em,
        };
        let color = style.color();
        let mut dots = Vec::new();
        for mut glyph in glyphs {
            glyph.position.x += start;
            glyph.position.y += baseline;
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            outline.draw(|dx, dy, coverage| {
                let at = (corner.x as i32 + dx as i32, corner.y as i32 + dy as i32);
                dots.push((at, f64::from(coverage.min(1.0))));
            });
        }
        for ((dx, dy), coverage) in dots {
            let at = match style.transform() {
                FontTransform::None => (x + dx, y + dy),
                FontTransform::Rotate90 => (x - dy, y + dx),
                FontTransform::Rotate180 => (x - dx, y - dy),
                FontTransform::Rotate270 => (x + dy, y - dx),
            };
            self.pixels.draw_pixel(at, BackendColor { alpha: color.alpha * coverage, rgb: color.rgb })?;
        }
        Ok(())
    }
}
