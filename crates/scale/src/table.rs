//! The figures in columns, at powers of ten.

use std::fmt::Write;

use crate::chart::{Chart, Page};

pub(crate) fn of(page: &Page) -> String {
    page.charts.iter().map(chart).collect::<Vec<_>>().join("\n")
}

fn chart(chart: &Chart) -> String {
    let mut text = format!("{:<32}", format!("{}, over", chart.y));
    let columns: Vec<usize> = chart.curves[0]
        .points
        .iter()
        .map(|&(size, _)| size)
        .filter(|size| size.to_string().trim_end_matches('0') == "1")
        .collect();
    let row = |text: &mut String, cells: Vec<String>| {
        cells
            .iter()
            .for_each(|cell| write!(text, "{cell:>10}").expect("a string takes all"));
        text.push('\n');
    };
    row(&mut text, columns.iter().map(usize::to_string).collect());
    for curve in &chart.curves {
        write!(text, "{:<32}", curve.name).expect("a string takes all");
        let at = |size| {
            let point = curve.points.iter().find(|point| point.0 == size);
            point.map_or(String::new(), |point| format!("{:.1}", point.1))
        };
        row(&mut text, columns.iter().map(|&size| at(size)).collect());
    }
    text
}
