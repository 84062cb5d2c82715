//! Question: what do other clients and the blocks feel while one client burns every processor?
//!
//! Per node: an idle phase, a phase with endless `eth_call`s, and, on a freshly started node, a
//! phase with a hostile mix. In each, probes on connections of their own time `eth_blockNumber` and
//! `eth_getBalance`, and a `newHeads` subscription times the blocks.
//!
//! Budget: block interval p99 at most 1.2 times idle; probe p99 at most 5 times idle or 10 ms.
#![allow(clippy::print_stdout, reason = "the report is the program's output")]
#![allow(clippy::disallowed_methods, reason = "measures real time with real threads")]

mod load;
mod probe;
mod verdict;

use clap::Parser;
use evenkeel_benches::{
    heads::Heads,
    node::Node,
    programs::{self, Program},
    report,
    stats::Summary,
    targets::{Target, Targets},
};
use load::{Load, Outcome};
use serde_json::{Value, json};
use std::{
    error::Error,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use verdict::Verdict;

/// Latency and block intervals of a node beside 64 endless calls and a hostile mix.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    targets: Targets,
    /// Seconds of the idle phase
    #[arg(long, default_value_t = 30)]
    idle_s: u64,
    /// Seconds of the endless-loop phase; 0 leaves it out
    #[arg(long, default_value_t = 60)]
    busy_s: u64,
    /// Seconds of the hostile phase; 0 leaves it out
    #[arg(long, default_value_t = 60)]
    hostile_s: u64,
    /// Calls in flight
    #[arg(long, default_value_t = 64)]
    calls: usize,
    /// Loopback addresses the calls come from; 1 is the probes' own address
    #[arg(long, default_value_t = 1)]
    clients: u8,
    /// Time between two requests of one probe
    #[arg(long, default_value_t = 20)]
    probe_ms: u64,
    /// Block time of the nodes that are started
    #[arg(long, default_value_t = 1.0)]
    block_time: f64,
    /// Only these hostile programs, by a part of the name
    #[arg(long)]
    only: Vec<String>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 1 unless this node keeps the budget
    #[arg(long, value_name = "NAME")]
    check: Option<String>,
}

/// What was seen in one phase of one node.
struct Phase {
    name: &'static str,
    block_number: Summary,
    balance: Summary,
    wake_up: Summary,
    blocks: Summary,
    /// Processors the node kept busy, on average; none if it is not our process.
    processors: Option<f64>,
    outcomes: Vec<(&'static str, Outcome)>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let mut is_kept = true;
    let mut reports = Vec::new();
    for target in options.targets.list()? {
        let phases = measure(&target, &options)?;
        let verdicts = verdict::of(&phases);
        print(&target, &phases, &verdicts);
        if options.check.as_ref() == Some(&target.name) {
            is_kept &= !verdicts.is_empty() && verdicts.iter().all(Verdict::is_kept);
        }
        reports.push(json!({
            "node": target.name,
            "phases": phases.iter().map(Phase::to_json).collect::<Vec<_>>(),
            "verdicts": verdicts.iter().map(Verdict::to_json).collect::<Vec<_>>(),
        }));
    }
    report::write_json(options.json.as_deref(), &Value::from(reports))?;
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(target: &Target, options: &Options) -> Result<Vec<Phase>, Box<dyn Error>> {
    let block_time = options.block_time.to_string();
    let start = || target.start(&["--block-time", &block_time], None);
    let mut phases = Vec::new();

    let node = start()?;
    let heads = Heads::subscribe(node.address())?;
    phases.push(phase("idle", &node, &heads, options.idle_s, &[], options)?);
    if options.busy_s > 0 {
        let programs = [programs::endless_loop()];
        phases.push(phase("busy", &node, &heads, options.busy_s, &programs, options)?);
    }
    end(heads, node)?;

    if options.hostile_s > 0 {
        // A peer goes on with calls nobody waits for, so the phase gets a node of its own.
        let node = start()?;
        let heads = Heads::subscribe(node.address())?;
        let programs: Vec<_> = programs::hostile_mix()
            .into_iter()
            .filter(|program| {
                options.only.is_empty()
                    || options.only.iter().any(|part| program.name.contains(part.as_str()))
            })
            .collect();
        phases.push(phase("hostile", &node, &heads, options.hostile_s, &programs, options)?);
        end(heads, node)?;
    }
    Ok(phases)
}

/// Runs one phase of `seconds`; an empty `programs` is no load.
fn phase(
    name: &'static str,
    node: &Node,
    heads: &Heads,
    seconds: u64,
    programs: &[Program],
    options: &Options,
) -> Result<Phase, Box<dyn Error>> {
    let load = Load::start(node.address(), programs, options.calls, options.clients)?;
    if !programs.is_empty() {
        // Let the calls arrive, so that the phase holds no idle time.
        thread::sleep(Duration::from_secs(1));
    }
    let cpu_before = node.cpu_time();
    let from = Instant::now();
    let to = from + Duration::from_secs(seconds);
    let period = Duration::from_millis(options.probe_ms);
    let seen = probe::run(node.address(), period, to)?;
    let to = Instant::now().max(to);
    let cpu_after = node.cpu_time();
    let processors = cpu_before.and_then(|before| Ok(cpu_after?.saturating_sub(before))).ok();
    Ok(Phase {
        name,
        block_number: Summary::of(&seen.block_number),
        balance: Summary::of(&seen.balance),
        wake_up: Summary::of(&seen.wake_up),
        blocks: Summary::of(&heads.intervals(from, to)),
        processors: processors.map(|used| used.as_secs_f64() / (to - from).as_secs_f64()),
        outcomes: load.stop(),
    })
}

fn end(heads: Heads, node: Node) -> Result<(), Box<dyn Error>> {
    drop(heads);
    if !node.stop()? {
        println!("the node did not end with status 0 after SIGTERM");
    }
    Ok(())
}

fn print(target: &Target, phases: &[Phase], verdicts: &[Verdict]) {
    let mut rows = Vec::new();
    for phase in phases {
        let mut row = |what: &str, summary: &Summary| {
            rows.push(vec![
                format!("{} {what}", phase.name),
                summary.count.to_string(),
                report::ms(summary.p50_ms),
                report::ms(summary.p99_ms),
                report::ms(summary.max_ms),
            ]);
        };
        row("eth_blockNumber", &phase.block_number);
        row("eth_getBalance", &phase.balance);
        row("block interval", &phase.blocks);
        row("(prober's own wake-up)", &phase.wake_up);
    }
    println!("{}", report::table(&[&target.name, "n", "p50 ms", "p99 ms", "max ms"], &rows));
    for phase in phases {
        if let Some(processors) = phase.processors {
            println!("{}: the node used {processors:.2} processors", phase.name);
        }
        for (name, outcome) in &phase.outcomes {
            println!("{}: {name}: {outcome}", phase.name);
        }
    }
    for verdict in verdicts {
        println!("{verdict}");
    }
    println!();
}

impl Phase {
    fn to_json(&self) -> Value {
        let outcomes: Vec<_> = self
            .outcomes
            .iter()
            .map(|(name, outcome)| json!({ "program": name, "outcome": outcome.to_json() }))
            .collect();
        json!({
            "phase": self.name,
            "eth_blockNumber": self.block_number.to_json(),
            "eth_getBalance": self.balance.to_json(),
            "block_interval": self.blocks.to_json(),
            "wake_up": self.wake_up.to_json(),
            "processors": self.processors,
            "calls": outcomes,
        })
    }
}
