//! Draws probe latency against the number of busy actors: two panels, log axes, as SVG.

use std::fmt::Write;

use evenkeel_peers::programs::BUSY;

use crate::runs::{RUNTIMES, Samples};

const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 500.0;
const PANEL_WIDTH: f64 = 400.0;
const PANEL_HEIGHT: f64 = 330.0;
const PANEL_TOP: f64 = 105.0;
const PANEL_LEFT: [f64; 2] = [75.0, 565.0];
/// Room for the place of "0", which a log axis has not.
const ZERO_WIDTH: f64 = 50.0;
const GOAL_US: f64 = 300.0;

/// Colours that stay apart for the colour-blind, in the order of [`RUNTIMES`].
const COLOURS: [&str; 7] =
    ["#d62728", "#1f77b4", "#7fb3dd", "#2a9d5c", "#e69f00", "#8756b3", "#444444"];

/// A panel's scale: decades of microseconds.
#[derive(Clone, Copy)]
struct Scale {
    lowest: f64,
    highest: f64,
}

impl Scale {
    fn y(self, us: f64) -> f64 {
        let part = (us.log10() - self.lowest) / (self.highest - self.lowest);
        PANEL_TOP + PANEL_HEIGHT * (1.0 - part)
    }
}

fn x(left: f64, busy: usize) -> f64 {
    if busy == 0 {
        return left + ZERO_WIDTH / 2.0;
    }
    let (first, last) = ((BUSY[1] as f64).log10(), (BUSY[BUSY.len() - 1] as f64).log10());
    let part = ((busy as f64).log10() - first) / (last - first);
    left + ZERO_WIDTH + 15.0 + part * (PANEL_WIDTH - ZERO_WIDTH - 35.0)
}

pub(crate) fn render(samples: &Samples, workers: usize) -> String {
    let points = |runtime, figure| -> Vec<(usize, f64)> {
        let at = |busy| samples.median(&format!("fair_{busy}"), workers, runtime, figure);
        BUSY.into_iter().filter_map(|busy| Some((busy, at(busy)?))).collect()
    };
    let panels = ["p50_us", "p99_us"].map(|figure| RUNTIMES.map(|name| points(name, figure)));
    let all = || panels.iter().flatten().flatten().map(|(_, us)| us.max(0.1).log10());
    let lowest = all().fold(f64::INFINITY, f64::min).min(1.0).floor();
    let highest = all().fold(lowest + 1.0, f64::max).ceil().max(3.0);
    let scale = Scale { lowest, highest };

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let title =
        format!("How long a message waits beside actors that never stop, {workers} workers");
    text(&mut svg, (PANEL_LEFT[0], 30.0), "font-size=\"17\" font-weight=\"bold\"", &title);
    legend(&mut svg, &panels[0]);
    for ((panel, left), name) in panels.iter().zip(PANEL_LEFT).zip(["median", "99th percentile"]) {
        axes(&mut svg, left, scale, name);
        // Ours last, so that nothing lies over it.
        for (series, colour) in panel.iter().zip(COLOURS).rev() {
            draw(&mut svg, left, scale, series, colour);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>");
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), style: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>"
    );
}

fn legend(svg: &mut String, drawn: &[Vec<(usize, f64)>]) {
    let mut x = PANEL_LEFT[0];
    for ((name, colour), series) in RUNTIMES.iter().zip(COLOURS).zip(drawn) {
        if series.is_empty() {
            continue;
        }
        let width = if *name == "ours" { 3.5 } else { 2.0 };
        let style = format!("stroke=\"{colour}\" stroke-width=\"{width}\"");
        line(svg, (x, 58.0), (x + 26.0, 58.0), &style);
        let _ =
            writeln!(svg, "<circle cx=\"{:.1}\" cy=\"58\" r=\"4\" fill=\"{colour}\"/>", x + 13.0);
        let name = match *name {
            "ours" => "Evenkeel",
            "beam" => "BEAM",
            name => name,
        };
        text(svg, (x + 32.0, 62.5), "", name);
        x += 32.0 + name.len() as f64 * 7.2 + 26.0;
    }
}

fn axes(svg: &mut String, left: f64, scale: Scale, name: &str) {
    let (right, bottom) = (left + PANEL_WIDTH, PANEL_TOP + PANEL_HEIGHT);
    text(svg, (left, PANEL_TOP - 12.0), "font-weight=\"bold\"", name);
    let mut decade = scale.lowest;
    while decade <= scale.highest {
        let us = 10_f64.powf(decade);
        let y = scale.y(us);
        line(svg, (left, y), (right, y), "stroke=\"#ccc\"");
        text(svg, (left - 8.0, y + 4.5), "text-anchor=\"end\"", &duration(us));
        if decade < scale.highest {
            for part in 2..10 {
                let y = scale.y(us * f64::from(part));
                line(svg, (left, y), (right, y), "stroke=\"#f0f0f0\"");
            }
        }
        decade += 1.0;
    }
    if name.starts_with("99") {
        let y = scale.y(GOAL_US);
        line(svg, (left, y), (right, y), "stroke=\"#d62728\" stroke-dasharray=\"5 4\"");
        let style = "font-size=\"12\" fill=\"#d62728\"";
        text(svg, (left + ZERO_WIDTH + 30.0, y - 5.0), style, "Evenkeel's goal: 300 µs");
    }
    for busy in BUSY {
        let x = x(left, busy);
        line(svg, (x, bottom), (x, bottom + 5.0), "stroke=\"#222\"");
        let label = if busy == 1_000 { "1,000".to_owned() } else { busy.to_string() };
        text(svg, (x, bottom + 20.0), "text-anchor=\"middle\"", &label);
    }
    line(svg, (left, PANEL_TOP), (left, bottom), "stroke=\"#222\"");
    line(svg, (left, bottom), (right, bottom), "stroke=\"#222\"");
    // The axis is broken between none and the first busy actors.
    let gap = left + ZERO_WIDTH;
    line(svg, (gap - 3.0, bottom), (gap + 3.0, bottom), "stroke=\"#fff\" stroke-width=\"3\"");
    for edge in [gap - 3.0, gap + 3.0] {
        line(svg, (edge - 2.0, bottom + 5.0), (edge + 2.0, bottom - 5.0), "stroke=\"#222\"");
    }
    let middle = (left + PANEL_WIDTH / 2.0, bottom + 44.0);
    text(svg, middle, "text-anchor=\"middle\"", "busy actors (log)");
    let y = PANEL_TOP + PANEL_HEIGHT / 2.0;
    let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 {:.1} {y})\"", left - 58.0);
    text(svg, (left - 58.0, y), &turned, "wait (log)");
}

fn draw(svg: &mut String, left: f64, scale: Scale, series: &[(usize, f64)], colour: &str) {
    let at: Vec<_> =
        series.iter().map(|(busy, us)| (x(left, *busy), scale.y(us.max(0.1)))).collect();
    // Not joined to "0", which lies on no log axis.
    let joined = at.iter().zip(series).filter(|(_, (busy, _))| *busy > 0);
    let path = joined.fold(String::new(), |path, ((x, y), _)| path + &format!("{x:.1},{y:.1} "));
    let width = if colour == COLOURS[0] { 3.5 } else { 2.0 };
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
         stroke-linejoin=\"round\"/>",
        path.trim_end()
    );
    for (x, y) in at {
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>");
    }
}

fn duration(us: f64) -> String {
    match us {
        0.0..1e3 => format!("{us} µs"),
        1e3..1e6 => format!("{} ms", us / 1e3),
        _ => format!("{} s", us / 1e6),
    }
}
