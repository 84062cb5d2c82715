//! `eth_subscribe` over a connection without a socket.

use std::sync::Arc;

use alloy_primitives::Address;
use evenkeel_runtime::Share;
use evenkeel_state::limits::DROPPED_REVERTS_MAX;
use serde_json::{Value, json};

use super::world::{Event, World};
use crate::{
    RpcConfig, Session,
    session::{Line, Outboxes},
};

/// A WebSocket without a socket.
pub(super) struct Socket {
    pub(super) line: Arc<Line>,
    pub(super) session: Session,
}

impl Socket {
    pub(super) fn new(world: &World) -> Self {
        let system = world.api.system.clone();
        let ids = system.entropy("test socket");
        let line = Line::new(system, Share::new(), ids, Outboxes::default());
        Self { session: Session::new(Arc::clone(&line)), line }
    }

    fn subscribe(&self, world: &mut World, params: &Value) -> Value {
        let id = world.call_on(Some(&self.session), "eth_subscribe", &params.to_string());
        self.session.release();
        id.expect("a subscription")
    }

    /// What was sent to `id` since the last look.
    fn notes(&self, world: &mut World, id: &Value) -> Vec<Value> {
        world.sim.run_until_idle();
        let mut notes = Vec::new();
        while let Ok(Some(message)) = self.line.take_text() {
            let note: Value = serde_json::from_slice(&message).expect("JSON");
            assert_eq!(note["method"], "eth_subscription");
            if note["params"]["subscription"] == *id {
                notes.push(note["params"]["result"].clone());
            }
        }
        notes
    }
}

/// Goal: every head is announced once, in order, and those of the new branch after a revert.
#[test]
fn heads() {
    let mut world = World::new(21, RpcConfig::default());
    world.mine(&[]);
    let socket = Socket::new(&world);
    let id = socket.subscribe(&mut world, &json!(["newHeads"]));
    assert!(socket.notes(&mut world, &id).is_empty(), "nothing is new yet");
    let mark = world.mark();
    let mut hashes = vec![world.mine(&[]).hash, world.mine(&[]).hash];
    let seen =
        |notes: Vec<Value>| notes.iter().map(|note| note["hash"].clone()).collect::<Vec<_>>();
    assert_eq!(json!(seen(socket.notes(&mut world, &id))), json!(hashes));
    world.revert(mark);
    hashes = vec![world.mine(&[]).hash];
    assert_eq!(json!(seen(socket.notes(&mut world, &id))), json!(hashes));

    let unsubscribed =
        world.call_on(Some(&socket.session), "eth_unsubscribe", &json!([id]).to_string());
    assert_eq!(unsubscribed.expect("it was there"), true);
    world.mine(&[]);
    assert!(socket.notes(&mut world, &id).is_empty());
    let again = world.call_on(Some(&socket.session), "eth_unsubscribe", &json!([id]).to_string());
    assert_eq!(again.expect_err("gone").message, "subscription not found");
}

