//! Question: is anything a client was told ever taken back by kill -9?
//!
//! Each round sends transfers and records every receipt served; kills the node at a seeded moment
//! of the load; starts it again on the same database and times its first answer; asks again for
//! every receipt recorded in all rounds, and for the block each names; ends the node and runs
//! `db verify`. The database and its chain go on from round to round.
//!
//! Budget: a served head in 1 s; no receipt changed; `db verify` passes.
#![allow(clippy::print_stdout, reason = "the report is the program's output")]
#![allow(clippy::disallowed_methods, reason = "kills at real times")]

use clap::Parser;
use evenkeel_benches::{
    http::{Client, Error as HttpError, quantity},
    limits::READ_BATCH_MAX,
    random::Random,
    report,
    spam::{self, Batches, Shape},
    stats::millis,
    targets::{Target, Targets},
    transfers::Wallet,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

/// A restarted node must answer within this time, ms.
const RESTART_MS_MAX: f64 = 1_000.0;
/// How often the recorder asks for a new head.
const LOOK: Duration = Duration::from_millis(5);

/// Kill -9 under load, restart, compare every receipt that was served.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    shape: Shape,
    /// Rounds of load, kill and restart
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seed of the kill times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Earliest kill after the first batch
    #[arg(long, default_value_t = 100)]
    kill_ms_min: u64,
    /// Latest kill after the first batch
    #[arg(long, default_value_t = 1_600)]
    kill_ms_max: u64,
    /// Block time
    #[arg(long, default_value_t = 1.0)]
    block_time: f64,
    /// Block gas limit
    #[arg(long, default_value_t = 2_000_000_000)]
    gas_limit: u64,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Receipts as they were served, by transaction hash.
type Receipts = BTreeMap<String, Value>;

struct Round {
    killed_after_ms: u64,
    recorded: usize,
    height_seen: u64,
    height_after: u64,
    restart_ms: f64,
    changed: usize,
    is_verified: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let target = options.targets.durable()?;
    let datadir = target.fresh_datadir();
    let wallet = Wallet::test(options.shape.accounts);
    let mut random = Random::new(options.seed);
    let mut receipts = Receipts::new();
    let mut rounds = Vec::new();
    for _ in 0..options.rounds {
        let kill_ms = random.between(options.kill_ms_min, options.kill_ms_max);
        let round = round(&target, &datadir, &wallet, kill_ms, &mut receipts, &options)?;
        rounds.push(round);
    }
    print(&rounds, options.seed);
    report::write_json(options.json.as_deref(), &rounds.iter().map(Round::to_json).collect())?;
    if receipts.is_empty() {
        return Err("no receipt was served before any kill: nothing was tested".into());
    }
    let is_kept = rounds.iter().all(Round::is_kept);
    if is_kept {
        fs::remove_dir_all(datadir)?;
    } else {
        println!("the database is kept: {}", datadir.display());
    }
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn round(
    target: &Target,
    datadir: &Path,
    wallet: &Wallet,
    kill_ms: u64,
    receipts: &mut Receipts,
    options: &Options,
) -> Result<Round, Box<dyn Error>> {
    let accounts = options.shape.accounts.to_string();
    let (gas_limit, block_time) = (options.gas_limit.to_string(), options.block_time.to_string());
    let arguments =
        ["--accounts", &accounts, "--gas-limit", &gas_limit, "--block-time", &block_time];
    let node = target.start(&arguments, Some(datadir))?;
    let address = node.address();
    let mut client = Client::connect(address)?;
    let nonces = spam::nonces(&mut client, wallet)?;
    let batches = Batches::sign(wallet, &nonces, &options.shape);
    let after = quantity(&client.call("eth_blockNumber", &json!([]))?)?;

    let (height_seen, recorded) = thread::scope(|scope| -> Result<_, Box<dyn Error>> {
        let recorder = scope.spawn(move || record(address, after));
        // Its connections break with the node; what was accepted before does not matter here.
        scope.spawn(|| batches.send(address));
        thread::sleep(Duration::from_millis(kill_ms));
        node.kill()?;
        Ok(recorder.join().expect("the recorder does not panic"))
    })?;
    let count = recorded.len();
    receipts.extend(recorded);

    let node = target.start(&arguments, Some(datadir))?;
    let restart_ms = millis(node.started_in());
    let mut client = Client::connect(node.address())?;
    let height_after = quantity(&client.call("eth_blockNumber", &json!([]))?)?;
    let changed = changed(&mut client, receipts)?;
    let is_stopped = node.stop()?;
    let binary = target.binary().ok_or("needs a binary")?;
    let verify = Command::new(binary)
        .args(["db", "verify", "--datadir"])
        .arg(datadir)
        .stdout(Stdio::null())
        .status()?;
    Ok(Round {
        killed_after_ms: kill_ms,
        recorded: count,
        height_seen,
        height_after,
        restart_ms,
        changed,
        is_verified: is_stopped && verify.success(),
    })
}

/// Records every receipt of every block after `after`, until the node is gone. Returns the height
/// of the newest head served and the receipts.
fn record(address: SocketAddr, after: u64) -> (u64, Receipts) {
    let mut receipts = Receipts::new();
    let mut newest = after;
    let mut follow = || -> Result<(), HttpError> {
        let mut client = Client::connect(address)?;
        let mut seen = after;
        loop {
            newest = quantity(&client.call("eth_blockNumber", &json!([]))?)?;
            if newest == seen {
                thread::sleep(LOOK);
            }
            while seen < newest {
                seen += 1;
                let params = json!([format!("{seen:#x}"), false]);
                let block = client.call("eth_getBlockByNumber", &params)?;
                let hashes = block["transactions"].as_array().map_or(&[][..], Vec::as_slice);
                for part in hashes.chunks(READ_BATCH_MAX) {
                    let found = receipts_of(&mut client, part.iter().filter_map(Value::as_str))?;
                    receipts.extend(found.into_iter().filter(|(_, receipt)| !receipt.is_null()));
                }
            }
        }
    };
    // The kill ends it; there is no other way out.
    let _ = follow();
    (newest, receipts)
}

/// Returns how many of `receipts` the node serves differently now, plus how many of the blocks they
/// name are not the node's at that height.
fn changed(client: &mut Client, receipts: &Receipts) -> Result<usize, HttpError> {
    let mut changed = 0;
    let hashes: Vec<_> = receipts.keys().map(String::as_str).collect();
    for part in hashes.chunks(READ_BATCH_MAX) {
        for (hash, now) in receipts_of(client, part.iter().copied())? {
            changed += usize::from(receipts[&hash] != now);
        }
    }
    let blocks: BTreeMap<_, _> =
        receipts.values().map(|receipt| (receipt["blockNumber"].as_str(), receipt)).collect();
    for receipt in blocks.values() {
        let params = json!([receipt["blockNumber"], false]);
        let block = client.call("eth_getBlockByNumber", &params)?;
        changed += usize::from(block["hash"] != receipt["blockHash"]);
    }
    Ok(changed)
}

fn receipts_of<'a>(
    client: &mut Client,
    hashes: impl Iterator<Item = &'a str>,
) -> Result<Vec<(String, Value)>, HttpError> {
    let hashes: Vec<_> = hashes.collect();
    let calls: Vec<_> =
        hashes.iter().map(|hash| ("eth_getTransactionReceipt", json!([hash]))).collect();
    let replies = client.batch(&calls)?.into_iter();
    let pair = |(reply, hash): (Result<Value, _>, &&str)| Ok((String::from(*hash), reply?));
    replies.zip(&hashes).map(pair).collect()
}

fn print(rounds: &[Round], seed: u64) {
    let row = |round: &Round| {
        vec![
            round.killed_after_ms.to_string(),
            round.recorded.to_string(),
            round.height_seen.to_string(),
            round.height_after.to_string(),
            report::ms(round.restart_ms),
            round.changed.to_string(),
            String::from(if round.is_verified { "passed" } else { "FAILED" }),
        ]
    };
    let heads = [
        "killed after ms",
        "receipts served",
        "head seen",
        "head after",
        "restart ms",
        "changed",
        "db verify",
    ];
    print!("{}", report::table(&heads, &rounds.iter().map(row).collect::<Vec<_>>()));
    println!("seed {seed}");
}

impl Round {
    fn is_kept(&self) -> bool {
        self.changed == 0
            && self.is_verified
            && self.height_after >= self.height_seen
            && self.restart_ms < RESTART_MS_MAX
    }

    fn to_json(&self) -> Value {
        json!({
            "killed_after_ms": self.killed_after_ms,
            "receipts_served": self.recorded,
            "head_seen": self.height_seen,
            "head_after": self.height_after,
            "restart_ms": self.restart_ms,
            "changed": self.changed,
            "is_verified": self.is_verified,
            "is_kept": self.is_kept(),
        })
    }
}
