//! The table as Markdown.

use std::fmt::Write;

use crate::{
    options::Options,
    rows::{self, Row},
    runs::Samples,
};

const OURS: &str = "ours";

const NOTES: &str = "\
Medians over the rounds; every program runs in a process of its own, and within a round each meets
all runtimes in turns. CPU is user and system time of the whole process (getrusage). In brackets:
ours divided by the peer, so below 1 ours takes less; rows marked * are better the higher. A dash:
the runtime has no such thing (bounds, classes); \"none\": no answer within 10 s.

Mailboxes are bounded alike in ours, tokio, kameo and, for fans and blocks, actix; ractor, the BEAM
and tokio-unbounded have no bound to keep. Probes come from a thread that is no worker; on the BEAM
from a process. Busy actors compute steps of 1 us (100 us where the row says so) and give the
runtime a chance after each, as its users would: `Flow::More` in ours, a message to themselves in
tokio, ractor and kameo, a yield in actix; the BEAM needs none. What cannot be compared and how the
programs are made: `benches/peers/README.md`. Before a program that makes a million actors, memory
is touched and freed: the host of a virtual machine may give a page out slowly the first time.
";

pub(crate) fn render(samples: &Samples, options: &Options) -> String {
    let mut text = String::from("# The scheduler beside other actor runtimes\n\n");
    let (rounds, machine) = (samples.rounds(), &samples.machine);
    let sizes = if options.is_quick { ", reduced sizes: not for comparison" } else { "" };
    let _ = writeln!(
        text,
        "Written by `make bench-runtime`. {machine}. Rounds: {rounds}{sizes}.\n\n{NOTES}"
    );
    if options.programs.len() > 1 {
        text.push_str("![Probe latency beside busy actors](probe-latency.svg)\n\n");
    }
    let peers: Vec<_> = options.runtimes.iter().copied().filter(|name| *name != OURS).collect();
    let _ = writeln!(text, "| program | unit | workers | ours | goal | reached |{}", head(&peers));
    let _ = writeln!(text, "|---|---|--:|--:|--:|---|{}", "--:|".repeat(peers.len()));
    let (mut reached, mut goals) = (0, 0);
    for row in rows::all() {
        for &workers in &options.workers {
            if !options.runtimes.iter().any(|runtime| row.is_run(samples, workers, runtime)) {
                continue;
            }
            let ours = row.value(samples, workers, OURS);
            let verdict = row.judge(workers, ours);
            if row.is_run(samples, workers, OURS)
                && let Some((_, is_reached)) = &verdict
            {
                goals += 1;
                reached += usize::from(*is_reached);
            }
            line(&mut text, &row, samples, workers, &peers);
        }
    }
    let _ = writeln!(text, "\n{reached} of {goals} goals are reached.");
    text
}

fn head(peers: &[&str]) -> String {
    peers.iter().fold(String::new(), |head, peer| head + " " + peer + " |")
}

fn line(text: &mut String, row: &Row, samples: &Samples, workers: usize, peers: &[&'static str]) {
    let ours = row.value(samples, workers, OURS);
    let (goal, reached) = match row.judge(workers, ours) {
        Some((goal, true)) => (goal, "yes"),
        Some((goal, false)) => (goal, "**no**"),
        None => (String::new(), ""),
    };
    let cell = |runtime| match row.value(samples, workers, runtime) {
        Some(value) => figure(value),
        None if row.is_run(samples, workers, runtime) => "none".to_owned(),
        None => "–".to_owned(),
    };
    let Row { title, unit, .. } = row;
    let _ = write!(text, "| {title} | {unit} | {workers} | {} | {goal} | {reached} |", cell(OURS));
    for &peer in peers {
        let _ = write!(text, " {}", cell(peer));
        if let (Some(ours), Some(theirs)) = (ours, row.value(samples, workers, peer))
            && theirs > 0.0
        {
            let ratio = ours / theirs;
            let _ = match ratio {
                0.0..0.01 => write!(text, " (<0.01)"),
                _ => write!(text, " ({ratio:.2})"),
            };
        }
        text.push_str(" |");
    }
    text.push('\n');
}

/// Three digits that count, and thousands apart.
fn figure(value: f64) -> String {
    match value {
        0.0..1.0 => format!("{value:.4}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (place, digit) in digits.chars().enumerate() {
                if place > 0 && (digits.len() - place).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
    }
}
