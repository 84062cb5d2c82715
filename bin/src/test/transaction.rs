//! Transaction tests: an encoded transaction, and what it is at each fork.
//!
//! It is decoded, its sender recovered, and begun as the only one of a block by a sender that can
//! pay for anything and has sent as many before as it says.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, Bytes, U256};
use anyhow::{Result, anyhow};
use evenkeel_chain::{ChainSpec, Fork, Header, WideTx, intrinsic_gas};
use evenkeel_node::Limits;
use evenkeel_state::{Account, ChangeSet, Tip};
use evenkeel_vm::{BlockRun, ExecError, SingleJob, Step};
use serde::Deserialize;

use super::{
    Options,
    exception::{self, Fault},
    fixture::{FixtureConfig, genesis},
    network,
    tally::{Cases, expect},
};

#[derive(Deserialize)]
struct TransactionTest {
    txbytes: Bytes,
    result: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    exception: Option<String>,
    hash: Option<B256>,
    sender: Option<Address>,
    intrinsic_gas: Option<U256>,
}

pub(super) fn run(options: &Options, bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    let tests: BTreeMap<String, TransactionTest> = serde_json::from_slice(bytes)?;
    let nobody = spec("Frontier").and_then(|spec| genesis(&spec));
    let nobody = nobody.map_err(|error| anyhow!("{error}"))?;
    for (name, test) in tests {
        for (fork, expected) in &test.result {
            if options.leaves_out(fork) {
                cases.skip();
                continue;
            }
            cases.run(&name, Some(fork), || {
                let spec = spec(fork)?;
                let found = validate(&test.txbytes, &spec, &nobody);
                exception::check(found.as_ref().err(), expected.exception.as_deref())?;
                found.map_or(Ok(()), |found| check(&found, expected))
            });
        }
    }
    Ok(())
}

/// What a valid transaction is.
struct Found {
    hash: B256,
    sender: Address,
    intrinsic_gas: u64,
}

fn check(found: &Found, expected: &Expected) -> Result<(), String> {
    let Expected { hash, sender, intrinsic_gas: gas, .. } = expected;
    let missing = || "the test says neither what the transaction is nor that it is none".to_owned();
    expect("hash", found.hash, hash.ok_or_else(missing)?)?;
    expect("sender", found.sender, sender.ok_or_else(missing)?)?;
    expect("intrinsic gas", U256::from(found.intrinsic_gas), gas.ok_or_else(missing)?)
}

fn spec(fork: &str) -> Result<Arc<ChainSpec>, String> {
    let file = alloy_genesis::Genesis {
        config: network::config(fork, &FixtureConfig::default())?,
        gas_limit: 30_000_000,
        ..alloy_genesis::Genesis::default()
    };
    ChainSpec::from_genesis(file).map(Arc::new).map_err(|error| error.to_string())
}

/// What the transaction is, if there is a state in which it can be sent.
fn validate(bytes: &[u8], spec: &Arc<ChainSpec>, nobody: &Tip) -> Result<Found, Fault> {
    let fork = spec.genesis_fork();
    let wide = WideTx::decode(bytes)?;
    let narrow = wide.narrowed();
    let id = narrow.tx().chain_id();
    if id.is_some_and(|id| id != spec.chain_id) && fork >= Fork::SpuriousDragon {
        return Err(Fault::ChainId);
    }
    let sender = wide.sender(fork)?;
    let tx = narrow.clone().with_sender(sender);
    let found =
        Found { hash: *wide.hash(), sender, intrinsic_gas: intrinsic_gas(tx.tx(), fork).gas };

    let mut changes = ChangeSet::default();
    let rich = Account { nonce: tx.nonce(), balance: U256::MAX, ..Account::default() };
    changes.accounts.insert(sender, Some(rich));
    let mut run = BlockRun::single(SingleJob {
        tip: nobody.with_diff(Arc::new(changes)),
        spec: Arc::clone(spec),
        header: Header {
            number: 1,
            gas_limit: u64::MAX,
            base_fee_per_gas: (fork >= Fork::London).then_some(0),
            excess_blob_gas: (fork >= Fork::Cancun).then_some(0),
            ..Header::default()
        },
        tx: Arc::clone(&tx),
        limits: Limits::consensus(),
        block_hashes: BTreeMap::new(),
    });
    let gas = U256::from(tx.gas_limit());
    // What comes after the first step is the business of its code.
    match run.step(1) {
        Step::Done(Err(ExecError::Transaction { refusal, .. })) if refusal.is_unpayable() => {
            // Nobody has 2^256 wei for gas and value; a fault is that the gas alone costs as much.
            gas.checked_mul(wide.max_fee_per_gas()).map(|_| found).ok_or(Fault::Cost)
        }
        Step::Done(Err(error)) => Err(error.into()),
        Step::Done(Ok(_)) | Step::More { .. } | Step::Offload(_) => {
            gas.checked_mul(wide.max_fee_per_gas()).map(|_| found).ok_or(Fault::Cost)
        }
    }
}
