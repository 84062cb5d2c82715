//! Question: how long is it from the execution of the node to its first answer?
//!
//! Budget: 200 ms, with an empty database and in memory.
#![allow(clippy::print_stdout, reason = "the report is the program's output")]

use clap::Parser;
use evenkeel_benches::{
    report,
    stats::{Summary, millis},
    targets::{Target, Targets},
};
use serde_json::json;
use std::{error::Error, fs, path::PathBuf, time::Duration};

/// Time from exec to the first served request.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    targets: Targets,
    /// Starts of each kind
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let (mut rows, mut reports) = (Vec::new(), Vec::new());
    for target in options.targets.list()? {
        let kinds: &[bool] = if target.is_durable() { &[false, true] } else { &[false] };
        for &is_on_disk in kinds {
            let suffix = if is_on_disk { " --datadir" } else { "" };
            let name = format!("{}{suffix}", target.name);
            let times: Result<Vec<_>, _> =
                (0..options.runs).map(|_| start_once(&target, is_on_disk)).collect();
            let times = times?;
            let summary = Summary::of(&times);
            let best = times.iter().min().copied().map_or(0.0, millis);
            rows.push(vec![
                name.clone(),
                summary.count.to_string(),
                report::ms(best),
                report::ms(summary.p50_ms),
                report::ms(summary.max_ms),
            ]);
            reports.push(json!({ "node": name, "min_ms": best, "start": summary.to_json() }));
        }
    }
    print!("{}", report::table(&["start", "runs", "min ms", "p50 ms", "max ms"], &rows));
    report::write_json(options.json.as_deref(), &reports.into())?;
    Ok(())
}

fn start_once(target: &Target, is_on_disk: bool) -> Result<Duration, Box<dyn Error>> {
    let datadir = is_on_disk.then(|| target.fresh_datadir());
    let node = target.start(&[], datadir.as_deref())?;
    let time = node.started_in();
    node.stop()?;
    if let Some(datadir) = datadir.filter(|datadir| datadir.exists()) {
        fs::remove_dir_all(datadir)?;
    }
    Ok(time)
}