/// Goal: logs come filtered; a revert takes them back, oldest first as on geth and anvil, before
/// the new branch's; also those of before the subscription, which its owner may have read.
#[test]
fn logs_and_their_end() {
    let mut world = World::new(22, RpcConfig::default());
    let event = |byte| Event { address: Address::repeat_byte(byte), topics: vec![] };
    let socket = Socket::new(&world);
    let wanted = Address::repeat_byte(1);
    world.mine(&[vec![event(1)]]);
    let id = socket.subscribe(&mut world, &json!(["logs", { "address": wanted }]));
    world.mine(&[vec![event(1), event(2)]]);
    let mark = world.mark();
    world.mine(&[vec![event(1)], vec![event(2), event(1)]]);
    let before = socket.notes(&mut world, &id);
    assert_eq!(before.len(), 3);
    world.revert(mark);
    world.mine(&[vec![event(1)]]);
    let after = socket.notes(&mut world, &id);
    let taken_back = |log: &Value| {
        let mut log = log.clone();
        log["removed"] = json!(true);
        log
    };
    assert_eq!(after[..2], [taken_back(&before[1]), taken_back(&before[2])]);
    assert_eq!(after.len(), 3);
    assert_eq!(after[2]["removed"], false);
    assert_eq!(after[2]["blockNumber"], "0x3");

    let heads = socket.subscribe(&mut world, &json!(["newHeads"]));
    let new = world.reorg(0);
    world.sim.run_until_idle();
    let mut end = Vec::new();
    while let Some(message) = socket.line.take_text().expect("it is open") {
        let note: Value = serde_json::from_slice(&message).expect("JSON");
        let result = note["params"]["result"].clone();
        if note["params"]["subscription"] == heads {
            assert_eq!(result["hash"], json!(new.hash), "one new head, and no other");
        } else {
            end.push(result);
        }
    }
    assert_eq!(end.len(), 3, "the first is of before");
    assert_eq!(end[1..], [taken_back(&before[0]), taken_back(&after[2])]);
    assert_eq!((&end[0]["removed"], &end[0]["blockNumber"]), (&json!(true), &json!("0x1")));
}

/// Goal: who slept for too long is told that logs are lost, once, and goes on with the chain as it
/// is; a subscriber in the place of a result, a filter by an error.
#[test]
fn lost_logs_are_told() {
    let mut world = World::new(24, RpcConfig::default());
    let event = || vec![vec![Event { address: Address::ZERO, topics: vec![] }]];
    world.mine(&event());
    let socket = Socket::new(&world);
    let id = socket.subscribe(&mut world, &json!(["logs", {}]));
    let filter = world.ok("eth_newFilter", "[{}]");
    // As many as are remembered, and one more.
    for _ in 0..=DROPPED_REVERTS_MAX {
        world.rollback(0);
        world.mine(&event());
    }
    world.sim.run_until_idle();
    let text = "logs of blocks 1 to 1 were removed by a reorg and are no longer known: \
                read the logs from block 1 on anew";
    let told = [(); 2].map(|()| {
        let message = socket.line.take_text().expect("it is open").expect("it was told");
        serde_json::from_slice::<Value>(&message).expect("JSON")["params"].clone()
    });
    let error = json!({ "code": -32_000, "message": text });
    assert_eq!(told[0], json!({ "subscription": id, "error": error }));
    assert_eq!(told[1]["result"]["blockHash"], json!(world.api.durable.get().hash));
    assert!(socket.line.take_text().expect("it is open").is_none());

    let poll = json!([filter]).to_string();
    assert_eq!(world.err("eth_getFilterChanges", &poll), (-32_000, text.to_owned()));
    let found = world.ok("eth_getFilterChanges", &poll);
    assert_eq!(found[0], told[1]["result"]);
    assert_eq!(world.ok("eth_getFilterChanges", &poll), json!([]));
}

/// Goal: pending transactions are announced as hashes or whole; unknown kinds get geth's error.
#[test]
fn pending_transactions() {
    let mut world = World::new(23, RpcConfig::default());
    let socket = Socket::new(&world);
    let hashes = socket.subscribe(&mut world, &json!(["newPendingTransactions"]));
    let other = Socket::new(&world);
    let whole = other.subscribe(&mut world, &json!(["newPendingTransactions", true]));
    let sent = json!([{ "to": Address::ZERO, "gas": "0x5208" }]);
    let hash = world.ok("eth_sendTransaction", &sent.to_string());
    assert_eq!(socket.notes(&mut world, &hashes), std::slice::from_ref(&hash));
    assert_eq!(other.notes(&mut world, &whole)[0]["hash"], hash);

    let syncing = socket.subscribe(&mut world, &json!(["syncing"]));
    assert_eq!(socket.notes(&mut world, &syncing), [json!(false)]);
    let unknown = world.call_on(Some(&socket.session), "eth_subscribe", r#"["blocks"]"#);
    let unknown = unknown.expect_err("there is no such kind");
    assert_eq!(unknown.message, "no \"blocks\" subscription in eth namespace");
}
