//! Question: how many plain transfers a second does a node take from sockets into blocks?
//!
//! Signed beforehand; JSON-RPC batches of 50 over 8 connections; the clock runs from the first
//! batch to the moment the last transfer is seen in a block. Nonces are checked at the end.
//!
//! Budget: at least what anvil does in the same run, ours on disk, anvil in memory. With
//! `--automine` every transfer is mined.
#![allow(clippy::print_stdout, reason = "the report is the program's output")]
#![allow(clippy::disallowed_methods, reason = "measures real time with real threads")]

use clap::Parser;
use evenkeel_benches::{
    http::{Client, quantity},
    report,
    spam::{self, Batches, Shape},
    targets::{Target, Targets},
    transfers::Wallet,
};
use serde_json::{Value, json};
use std::{
    error::Error,
    fs,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// Committed transfers a second, and whether all are mined.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    shape: Shape,
    /// Mine on arrival instead of every second
    #[arg(long)]
    automine: bool,
    /// Block time of the nodes that are started
    #[arg(long, default_value_t = 1.0)]
    block_time: f64,
    /// Block gas limit of the nodes that are started
    #[arg(long, default_value_t = 2_000_000_000)]
    gas_limit: u64,
    /// Runs of each node, in turns; the median counts
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Give a run up after this many seconds
    #[arg(long, default_value_t = 90)]
    timeout_s: u64,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

struct Run {
    node: String,
    accepted: u64,
    committed: u64,
    blocks: u64,
    seconds: f64,
    sent_in_s: f64,
    refusal: Option<String>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let targets = options.targets.list()?;
    let wallet = Wallet::test(options.shape.accounts);
    let mut runs = Vec::new();
    for _ in 0..options.rounds {
        for target in &targets {
            runs.push(run(target, &wallet, &options)?);
        }
    }
    print(&runs, &targets);
    let rows: Vec<_> = runs.iter().map(Run::to_json).collect();
    report::write_json(options.json.as_deref(), &Value::from(rows))?;
    // A peer that loses transfers is a finding, not a failure of this program.
    let total = options.shape.total();
    let is_ours = |run: &&Run| run.node != "anvil";
    let is_complete = runs.iter().filter(is_ours).all(|run| run.committed == total);
    Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run(target: &Target, wallet: &Wallet, options: &Options) -> Result<Run, Box<dyn Error>> {
    let datadir = target.is_durable().then(|| target.fresh_datadir());
    let accounts = options.shape.accounts.to_string();
    let (gas_limit, block_time) = (options.gas_limit.to_string(), options.block_time.to_string());
    let mut arguments = vec!["--accounts", &accounts, "--gas-limit", &gas_limit];
    if !options.automine {
        arguments.extend(["--block-time", &block_time]);
    }
    let node = target.start(&arguments, datadir.as_deref())?;
    let address = node.address();
    let mut client = Client::connect(address)?;
    let nonces = spam::nonces(&mut client, wallet)?;
    let batches = Batches::sign(wallet, &nonces, &options.shape);
    let after = quantity(&client.call("eth_blockNumber", &json!([]))?)?;

    let begin = Instant::now();
    let deadline = begin + Duration::from_secs(options.timeout_s);
    let total = options.shape.total();
    let (sent, committed, sent_in) = thread::scope(|scope| {
        let watcher = scope.spawn(move || spam::watch(address, after, total, deadline));
        let sent = batches.send(address);
        let sent_in = begin.elapsed();
        (sent, watcher.join().expect("the watcher does not panic"), sent_in)
    });
    let committed = committed?;
    if committed.txs == total {
        let after = spam::nonces(&mut client, wallet)?;
        let is_exact = |(now, before): (&u64, &u64)| *now == before + options.shape.per_account();
        if !after.iter().zip(&nonces).all(is_exact) {
            return Err("all transfers are in blocks, but some account's nonce is wrong".into());
        }
    }
    if !node.stop()? {
        println!("{}: did not end with status 0 after SIGTERM", target.name);
    }
    if let Some(datadir) = datadir.filter(|datadir| datadir.exists()) {
        fs::remove_dir_all(datadir)?;
    }
    Ok(Run {
        node: target.name.clone(),
        accepted: sent.accepted,
        committed: committed.txs,
        blocks: committed.blocks,
        seconds: (committed.at - begin).as_secs_f64(),
        sent_in_s: sent_in.as_secs_f64(),
        refusal: sent.refusal.or(sent.failure),
    })
}

fn print(runs: &[Run], targets: &[Target]) {
    let row = |run: &Run| {
        vec![
            run.node.clone(),
            run.accepted.to_string(),
            run.committed.to_string(),
            run.blocks.to_string(),
            format!("{:.2}", run.sent_in_s),
            format!("{:.2}", run.seconds),
            format!("{:.0}", run.per_second()),
        ]
    };
    let heads = ["node", "accepted", "committed", "blocks", "sent in s", "committed in s", "tx/s"];
    println!("{}", report::table(&heads, &runs.iter().map(row).collect::<Vec<_>>()));
    for run in runs {
        if let Some(refusal) = &run.refusal {
            println!("{}: {refusal}", run.node);
        }
    }
    if let [first, second, ..] = targets {
        let ratio = median(runs, &first.name) / median(runs, &second.name);
        println!("{} / {}: {ratio:.2} x", first.name, second.name);
    }
}

fn median(runs: &[Run], node: &str) -> f64 {
    let mut rates: Vec<_> =
        runs.iter().filter(|run| run.node == node).map(Run::per_second).collect();
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2⁵²")]
    fn per_second(&self) -> f64 {
        self.committed as f64 / self.seconds
    }

    fn to_json(&self) -> Value {
        json!({
            "node": self.node,
            "accepted": self.accepted,
            "committed": self.committed,
            "blocks": self.blocks,
            "sent_in_s": self.sent_in_s,
            "committed_in_s": self.seconds,
            "committed_per_s": self.per_second(),
            "refusal": self.refusal,
        })
    }
}
