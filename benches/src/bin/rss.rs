//! Question: does the node's memory grow with the length of the chain?
//!
//! Blocks of one transfer, each to an account of its own; the resident set at block 10,000, at
//! block 100,000 and at nine heights between (caches that fill flatten out there, a leak does not);
//! then the balance of block 1's recipient, read at block 0 and at block 1.
//!
//! Budget: less than 50 MB between the two heights.
#![allow(clippy::print_stdout, reason = "the report is the program's output")]
#![allow(clippy::disallowed_methods, reason = "measures real time")]

use clap::Parser;
use evenkeel_benches::{
    http::{Client, quantity},
    node::Node,
    report,
    targets::{Target, Targets},
    transfers::{Transfer, Wallet, stranger},
};
use serde_json::{Value, json};
use std::{error::Error, fs, path::PathBuf, process::ExitCode, time::Instant};

/// Transfers signed at a time: enough to use every core, little to hold.
const CHUNK: u64 = 1_000;

/// Memory over a long chain of small blocks, and an archive read at its start.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    targets: Targets,
    /// Blocks
    #[arg(long, default_value_t = 100_000)]
    blocks: u64,
    /// The height the growth is counted from; a tenth of the blocks if not given
    #[arg(long)]
    base: Option<u64>,
    /// Keep the chain in memory
    #[arg(long)]
    in_memory: bool,
    /// Exit with 1 if a node of ours grows by more
    #[arg(long, default_value_t = 50)]
    growth_mb_max: u64,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The memory of a node at one height.
struct Sample {
    height: u64,
    resident: u64,
    anonymous: u64,
    seconds: f64,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let options = Options::parse();
    let (mut reports, mut is_kept) = (Vec::new(), true);
    for target in options.targets.list()? {
        let datadir = (target.is_durable() && !options.in_memory).then(|| target.fresh_datadir());
        let node = target.start(&["--no-mining"], datadir.as_deref())?;
        let base = options.base.unwrap_or(options.blocks / 10).max(1);
        let samples = grow(&node, base, options.blocks)?;
        read_at_block_1(&node)?;
        node.stop()?;

        print(&target, &samples);
        let [first, .., last] = &samples[..] else {
            return Err("--base must lie below --blocks".into());
        };
        let growth = last.resident.saturating_sub(first.resident);
        println!("{}: grew by {:.1} MB; block 1 answers\n", target.name, megabytes(growth));
        is_kept &= !target.is_durable() || growth <= options.growth_mb_max * 1_000_000;
        let samples: Vec<_> = samples.iter().map(Sample::to_json).collect();
        reports.push(json!({ "node": target.name, "samples": samples, "growth_bytes": growth }));
        if let Some(datadir) = datadir.filter(|datadir| datadir.exists()) {
            fs::remove_dir_all(datadir)?;
        }
    }
    report::write_json(options.json.as_deref(), &Value::from(reports))?;
    Ok(if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Mines `blocks` blocks of one transfer each and samples at `base`, at the end and between.
fn grow(node: &Node, base: u64, blocks: u64) -> Result<Vec<Sample>, Box<dyn Error>> {
    let wallet = Wallet::test(1);
    let mut client = Client::connect(node.address())?;
    let begin = Instant::now();
    let mut samples = Vec::new();
    let mut height = 0;
    while height < blocks {
        let transfer = |nonce| Transfer { sender: 0, nonce, to: stranger(nonce) };
        let part: Vec<_> = (height..blocks.min(height + CHUNK)).map(transfer).collect();
        for signed in wallet.sign_all(&part) {
            client.call("eth_sendRawTransaction", &json!([signed.raw]))?;
            client.call("evm_mine", &json!([]))?;
            height += 1;
            let is_between = height > base && height.is_multiple_of((blocks / 10).max(1));
            if height == base || height == blocks || is_between {
                samples.push(sample(node, &mut client, height, begin)?);
            }
        }
    }
    Ok(samples)
}

fn sample(
    node: &Node,
    client: &mut Client,
    height: u64,
    begin: Instant,
) -> Result<Sample, Box<dyn Error>> {
    let block = json!([format!("{height:#x}")]);
    let head = quantity(&client.call("eth_blockNumber", &json!([]))?)?;
    let txs = quantity(&client.call("eth_getBlockTransactionCountByNumber", &block)?)?;
    if (head, txs) != (height, 1) {
        return Err(format!("head {head} with {txs} transfers, expected {height} with 1").into());
    }
    Ok(Sample {
        height,
        resident: node.memory_bytes("VmRSS")?,
        anonymous: node.memory_bytes("RssAnon")?,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

fn read_at_block_1(node: &Node) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(node.address())?;
    for block in ["0x0", "0x1"] {
        let balance = client.call("eth_getBalance", &json!([stranger(0), block]))?;
        if balance != block {
            return Err(format!("balance {balance} at block {block}, expected {block}").into());
        }
    }
    Ok(())
}

fn print(target: &Target, samples: &[Sample]) {
    let row = |sample: &Sample| {
        vec![
            sample.height.to_string(),
            format!("{:.1}", megabytes(sample.resident)),
            format!("{:.1}", megabytes(sample.anonymous)),
            format!("{:.1}", sample.seconds),
        ]
    };
    let heads = [&format!("{} at block", target.name), "RSS MB", "of it anonymous MB", "after s"];
    print!("{}", report::table(&heads, &samples.iter().map(row).collect::<Vec<_>>()));
}

#[expect(clippy::cast_precision_loss, reason = "for reading only")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl Sample {
    fn to_json(&self) -> Value {
        json!({ "height": self.height, "rss_bytes": self.resident,
            "anonymous_bytes": self.anonymous, "seconds": self.seconds })
    }
}
