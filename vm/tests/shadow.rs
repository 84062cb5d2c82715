//! The canary: blocks of a Cancun chain under later forks, on the simulated driver.

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, TxKind};
use chain::{account, built, database, legacy, spec, transfer};
use common::Code;
use evenkeel_chain::Fork;
use evenkeel_runtime::{Faults, MailboxSpec, Overflow, System};
use evenkeel_vm::{Difference, Limits, LiveBlock, Shadow};
use revm::bytecode::opcode as op;

const MAILBOX: MailboxSpec =
    MailboxSpec { name: "shadow", items_max: 2, bytes_max: 1 << 26, overflow: Overflow::DropOld };

/// Init code that fails if nothing answers at the address of P256VERIFY (EIP-7951, Osaka): with an
/// invalid signature the precompile uses gas and returns nothing.
fn asks_p256() -> Bytes {
    let code = Code::default().push(0).push(0).push(160).push(0).push(0);
    let code = code.push(0x100).push(50_000).op(op::CALL).op(op::STOP);
    code.0.into()
}

/// Goal: what Prague and Osaka change for users is found, transaction by transaction, and nothing
/// else; the canary moves from one fork to the next while it runs; what it has no time for is
/// counted.
#[test]
fn later_rules_are_seen_before_they_are_active() {
    let spec = spec(Fork::Cancun);
    let mut simulation = System::simulated(5, Faults::none());
    let system = simulation.system().clone();
    let (address, mailbox) = system.mailbox(MAILBOX);
    let rules = (Arc::clone(&spec), Limits::default());
    let shadow = Shadow::spawn(&system, "shadow", mailbox, Fork::Cancun, rules);

    let data = Bytes::from(vec![1; 1_000]);
    let call = |nonce, gas| {
        let to = TxKind::Call(Address::repeat_byte(0x77));
        legacy(account(0), nonce, to, (gas, 0), data.clone())
    };
    // 21,000 + 16 a byte; EIP-7623 asks 40 a byte at least from Prague on.
    let txs = vec![
        transfer(account(1), 0, account(2), 1),
        call(0, 61_000),
        call(1, 60_999),
        legacy(account(3), 0, TxKind::Create, (200_000, 0), asks_p256()),
    ];
    let mut tip = database(&spec).tip();
    let executed = built(&tip, &spec, txs);
    assert_eq!(executed.block.txs.len(), 4);
    let live = LiveBlock { parent: tip.clone(), executed: Arc::clone(&executed) };
    let hash = |index: usize| *executed.block.txs[index].hash();
    let mut look = |fork: Option<Fork>| {
        if let Some(fork) = fork {
            let mut moved = shadow.upgrade(fork).expect("every fork is published");
            simulation.run_until_idle();
            let version = moved.try_take().expect("idle").expect("it lives").expect("it moves");
            assert!(version.major > 1);
        }
        assert!(address.send(live.clone()).is_ok());
        simulation.run_until_idle();
        shadow.report()
    };

    let cancun = look(None);
    assert_eq!((cancun.blocks, cancun.txs, cancun.diverged), (1, 4, 0), "{cancun:?}");

    let prague = look(Some(Fork::Prague));
    assert_eq!((prague.fork, prague.blocks, prague.txs), (Fork::Prague, 1, 4));
    let gas = Difference::GasUsed { live: 37_000, shadow: 61_000 };
    let seen: Vec<_> = prague.newest.iter().map(|one| (one.index, one.hash)).collect();
    assert_eq!(seen, [(1, hash(1)), (2, hash(2))], "{prague:?}");
    assert_eq!(prague.newest[0].difference, gas);
    assert!(matches!(prague.newest[1].difference, Difference::NotIncluded(_)), "{prague:?}");

    let osaka = look(Some(Fork::Osaka));
    let seen: Vec<_> = osaka.newest.iter().map(|one| one.index).collect();
    assert_eq!(seen, [1, 2, 3], "{osaka:?}");
    assert!(matches!(osaka.newest[2].difference, Difference::GasUsed { .. }), "{osaka:?}");

    // Five blocks at once, and room for two.
    for _ in 0..5 {
        let executed = built(&tip, &spec, Vec::new());
        let parent = tip.clone();
        tip = tip.extend(&executed);
        assert!(address.send(LiveBlock { parent, executed }).is_ok());
    }
    simulation.run_until_idle();
    let report = shadow.report();
    assert_eq!((report.height, report.blocks, report.skipped), (Some(5), 3, 2), "{report:?}");
}
