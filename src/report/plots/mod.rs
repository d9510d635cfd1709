//! The plots of a report, each as SVG and PNG from the same drawing code.

mod axis;
mod baseline;
mod bitmap;
mod curve_tables;
mod curves;
mod error;
mod figure;
mod heatmap;
mod panel;
mod scale;
mod size;
pub mod style;

use std::path::Path;

use plotters::prelude::*;

use super::columns::HARD_LOSS;
use super::error::ReportError;
use crate::store::StoreError;
pub use figure::Data;
use figure::Figure;

/// A plot, drawn.
#[derive(Debug)]
pub struct Plot {
    /// File name without its ending, as `axis_loss.temperature`.
    pub name: String,
    /// What it shows, in a line.
    pub title: String,
    /// How to read it.
    pub caption: String,
    /// The image, as a document of its own.
    pub svg: String,
    /// The image at double density.
    pub png: Vec<u8>,
    /// Whether its colours are those of series, which dark pages lighten.
    pub has_series: bool,
}

/// Heat maps of a report at most; beyond that nobody looks at them.
const MOST_HEAT_MAPS: usize = 15;

/// All plots that the data allows, in the order of a page.
pub fn draw(data: &Data) -> Result<Vec<Plot>, ReportError> {
    let mut plots = Vec::new();
    if let Some(figure) = baseline::Baseline::of(data) {
        plots.push(render("distilled_against_baseline", &figure)?);
    }
    let axes: Vec<_> = data.evidence.grid.varied().collect();
    for axis in &axes {
        if let Some(figure) = axis::AxisPlot::of(data, axis)? {
            plots.push(render(&format!("axis_{}", file_name(&axis.key)), &figure)?);
        }
    }
    let pairs = axes.iter().enumerate().flat_map(|(i, a)| axes[i + 1..].iter().map(move |b| (*a, *b)));
    let mut heat_maps = 0;
    for (a, b) in pairs {
        if heat_maps == MOST_HEAT_MAPS {
            break;
        }
        if let Some(figure) = heatmap::HeatMap::of(data, a, b)? {
            let name = format!("heatmap_{}_{}", file_name(&a.key), file_name(&b.key));
            plots.push(render(&name, &figure)?);
            heat_maps += 1;
        }
    }
    if let Some(figure) = size::SizePlot::of(data) {
        plots.push(render("size_against_quality", &figure)?);
    }
    for measure in data.evidence.measures.iter().filter(|measure| measure.is_headline()) {
        let Some(figure) = curves::Curves::of(data, measure)? else { continue };
        let name = match measure.column.as_str() {
            HARD_LOSS => "learning_curves".to_owned(),
            _ => format!("learning_curves_{}", file_name(&measure.name)),
        };
        plots.push(render(&name, &figure)?);
    }
    Ok(plots)
}

fn render(name: &str, figure: &impl Figure) -> Result<Plot, ReportError> {
    let fail = |reason: String| ReportError::Plot { plot: name.to_owned(), reason };
    style::register_fonts().map_err(fail)?;
    let (width, height) = figure.size();
    let units = (style::px(width) as u32, style::px(height) as u32);

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, units).into_drawing_area();
        figure.draw(&root).map_err(|e| fail(e.to_string()))?;
        root.present().map_err(|e| fail(e.to_string()))?;
    }
    // Half a CSS pixel is the unit inside; outside it has its size in CSS pixels.
    let inside = format!("width=\"{}\" height=\"{}\"", units.0, units.1);
    let svg = svg.replacen(&inside, &format!("width=\"{width}\" height=\"{height}\""), 1);

    let png = png(figure, units, name)?;
    Ok(Plot {
        name: name.to_owned(),
        title: figure.title(),
        caption: figure.caption(),
        svg,
        png,
        has_series: figure.has_series(),
    })
}

/// The bitmap backend encodes only into files, so the image takes the way over a temporary one.
fn png(figure: &impl Figure, units: (u32, u32), name: &str) -> Result<Vec<u8>, ReportError> {
    let fail = |reason: String| ReportError::Plot { plot: name.to_owned(), reason };
    let file = tempfile::Builder::new().prefix("kdx-").suffix(".png").tempfile();
    let file = file.map_err(StoreError::io("write", Path::new("a temporary image")))?;
    {
        let bitmap = bitmap::Bitmap::new(BitMapBackend::new(file.path(), units));
        let root =
            bitmap.ok_or_else(|| fail("the built-in font cannot be read".to_owned()))?.into_drawing_area();
        figure.draw(&root).map_err(|e| fail(e.to_string()))?;
        root.present().map_err(|e| fail(e.to_string()))?;
    }
    Ok(std::fs::read(file.path()).map_err(StoreError::io("read", file.path()))?)
}

/// A key as part of a file name.
fn file_name(key: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    key.chars().map(safe).collect()
}
