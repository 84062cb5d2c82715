//! `eth_subscribe` over a connection without a socket.

use std::sync::Arc;

use alloy_primitives::Address;
use evenkeel_runtime::Share;
use serde_json::{Value, json};

use super::world::{Event, World};
use crate::{
    RpcConfig, Session,
    session::{Line, Outboxes},
};

/// A WebSocket without a socket.
struct Socket {
    line: Arc<Line>,
    session: Session,
}

impl Socket {
    fn new(world: &World) -> Self {
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
        while let Ok(Some(message)) = self.line.take() {
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

/// Goal: logs come filtered; a revert takes them back, newest first, before the new branch's.
#[test]
fn logs_and_their_end() {
    let mut world = World::new(22, RpcConfig::default());
    let event = |byte| Event { address: Address::repeat_byte(byte), topics: vec![] };
    let socket = Socket::new(&world);
    let wanted = Address::repeat_byte(1);
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
    assert_eq!(after[..2], [taken_back(&before[2]), taken_back(&before[1])]);
    assert_eq!(after.len(), 3);
    assert_eq!(after[2]["removed"], false);
    assert_eq!(after[2]["blockNumber"], "0x2");
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
