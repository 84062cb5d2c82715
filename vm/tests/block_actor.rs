//! Blocks as actors of their own, on an inline system.

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, TxKind};
use chain::{account, built, create, database, deploying, legacy, spec, transfer};
use common::{Code, Piece};
use evenkeel_chain::{ChainSpec, Fork, RecoveredTx, SealedBlock};
use evenkeel_runtime::{Class, ClassStatus, Inline, System};
use evenkeel_state::Tip;
use evenkeel_vm::{BlockOutcome, BlockRun, ExecError, Limits, spawn_block};
use revm::bytecode::opcode as op;

/// BLAKE2F priced above what runs on a worker, then 70,000 instructions of 260,000 gas.
fn long() -> Bytes {
    let code = Code::default().push(60_000 << 32).push(0).op(op::MSTORE);
    let code = code.push(0).push(0).push(213).push(24).address(Address::with_last_byte(9));
    let code = code.op(op::GAS).op(op::STATICCALL).push(0).op(op::SSTORE);
    deploying(&Piece::Loop(10_000).write(code).0)
}

fn txs() -> Vec<Arc<RecoveredTx>> {
    let (from, to) = (account(0), account(0).create(0));
    let call = legacy(from, 1, TxKind::Call(to), (1_000_000, 0), Bytes::new());
    vec![create(from, 0, long()), call, transfer(account(1), 0, account(2), 1)]
}

struct World {
    spec: Arc<ChainSpec>,
    tip: Tip,
    inline: Inline,
}

impl World {
    fn new() -> Self {
        let spec = spec(Fork::Osaka);
        let tip = database(&spec).tip();
        Self { spec, tip, inline: System::inline().expect("the machine gives a seed") }
    }

    fn run(&self, block: &Arc<SealedBlock>) -> BlockRun {
        let (tip, spec) = (self.tip.clone(), Arc::clone(&self.spec));
        BlockRun::validate(tip, spec, Arc::clone(block), &Limits::default()).expect("a block")
    }

    fn execute(&mut self, block: &Arc<SealedBlock>, slice_gas: u64) -> Result<B256, ExecError> {
        let run = self.run(block);
        let outcome = spawn_block(self.inline.system(), run, slice_gas);
        match self.inline.run_until(outcome)? {
            BlockOutcome::Executed(executed) => Ok(executed.block.hash),
            BlockOutcome::Empty => panic!("a validated block is never empty"),
        }
    }

    fn exec(&self) -> ClassStatus {
        self.inline.system().status().classes[Class::Exec.index()].clone()
    }
}

/// Goal: an actor says of a block what the machine says, precompiles from the pool among it, also
/// in slices of one instruction; and is gone then.
#[test]
fn slices_of_one_gas_give_the_same_block() {
    let mut world = World::new();
    let executed = built(&world.tip, &world.spec, txs());
    assert!(executed.receipts.iter().all(|receipt| receipt.success));
    let mut header = executed.block.header.clone();
    header.gas_used += 1;
    let (txs, withdrawals) = (executed.block.txs.clone(), executed.block.withdrawals.clone());
    let wrong = Arc::new(SealedBlock::seal(header, txs, Vec::new(), withdrawals));
    let mut used = Vec::new();
    for slice_gas in [0, 1, u64::MAX] {
        let before = world.exec().reductions;
        assert_eq!(world.execute(&executed.block, slice_gas), Ok(executed.block.hash));
        used.push(world.exec().reductions - before);
        let error = world.execute(&wrong, slice_gas).expect_err("it used less");
        assert!(matches!(error, ExecError::Field { field: "gasUsed", .. }), "{error}");
        world.inline.run_until_idle();
        assert_eq!(world.inline.system().status().actors_live, 0);
    }
    // A slice costs a reduction at least, which is 25 gas.
    assert!(used[0] > 50_000 && used[1] > 50_000 && used[2] < 25_000, "{used:?}");
}

/// Goal: nobody executes what nobody waits for.
#[test]
fn a_block_that_nobody_waits_for_ends() {
    let mut world = World::new();
    let executed = built(&world.tip, &world.spec, txs());
    let run = world.run(&executed.block);
    drop(spawn_block(world.inline.system(), run, u64::MAX));
    world.inline.run_until_idle();
    assert_eq!((world.exec().turns, world.inline.system().status().actors_live), (1, 0));
}
