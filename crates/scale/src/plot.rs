//! Charts as SVG.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::{Chart, Page};

const WIDTH: u32 = 900;
const TITLE: u32 = 50;
const CHART: u32 = 330;
const LEGEND: u32 = 230;

/// Told apart also by those who see few colours.
const COLOURS: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(0, 0, 0),
    RGBColor(120, 94, 240),
    RGBColor(135, 135, 135),
];

const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Outcome<T = ()> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

pub(crate) fn draw(page: &Page) -> String {
    let mut svg = String::new();
    draw_on(page, &mut svg).expect("a string takes all");
    svg
}

fn draw_on(page: &Page, svg: &mut String) -> Outcome {
    let charts = page.charts.len() as u32;
    let area = SVGBackend::with_string(svg, (WIDTH, TITLE + CHART * charts)).into_drawing_area();
    // Of its own, since pages are read on white and on black.
    area.fill(&WHITE)?;
    let (head, body) = area.split_vertically(TITLE);
    let middle = Pos::new(HPos::Center, VPos::Center);
    head.draw_text(
        page.title,
        &text(20).pos(middle),
        (WIDTH as i32 / 2, TITLE as i32 / 2),
    )?;
    for (chart, area) in page
        .charts
        .iter()
        .zip(body.split_evenly((page.charts.len(), 1)))
    {
        draw_chart(chart, &area)?;
    }
    area.present()
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

fn draw_chart(chart: &Chart, area: &Area<'_>) -> Outcome {
    let (plot, legend) = area.split_horizontally(WIDTH - LEGEND);
    let costs = || {
        chart
            .curves
            .iter()
            .flat_map(|curve| &curve.points)
            .map(|point| point.1)
    };
    let highest = costs().fold(0.0, f64::max);
    if chart.is_log {
        let lowest = costs().fold(highest, f64::min);
        let (low, high) = (lowest.log10().floor(), highest.log10().ceil());
        draw_curves(
            chart,
            &plot,
            (10_f64.powf(low)..10_f64.powf(high)).log_scale(),
        )?;
    } else {
        // From zero, with some room above; a line at zero is seen too.
        draw_curves(
            chart,
            &plot,
            -0.03 * highest.max(10.0)..1.25 * highest.max(10.0),
        )?;
    }
    draw_legend(chart, &legend)
}

fn draw_curves<Y>(chart: &Chart, area: &Area<'_>, y: Y) -> Outcome
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let sizes = chart.curves.iter().flat_map(|curve| &curve.points);
    let largest = sizes.map(|point| point.0).fold(10, usize::max);
    let mut context = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(46)
        .y_label_area_size(76)
        .build_cartesian_2d((1.0..largest as f64).log_scale(), y)?;
    context
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(text(13))
        .axis_desc_style(text(14))
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|&size| grouped(size))
        .y_label_formatter(&|&cost| grouped(cost))
        .x_desc(chart.x)
        .y_desc(chart.y)
        .draw()?;
    for (curve, colour) in chart.curves.iter().zip(COLOURS.iter().cycle()) {
        let points = || curve.points.iter().map(|&(size, cost)| (size as f64, cost));
        let style = colour.stroke_width(2);
        if curve.is_bare {
            context.draw_series(DashedLineSeries::new(points(), 5, 4, style))?;
        } else {
            context.draw_series(LineSeries::new(points(), style))?;
        }
        context.draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    Ok(())
}

fn draw_legend(chart: &Chart, area: &Area<'_>) -> Outcome {
    for ((curve, colour), row) in chart.curves.iter().zip(COLOURS.iter().cycle()).zip(0..) {
        let y = 30 + 24 * row;
        let style = colour.stroke_width(2);
        let parts: &[_] = if curve.is_bare {
            &[(0, 9), (15, 24)]
        } else {
            &[(0, 24)]
        };
        for &(start, end) in parts {
            area.draw(&PathElement::new([(start, y), (end, y)], style))?;
        }
        area.draw(&Circle::new((12, y), 3, colour.filled()))?;
        let left = Pos::new(HPos::Left, VPos::Center);
        area.draw_text(&curve.name, &text(13).pos(left), (32, y))?;
    }
    Ok(())
}

/// A whole number with its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        let rest = digits.len() - place;
        if rest % 3 == 0 && place > 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
