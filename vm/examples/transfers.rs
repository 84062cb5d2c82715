//! Simple transfers per second on one core: 5,000 a block from 200 senders to 2,000 receivers,
//! with state root, transaction and receipt roots; building, then validating the same blocks.
//!
//! `cargo run --release -p evenkeel-vm --example transfers`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::{sync::Arc, time::Duration};

use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use evenkeel_chain::{BlockAttributes, ChainSpec, DevOptions, RecoveredTx, TypedTransaction};
use evenkeel_state::{Database, ExecutedBlock, Options, Tip};
use evenkeel_vm::{BlockOutcome, BlockRun, BuildJob, Limits, ListedTxs, Step, limits::SLICE_GAS};
use rustix::time::{ClockId, clock_gettime};

const BLOCKS: u64 = 8;
const TXS: u64 = 5_000;
const SENDERS: u64 = 200;
const RECEIVERS: u64 = 2_000;

fn address(kind: u8, number: u64) -> Address {
    let mut address = Address::repeat_byte(kind);
    address.0[12..].copy_from_slice(&number.to_be_bytes());
    address
}

fn transfer(number: u64) -> Arc<RecoveredTx> {
    let tx = TxLegacy {
        chain_id: Some(31_337),
        nonce: number / SENDERS,
        gas_price: 2_000_000_000,
        gas_limit: 21_000,
        to: TxKind::Call(address(2, number.wrapping_mul(2_654_435_761) % RECEIVERS)),
        value: U256::ONE,
        input: Bytes::new(),
    };
    RecoveredTx::impersonated(TypedTransaction::Legacy(tx), address(1, number % SENDERS))
}

fn attributes(tip: &Tip) -> BlockAttributes {
    BlockAttributes {
        timestamp: tip.header.timestamp + 1,
        prev_randao: B256::ZERO,
        fee_recipient: Address::repeat_byte(9),
        gas_limit: tip.header.gas_limit,
        base_fee: None,
        extra_data: Bytes::new(),
        parent_beacon_root: B256::ZERO,
        withdrawals: Vec::new(),
        txs_max: None,
        must_have_txs: true,
    }
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::from_nanos((now.tv_sec * 1_000_000_000 + now.tv_nsec).unsigned_abs())
}

/// Runs to the end; returns the block and the longest slice.
fn finish(mut run: BlockRun) -> (Arc<ExecutedBlock>, Duration) {
    let mut longest = Duration::ZERO;
    loop {
        let start = cpu();
        let step = run.step(SLICE_GAS);
        longest = longest.max(cpu().saturating_sub(start));
        match step {
            Step::More { .. } => {}
            Step::Done(Ok(BlockOutcome::Executed(block))) => return (block, longest),
            _ => unreachable!("transfers build a block"),
        }
    }
}

fn main() {
    let rich = U256::from(10).pow(U256::from(22));
    let accounts = (0..SENDERS).map(|number| (address(1, number), rich)).collect();
    let options = DevOptions { accounts, gas_limit: 200_000_000, ..DevOptions::default() };
    let spec = Arc::new(ChainSpec::dev(&options));
    let database =
        Database::open(&Options { path: None, ..Options::default() }, &spec).expect("memory");
    let mut tip = database.tip();
    println!("block   build tx/s  longest slice   validate tx/s  longest slice");
    for block in 0..BLOCKS {
        let txs: Vec<_> = (block * TXS..(block + 1) * TXS).map(transfer).collect();
        let start = cpu();
        let job = BuildJob {
            tip: tip.clone(),
            spec: Arc::clone(&spec),
            attributes: attributes(&tip),
            limits: Limits::default(),
            candidates: Box::new(ListedTxs::new(txs, false)),
        };
        let (built, build_slice) = finish(BlockRun::build(job).expect("the attributes fit"));
        let middle = cpu();
        assert_eq!(built.block.txs.len() as u64, TXS);
        let run = BlockRun::validate(
            tip.clone(),
            Arc::clone(&spec),
            Arc::clone(&built.block),
            &Limits::default(),
        );
        let (again, validate_slice) = finish(run.expect("the header is right"));
        let end = cpu();
        assert_eq!(again.block.hash, built.block.hash);
        let rate =
            |time: Duration| f64::from(u32::try_from(TXS).expect("small")) / time.as_secs_f64();
        println!(
            "{block:5} {:12.0} {:14.1?} {:15.0} {:14.1?}",
            rate(middle.saturating_sub(start)),
            build_slice,
            rate(end.saturating_sub(middle)),
            validate_slice
        );
        tip = tip.extend(&built);
    }
}
