//! `debug_subscribe` with `traceChain`, over a connection without a socket.

use std::future::poll_fn;

use evenkeel_runtime::{Class, Spawn};
use serde_json::{Value, json};

use super::{
    subscriptions::Socket,
    traces::{counter, world},
    world::World,
};
use crate::answer::{Outgoing, Streamed};

/// The next message, if there is one.
fn next(world: &mut World, socket: &Socket) -> Option<Outgoing> {
    world.sim.run_until_idle();
    socket.line.take().expect("it is open")
}

/// All of a message.
fn read(world: &mut World, message: Outgoing) -> Value {
    let Streamed { pieces, mut rest, end, .. } = match message {
        Outgoing::Whole(text) => return serde_json::from_slice(&text).expect("JSON"),
        Outgoing::Streamed(streamed) => streamed,
    };
    let read = world.sim.system().spawn_future(Spawn::new("read", Class::Rpc), async move {
        let mut text = pieces.concat();
        while let Some(piece) = poll_fn(|cx| rest.poll_next(cx)).await {
            text.extend(piece.expect("it does not break"));
        }
        text.extend(end.as_bytes());
        text
    });
    let text = world.sim.run_until(read).expect("no panic");
    serde_json::from_slice(&text).expect("JSON")
}

fn subscribe(world: &mut World, socket: &Socket, params: &Value) -> Value {
    let id = world.call_on(Some(&socket.session), "debug_subscribe", &params.to_string());
    socket.session.release();
    id.expect("a subscription")
}

/// Goal: blocks with transactions and the last one are told of, in order, with what
/// `debug_traceBlockByNumber` says of them; each is traced when the one before has been taken.
#[test]
fn a_block_is_traced_when_the_one_before_is_taken() {
    let mut world = world(81, &counter());
    let blocks = [2, 0, 1, 0].map(|count| world.mine(&vec![vec![]; count]));
    let socket = Socket::new(&world);
    let tracer = json!({ "tracer": "callTracer" });
    let id = subscribe(&mut world, &socket, &json!(["traceChain", "0x1", "latest", tracer]));
    for (block, count) in [(&blocks[0], 2), (&blocks[2], 1), (&blocks[3], 0)] {
        let note = next(&mut world, &socket).expect("a notification");
        assert!(next(&mut world, &socket).is_none(), "nothing more until it is taken");
        assert_eq!(world.api.places.gauge().running, usize::from(count > 0));
        let note = read(&mut world, note);
        assert_eq!(note["method"], "debug_subscription");
        assert_eq!(note["params"]["subscription"], id);
        let result = &note["params"]["result"];
        let number = format!("{:#x}", block.header.number);
        assert_eq!((&result["block"], &result["hash"]), (&json!(number), &json!(block.hash)));
        assert_eq!(result["traces"].as_array().map(Vec::len), Some(count));
        let expected = world.ok("debug_traceBlockByNumber", &json!([number, tracer]).to_string());
        assert_eq!(result["traces"], expected);
    }
    assert!(next(&mut world, &socket).is_none());
    assert_eq!(world.api.places.gauge().running, 0);
    let params = json!([id]).to_string();
    let session = Some(&socket.session);
    assert!(world.call_on(session, "debug_unsubscribe", &params).is_ok());
    assert!(world.call_on(session, "debug_unsubscribe", &params).is_err());
}

/// Goal: what cannot be traced is said, before the subscription or in it; who ends it, or leaves,
/// has no more blocks traced.
#[test]
fn a_chain_of_traces_ends_with_its_subscriber() {
    let mut world = world(82, &counter());
    for _ in 0..3 {
        world.mine(&[vec![]]);
    }
    let socket = Socket::new(&world);
    for (params, code, text) in [
        (json!(["traceChain", "0x3", "0x3"]), -32_000, "needs to come after start block (#3)"),
        (json!(["traceChain", "0x1", "0x9"]), -32_000, "block #9 not found"),
        (json!(["traceChain", "0x1", "0x2", { "timeout": "x" }]), -32_602, "expected a duration"),
        (json!(["traceChain", "0x1", "0x2", { "tracer": "odd" }]), -32_000, "is named odd"),
        (
            json!(["traceChain", "0x1", "0x2", { "tracer": 5 }]),
            -32_602,
            "tracer: expected text, found the number 5",
        ),
        (json!(["newHeads"]), -32_601, "no \"newHeads\" subscription in debug namespace"),
    ] {
        let refused = world.call_on(Some(&socket.session), "debug_subscribe", &params.to_string());
        let error = refused.expect_err("it is refused");
        assert_eq!(error.code, code);
        assert!(error.message.contains(text), "{}", error.message);
    }
    let all = json!(["traceChain", "0x1", "0x4"]);
    assert_eq!(world.err("debug_subscribe", &all.to_string()).0, -32_001);

    subscribe(&mut world, &socket, &all);
    let first = next(&mut world, &socket).expect("a notification");
    world.rollback(2);
    assert_eq!(read(&mut world, first)["params"]["result"]["block"], "0x2");
    let note = next(&mut world, &socket).expect("a notification");
    let note = read(&mut world, note);
    assert_eq!(note["params"]["error"]["message"], "block #3 not found");
    assert!(next(&mut world, &socket).is_none(), "it is the end");
    for _ in 0..2 {
        world.mine(&[vec![]]);
    }

    let id = subscribe(&mut world, &socket, &all);
    let first = next(&mut world, &socket).expect("a notification");
    let params = json!([id]).to_string();
    let ended = world.call_on(Some(&socket.session), "debug_unsubscribe", &params);
    assert!(ended.is_ok());
    assert_eq!(read(&mut world, first)["params"]["result"]["block"], "0x2");
    assert!(next(&mut world, &socket).is_none(), "no other block");

    let id = subscribe(&mut world, &socket, &all);
    world.sim.run_until_idle();
    let params = json!([id]).to_string();
    assert!(world.call_on(Some(&socket.session), "debug_unsubscribe", &params).is_ok());
    assert!(next(&mut world, &socket).is_none(), "what has not begun to be sent is not");
    assert_eq!(world.api.places.gauge().running, 0);

    subscribe(&mut world, &socket, &all);
    world.sim.run_until_idle();
    assert_eq!(world.api.places.gauge().running, 1);
    socket.line.end();
    world.sim.run_until_idle();
    assert_eq!(world.api.places.gauge().running, 0);
}

/// Goal: a block of which something is sent when its subscription ends is sent up to the end of the
/// transaction under way, as JSON that says so, and is not worked further.
#[test]
fn a_block_under_way_ends_with_the_transaction_under_way() {
    let mut world = world(83, &counter());
    world.mine(&vec![vec![]; 3]);
    let socket = Socket::new(&world);
    let id = subscribe(&mut world, &socket, &json!(["traceChain", "0x1", "0x2"]));
    let under_way = next(&mut world, &socket).expect("a notification");
    let params = json!([id]).to_string();
    assert!(world.call_on(Some(&socket.session), "debug_unsubscribe", &params).is_ok());
    world.sim.run_until_idle();
    let note = read(&mut world, under_way);
    let result = &note["params"]["result"];
    assert_eq!((&note["params"]["subscription"], &result["block"]), (&id, &json!("0x2")));
    let whole = world.ok("debug_traceBlockByNumber", r#"["0x2"]"#);
    let whole = whole.as_array().expect("traces");
    assert_eq!(result["traces"].as_array().expect("traces")[..], whole[..1]);
    assert_eq!(result["error"]["message"], "the subscription ended within this block");
    assert!(next(&mut world, &socket).is_none());
    assert_eq!(world.api.places.gauge().running, 0);
}
