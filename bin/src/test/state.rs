//! State tests: one transaction on a state, by the rules of each fork.
//!
//! The transaction is decoded, its sender recovered, and it goes through the node's block execution
//! as the only one of a block in which nothing else happens. A trace is a second run of it, without
//! an actor.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufWriter, Write},
    sync::Arc,
};

use alloy_genesis::ChainConfig;
use alloy_primitives::{B256, Bytes, Log, keccak256};
use anyhow::Result;
use evenkeel_chain::{ChainSpec, Header, RecoveredTx, UnrecoveredTx};
use evenkeel_node::Limits;
use evenkeel_runtime::Inline;
use evenkeel_state::{ExecutedBlock, Tip};
use evenkeel_vm::{
    BlockOutcome, BlockRun, ExecError, SingleJob, Step, TraceFrame, TraceItem, TraceJob, TraceKind,
    TracePiece, TraceRun, TraceStart, spawn_block,
};
use serde::Deserialize;

use super::{
    Options,
    exception::{self, Fault},
    fixture::{Accounts, Environment, FixtureConfig, alloc, check_accounts, genesis},
    network,
    tally::{Cases, expect},
};

/// Heights below its own that `BLOCKHASH` reaches.
const BLOCK_HASHES: u64 = 256;

#[derive(Deserialize)]
struct StateTest {
    env: Environment,
    pre: Accounts,
    post: BTreeMap<String, Vec<Post>>,
    #[serde(default)]
    config: FixtureConfig,
}

#[derive(Deserialize)]
struct Post {
    hash: B256,
    logs: B256,
    txbytes: Bytes,
    indexes: Indexes,
    #[serde(rename = "expectException")]
    expect_exception: Option<String>,
    #[serde(default)]
    state: Accounts,
}

#[derive(Deserialize)]
struct Indexes {
    data: usize,
    gas: usize,
    value: usize,
}

pub(super) fn run(
    options: &Options,
    bytes: &[u8],
    inline: &mut Inline,
    cases: &mut Cases<'_>,
) -> Result<()> {
    let tests: HashMap<String, StateTest> = serde_json::from_slice(bytes)?;
    for (name, test) in tests {
        let StateTest { env, pre, post, config } = test;
        let mut prestate = Prestate { accounts: Some(pre), tip: None };
        for (fork, posts) in &post {
            for post in posts {
                if options.leaves_out(fork) {
                    cases.skip();
                    continue;
                }
                let Indexes { data, gas, value } = post.indexes;
                let name = format!("{name} data {data} gas {gas} value {value}");
                cases.run(&name, Some(fork), || {
                    let spec = spec(network::config(fork, &config)?, Accounts::default())?;
                    let tip = prestate.tip()?;
                    check(&Case { spec, tip, env: &env, post, options }, inline)
                });
            }
        }
    }
    Ok(())
}

/// The state before, written to a store when it is first asked for: it is the same at all forks.
struct Prestate {
    accounts: Option<Accounts>,
    tip: Option<Tip>,
}

impl Prestate {
    fn tip(&mut self) -> Result<Tip, String> {
        if let Some(accounts) = self.accounts.take() {
            let spec = spec(ChainConfig::default(), accounts)?;
            self.tip = Some(genesis(&spec)?);
        }
        self.tip.clone().ok_or_else(|| "the state before could not be written".to_owned())
    }
}

/// A chain with these rules from the first block on. That block itself is not looked at.
fn spec(config: ChainConfig, accounts: Accounts) -> Result<Arc<ChainSpec>, String> {
    let file = alloy_genesis::Genesis {
        config,
        gas_limit: 30_000_000,
        alloc: alloc(accounts),
        ..alloy_genesis::Genesis::default()
    };
    ChainSpec::from_genesis(file).map(Arc::new).map_err(|error| error.to_string())
}

struct Case<'a> {
    spec: Arc<ChainSpec>,
    tip: Tip,
    env: &'a Environment,
    post: &'a Post,
    options: &'a Options,
}

