//! The canary: blocks of a Cancun chain under later forks, on the simulated driver.

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, TxKind};
use chain::{account, built, database, legacy, spec, transfer};
use common::Code;
use evenkeel_chain::{ChainSpec, Fork};
use evenkeel_runtime::{Faults, MailboxSpec, Overflow, System};
use evenkeel_vm::{Difference, Limits, LiveBlock, Shadow, ShadowAim, limits::SHADOW_REPORTS_KEPT};
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

fn canary(
    system: &System,
    spec: &Arc<ChainSpec>,
    aim: ShadowAim,
) -> (evenkeel_runtime::Address<LiveBlock>, Shadow) {
    let (address, mailbox) = system.mailbox(MAILBOX);
    let rules = (Arc::clone(spec), Limits::default());
    (address, Shadow::spawn(system, "shadow", mailbox, aim, rules))
}

/// Goal: what Prague and Osaka change for users is found, transaction by transaction, and nothing
/// else; the canary moves from one fork to the next while it runs, and keeps a bounded number of
/// reports on those before; what it has no time for is counted; the chain's own rules it does not
/// run.
#[test]
fn later_rules_are_seen_before_they_are_active() {
    let spec = spec(Fork::Cancun);
    let mut simulation = System::simulated(5, Faults::none());
    let system = simulation.system().clone();
    let (address, shadow) = canary(&system, &spec, ShadowAim::Fork(Fork::Cancun));

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
            let mut moved = shadow.upgrade(ShadowAim::Fork(fork)).expect("every fork is published");
            simulation.run_until_idle();
            let version = moved.try_take().expect("idle").expect("it lives").expect("it moves");
            assert!(version.major > 1);
        }
        assert!(address.send(live.clone()).is_ok());
        simulation.run_until_idle();
        shadow.report()
    };

    let cancun = look(None);
    assert_eq!((cancun.active, cancun.blocks, cancun.height), (cancun.fork, 0, Some(1)));

    let prague = look(Some(Fork::Prague));
    assert_eq!((prague.fork, prague.blocks, prague.txs), (Some(Fork::Prague), 1, 4));
    let gas = Difference::GasUsed { live: 37_000, shadow: 61_000 };
    let seen: Vec<_> = prague.newest.iter().map(|one| (one.index, one.hash)).collect();
    assert_eq!(seen, [(1, hash(1)), (2, hash(2))], "{prague:?}");
    assert_eq!(prague.newest[0].difference, gas);
    assert!(matches!(prague.newest[1].difference, Difference::NotIncluded(_)), "{prague:?}");

    let osaka = look(Some(Fork::Osaka));
    let seen: Vec<_> = osaka.newest.iter().map(|one| one.index).collect();
    assert_eq!(seen, [1, 2, 3], "{osaka:?}");
    assert!(matches!(osaka.newest[2].difference, Difference::GasUsed { .. }), "{osaka:?}");

    assert_eq!((prague.before.len(), osaka.before.len()), (0, 1));
    for fork in [Fork::Prague, Fork::Osaka].into_iter().cycle().take(2 * SHADOW_REPORTS_KEPT) {
        look(Some(fork));
    }
    let osaka = shadow.report();
    let forks: Vec<_> = osaka.before.iter().filter_map(|before| before.fork).collect();
    assert_eq!(forks, [[Fork::Prague, Fork::Osaka]; SHADOW_REPORTS_KEPT / 2].concat());
    assert!(osaka.before.iter().all(|before| before.blocks == 1 && before.before.is_empty()));

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

/// A chain at Shanghai, and at Cancun from the third second on; no later fork is in its schedule.
fn shanghai_then_cancun() -> Arc<ChainSpec> {
    let sender = account(0);
    Arc::new(
        ChainSpec::from_genesis_json(&format!(
            r#"{{ "config": {{ "chainId": 31337, "homesteadBlock": 0, "eip150Block": 0,
                "eip155Block": 0, "eip158Block": 0, "byzantiumBlock": 0, "constantinopleBlock": 0,
                "petersburgBlock": 0, "istanbulBlock": 0, "berlinBlock": 0, "londonBlock": 0,
                "terminalTotalDifficulty": 0, "shanghaiTime": 0, "cancunTime": 3 }},
                "alloc": {{ "{sender:#x}": {{ "balance": "0xde0b6b3a7640000" }} }},
                "gasLimit": "0x1c9c380", "difficulty": "0x0", "timestamp": "0x0", "nonce": "0x0",
                "extraData": "0x" }}"#
        ))
        .expect("a genesis"),
    )
}

