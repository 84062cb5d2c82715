//! Blocks made on order.

use std::sync::{Arc, Mutex};

use alloy_primitives::B256;
use evenkeel_chain::{Command, Outcome};
use evenkeel_runtime::{Port, Share};
use serde_json::json;

use super::world::{Setup, World};
use crate::{ClientId, EngineCall, Member, RpcConfig, error::RESPONSE_TOO_LARGE};

/// Goal: mined blocks are shown whole; those that are too many bytes are refused here, before all
/// of them are gathered, and the engine alone says how many may be ordered.
/// Method: an engine that says of blocks made before that they are the mined ones.
#[test]
fn detailed_blocks_are_bounded_by_their_bytes() {
    let mined = Arc::new(Mutex::new(Vec::<B256>::new()));
    let hashes = Arc::clone(&mined);
    let engine = Port::new(move |EngineCall { command, reply }: EngineCall| {
        assert_eq!(command, Command::Mine { blocks: 4, interval_secs: None });
        let hashes = hashes.lock().expect("no test panics with it");
        reply.send(Ok(Outcome::Blocks(hashes.clone())));
        Ok(())
    });
    let config = RpcConfig { response_bytes_max: 8_000, ..RpcConfig::default() };
    let mut world = World::with(51, Setup { config, engine, ..Setup::default() });
    let mut mine = |txs: usize| {
        for _ in 0..4 {
            let block = world.mine(&vec![vec![]; txs]);
            mined.lock().expect("no test panics with it").push(block.hash);
        }
        let answer = world.call("evm_mine_detailed", r#"[{"blocks":4}]"#);
        let hashes = std::mem::take(&mut *mined.lock().expect("no test panics with it"));
        (answer, hashes)
    };
    let (answer, hashes) = mine(0);
    let shown = answer.expect("four empty blocks fit");
    for (block, hash) in shown.as_array().expect("blocks").iter().zip(&hashes) {
        assert_eq!((&block["hash"], &block["transactions"]), (&json!(hash), &json!([])));
    }
    let error = mine(5).0.expect_err("20 transactions do not");
    assert_eq!((error.code, &*error.message), (-32_003, RESPONSE_TOO_LARGE));
}

/// Goal: what a way back ends is no longer listed, also when its client leaves in the middle.
/// Method: an engine that answers when it is told to, after the call has been dropped.
#[test]
fn a_client_that_leaves_leaves_no_dead_snapshots() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let replies = Arc::clone(&held);
    let engine = Port::new(move |EngineCall { command, reply }: EngineCall| {
        match command {
            Command::Snapshot => reply.send(Ok(Outcome::Snapshot(1))),
            Command::Revert(1) => replies.lock().expect("one thread").push(reply),
            other => panic!("{other:?} was not asked for"),
        }
        Ok(())
    });
    let mut world = World::with(1, Setup { engine, ..Setup::default() });
    assert_eq!(world.ok("evm_snapshot", "[]"), "0x1");
    let listed = |world: &World| world.api.flags.snapshots().len();
    assert_eq!(listed(&world), 1);

    let member = Member { share: Share::new(), id: ClientId::default() };
    let call = world.start(&member, None, "evm_revert", r#"["0x1"]"#);
    world.sim.run_until_idle();
    call.abort();
    world.sim.run_until_idle();
    let reply = held.lock().expect("one thread").pop().expect("it was ordered");
    assert_eq!(listed(&world), 1, "nothing has come of it yet");
    reply.send(Ok(Outcome::Reverted(true)));
    world.sim.run_until_idle();
    assert_eq!(listed(&world), 0);
}

/// Goal: a reset is done whole, also when its client leaves in the middle.
/// Method: an engine that answers when it is told to, after the call has been dropped.
#[test]
fn a_reset_is_done_whole_though_its_client_leaves() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let replies = Arc::clone(&held);
    let engine = Port::new(move |EngineCall { command, reply }: EngineCall| {
        assert_eq!(command, Command::Reset);
        replies.lock().expect("one thread").push(reply);
        Ok(())
    });
    let mut world = World::with(1, Setup { engine, ..Setup::default() });
    let before = world.api.flags.instance();
    let member = Member { share: Share::new(), id: ClientId::default() };
    let call = world.start(&member, None, "anvil_reset", "[]");
    world.sim.run_until_idle();
    call.abort();
    world.sim.run_until_idle();
    let reply = held.lock().expect("one thread").pop().expect("it was ordered");
    reply.send(Ok(Outcome::Reverted(true)));
    world.sim.run_until_idle();
    assert_ne!(world.api.flags.instance(), before);
}