fn check(case: &Case<'_>, inline: &mut Inline) -> Result<(), String> {
    let Case { tip, post, options, .. } = case;
    if options.trace {
        trace(case)?;
    }
    let outcome = execute(case, inline);
    let (root, logs) = match &outcome {
        Ok(executed) => (executed.block.header.state_root, &executed.receipts[0].logs[..]),
        // What is refused leaves no trace.
        Err(_) => (tip.trie.root(), &[][..]),
    };
    if options.trace {
        writeln!(io::stderr(), r#"{{"stateRoot": "{root}"}}"#)
            .map_err(|error| not_shown(&error))?;
    }
    exception::check(outcome.as_ref().err(), post.expect_exception.as_deref())?;
    expect("logs hash", logs_hash(logs), post.logs)?;
    if let (Ok(executed), true) = (&outcome, root != post.hash) {
        // Says more than two hashes do.
        check_accounts(&post.state, &after(tip, executed))?;
    }
    expect("state root", root, post.hash)
}

fn after(tip: &Tip, executed: &ExecutedBlock) -> Tip {
    tip.with_diff(Arc::clone(&executed.changes))
}

fn execute(case: &Case<'_>, inline: &mut Inline) -> Result<Arc<ExecutedBlock>, Fault> {
    let header = header(case.env);
    let run = BlockRun::single(SingleJob {
        tip: case.tip.clone(),
        spec: Arc::clone(&case.spec),
        block_hashes: block_hashes(&header),
        tx: sent(case, &header)?,
        header,
        limits: Limits::consensus(),
    });
    let outcome = spawn_block(inline.system(), run, case.options.slice);
    match inline.run_until(outcome)? {
        BlockOutcome::Executed(executed) => Ok(executed),
        BlockOutcome::Empty => {
            Err(ExecError::Internal("the block has no transaction".to_owned()).into())
        }
    }
}

/// The transaction, with its sender.
fn sent(case: &Case<'_>, header: &Header) -> Result<Arc<RecoveredTx>, Fault> {
    let fork = case.spec.fork_of(header);
    Ok(UnrecoveredTx::decode(&case.post.txbytes)?.recover_at(fork)?)
}

/// State tests have no blocks before; this is what geth makes of it.
fn block_hashes(header: &Header) -> BTreeMap<u64, B256> {
    let first = header.number.saturating_sub(BLOCK_HASHES);
    (first..header.number).map(|number| (number, keccak256(number.to_string()))).collect()
}

/// Writes the instructions of the transaction to the standard error while it runs; none of one that
/// is refused.
fn trace(case: &Case<'_>) -> Result<(), String> {
    let header = header(case.env);
    let Ok(tx) = sent(case, &header) else { return Ok(()) };
    let job = TraceJob {
        start: TraceStart::Alone {
            view: case.tip.view.clone(),
            block_hashes: block_hashes(&header),
            header: Arc::new(header),
        },
        items: vec![TraceItem::Signed(tx)],
        kind: TraceKind::lines(),
        spec: Arc::clone(&case.spec),
        limits: Limits::consensus(),
    };
    let mut run = TraceRun::streamed(job, TraceFrame::One).map_err(|error| error.to_string())?;
    let mut out = BufWriter::new(io::stderr().lock());
    loop {
        let step = run.step(case.options.slice);
        while let Some(piece) = run.take_piece() {
            if let TracePiece::Text(text) = piece {
                out.write_all(&text).map_err(|error| not_shown(&error))?;
            }
        }
        match step {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            // What is wrong with the transaction is told by its execution.
            Step::Done(_) => return out.flush().map_err(|error| not_shown(&error)),
        }
    }
}

fn not_shown(error: &io::Error) -> String {
    format!("the trace cannot be written: {error}")
}

fn header(env: &Environment) -> Header {
    Header {
        beneficiary: env.coinbase,
        gas_limit: env.gas_limit.saturating_to(),
        number: env.number.saturating_to(),
        timestamp: env.timestamp.saturating_to(),
        difficulty: env.difficulty.unwrap_or_default(),
        mix_hash: env.random.unwrap_or_default().into(),
        base_fee_per_gas: env.base_fee.map(|fee| fee.saturating_to()),
        excess_blob_gas: env.excess_blob_gas.map(|gas| gas.saturating_to()),
        ..Header::default()
    }
}

fn logs_hash(logs: &[Log]) -> B256 {
    let mut encoded = vec![];
    alloy_rlp::encode_list(logs, &mut encoded);
    keccak256(encoded)
}