/// Goal: a canary that follows the chain runs what comes next at each block: what Cancun changes is
/// found before it is active and not after, when Prague is next; what was before stays in the
/// report; what was left out at the boundary is counted; a reorg leads back.
/// Method: every block has a transaction with MCOPY (EIP-5656, Cancun).
#[test]
fn a_canary_follows_the_chain() {
    let spec = shanghai_then_cancun();
    let mut tip = database(&spec).tip();
    let copies = Bytes::from(Code::default().push(0).push(0).push(0).op(op::MCOPY).op(op::STOP).0);
    let blocks: Vec<LiveBlock> = (0..4)
        .map(|nonce| {
            let tx = legacy(account(0), nonce, TxKind::Create, (100_000, 0), copies.clone());
            let (parent, executed) = (tip.clone(), built(&tip, &spec, vec![tx]));
            tip = tip.extend(&executed);
            LiveBlock { parent, executed }
        })
        .collect();
    let mut simulation = System::simulated(6, Faults::none());
    let (address, shadow) = canary(simulation.system(), &spec, ShadowAim::Next);
    let waits = shadow.report();
    assert_eq!((waits.aim, waits.fork, waits.active), (ShadowAim::Next, None, None));
    let mut look = |live: &[LiveBlock]| {
        for live in live {
            assert!(address.send(live.clone()).is_ok());
        }
        simulation.run_until_idle();
        shadow.report()
    };

    let cancun = look(&blocks[..1]);
    assert_eq!((cancun.active, cancun.fork), (Some(Fork::Shanghai), Some(Fork::Cancun)));
    assert_eq!((cancun.blocks, cancun.diverged, cancun.before.len()), (1, 1, 0), "{cancun:?}");
    assert_eq!(cancun.newest[0].difference, Difference::Status { live: false });

    // Room for two of three, of which the first that is left has Cancun.
    let prague = look(&blocks[1..]);
    assert_eq!((prague.active, prague.fork), (Some(Fork::Cancun), Some(Fork::Prague)));
    assert_eq!((prague.aim, prague.height), (ShadowAim::Next, Some(4)));
    assert_eq!((prague.blocks, prague.txs, prague.diverged), (2, 2, 0), "{prague:?}");
    assert_eq!((prague.skipped, prague.failed), (1, 0), "{prague:?}");
    assert_eq!(prague.before, [Arc::clone(&cancun)]);

    let back = look(&blocks[1..2]);
    assert_eq!((back.active, back.fork), (Some(Fork::Shanghai), Some(Fork::Cancun)));
    assert_eq!((back.height, back.blocks, back.diverged), (Some(2), 1, 1), "{back:?}");
    assert_eq!(back.before.len(), 2);
    let newest = (back.before[0].fork, back.before[0].blocks);
    assert_eq!((newest, &back.before[1]), ((Some(Fork::Prague), 2), &cancun));
}

/// Goal: at the last fork there is nothing to run: blocks are seen, none is executed or failed, and
/// the canary can be given another aim.
#[test]
fn after_the_last_fork_there_is_nothing_to_run() {
    let spec = spec(Fork::LATEST);
    let mut simulation = System::simulated(7, Faults::none());
    let (address, shadow) = canary(simulation.system(), &spec, ShadowAim::Next);
    let parent = database(&spec).tip();
    let executed = built(&parent, &spec, vec![transfer(account(1), 0, account(2), 1)]);
    let live = LiveBlock { parent, executed };
    let mut look = || {
        assert!(address.send(live.clone()).is_ok());
        simulation.run_until_idle();
        shadow.report()
    };
    let idle = look();
    assert_eq!((idle.fork, idle.active, idle.height), (None, Some(Fork::LATEST), Some(1)));
    assert_eq!((idle.blocks, idle.failed, idle.skipped), (0, 0, 0), "{idle:?}");
    let mut moved = shadow.upgrade(ShadowAim::Fork(Fork::LATEST)).expect("every fork is published");
    let named = look();
    assert!(matches!(moved.try_take(), Some(Ok(Ok(_)))));
    assert_eq!((named.fork, named.active), (Some(Fork::LATEST), Some(Fork::LATEST)));
    assert_eq!((named.blocks, named.height, named.before.len()), (0, Some(1), 0));
}
