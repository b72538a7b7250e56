//! Puts curves on paper, with a font of its own so that no machine has to have one.

use super::curve::{Axis, Panel};
use plotters::{
    coord::Shift,
    prelude::{
        BLACK, BitMapBackend, ChartBuilder, Color, DrawingArea, DrawingBackend, IntoDrawingArea,
        IntoFont, LineSeries, RGBColor, SVGBackend, WHITE,
    },
    style::{FontStyle, register_font},
};
use std::{path::Path, sync::Once};

/// Pixels of one chart.
const CHART: (u32, u32) = (360, 230);
const FONT: &str = "sans-serif";
/// Told apart by the colour-blind too, and dark enough on white. Source: Okabe and Ito.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

/// Draws as SVG.
pub fn svg(path: &Path, policies: &[String], panels: &[Panel]) -> Result<(), String> {
    let root = SVGBackend::new(path, size(policies, panels)).into_drawing_area();
    all(&root, policies, panels)
}

/// Draws as PNG.
pub fn png(path: &Path, policies: &[String], panels: &[Panel]) -> Result<(), String> {
    let root = BitMapBackend::new(path, size(policies, panels)).into_drawing_area();
    all(&root, policies, panels)
}

fn size(policies: &[String], panels: &[Panel]) -> (u32, u32) {
    let times = |pixels: u32, count: usize| {
        pixels.saturating_mul(u32::try_from(count.max(1)).unwrap_or(u32::MAX))
    };
    (times(CHART.0, policies.len()), times(CHART.1, panels.len()))
}

fn all<B: DrawingBackend>(
    root: &DrawingArea<B, Shift>,
    policies: &[String],
    panels: &[Panel],
) -> Result<(), String> {
    static FONT_ONCE: Once = Once::new();
    FONT_ONCE.call_once(|| {
        let font = epaint_default_fonts::HACK_REGULAR;
        let registered = register_font(FONT, FontStyle::Normal, font);
        debug_assert!(registered.is_ok(), "the font that is built in can be read");
    });
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    let cells = root.split_evenly((panels.len(), policies.len()));
    let mut cells = cells.iter();
    for panel in panels {
        for (at, (policy, cell)) in policies.iter().zip(cells.by_ref()).enumerate() {
            chart(cell, policy, panel, at)?;
        }
    }
    root.present().map_err(|error| error.to_string())
}

/// One chart; all charts of a row have one scale, so that policies can be held side by side.
fn chart<B: DrawingBackend>(
    cell: &DrawingArea<B, Shift>,
    policy: &str,
    panel: &Panel,
    at: usize,
) -> Result<(), String> {
    let points = || panel.curves.iter().flatten();
    let left = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let right = points().map(|(x, _)| *x).fold(f64::NEG_INFINITY, f64::max);
    let top = points().map(|(_, y)| *y).fold(1.0, f64::max);
    let left = if left.is_finite() { left } else { 0.0 };
    let right = if right > left { right } else { left + 1.0 };
    let mut chart = ChartBuilder::on(cell)
        .caption(format!("{policy}: {}", panel.title), (FONT, 13).into_font())
        .margin(8)
        .margin_right(16)
        .x_label_area_size(34)
        .y_label_area_size(52)
        .build_cartesian_2d(left..right, 0.0..top * 1.05)
        .map_err(|error| error.to_string())?;
    let mesh = chart
        .configure_mesh()
        .x_labels(5)
        .y_labels(5)
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_label_formatter(&|x| label(panel.axis, *x))
        .y_label_formatter(&|y| if top < 5.0 { format!("{y:.1}") } else { format!("{y:.0}") })
        .label_style((FONT, 11).into_font())
        .x_desc(match panel.axis {
            Axis::Days => "days",
            Axis::LogSeconds => "time to completion",
            Axis::AskedPct => "GPUs asked for, % of all",
        })
        .draw();
    mesh.map_err(|error| error.to_string())?;
    let curve = panel.curves.get(at).into_iter().flatten().copied();
    // One pixel: the joints of wider lines stick out beyond steep peaks.
    let line = LineSeries::new(curve, COLOURS[at % COLOURS.len()].stroke_width(1));
    chart.draw_series(line).map(drop).map_err(|error| error.to_string())
}

fn label(axis: Axis, x: f64) -> String {
    match axis {
        Axis::Days | Axis::AskedPct => format!("{x:.0}"),
        Axis::LogSeconds => match 10_f64.powf(x) {
            s if s < 100.0 => format!("{s:.0} s"),
            s if s < 6_000.0 => format!("{:.0} min", s / 60.0),
            s if s < 360_000.0 => format!("{:.0} h", s / 3_600.0),
            s => format!("{:.0} d", s / 86_400.0),
        },
    }
}
