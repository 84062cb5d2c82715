//! Executions that are held over a WebSocket of the real node.

use serde_json::{Value, json};

use super::{process::Devnet, socket::Socket};

const CODE_AT: &str = "0x00000000000000000000000000000000000000cc";

/// PUSH1 42, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN
const ANSWER: &str = "0x602a5f5260205ff3";
/// JUMPDEST, PUSH1 0, JUMP
const ENDLESS: &str = "0x5b600056";

fn call(code: &str) -> Value {
    json!([{ "to": CODE_AT }, "latest", { CODE_AT: { "code": code } }])
}

/// Goal: over a WebSocket an execution is started paused, followed, stepped through and resumed:
/// its subscriber sees `pending`, an `item` for each change of state, `ok`, `done`; another one is
/// cancelled while it runs, and its subscriber sees that.
#[test]
fn executions_are_held_over_a_web_socket() {
    let node = Devnet::start(&[]);
    let mut socket = Socket::connect(node.port());
    let plain = socket.call("eth_call", &call(ANSWER));
    let id = socket.call("exec_start", &json!(["eth_call", call(ANSWER), { "paused": true }]));
    let followed = socket.call("exec_subscribe", &json!([id]));
    assert_eq!(socket.notice(&followed), json!({ "type": "pending" }));
    let item = |socket: &mut Socket, state: &str| {
        let told = socket.notice(&followed);
        assert_eq!((&told["type"], &told["progress"]["state"]), (&json!("item"), &json!(state)));
        told["progress"].clone()
    };
    assert_eq!(item(&mut socket, "paused")["steps"], 0);
    let status = socket.call("exec_step", &json!([id, 3]));
    assert_eq!((&status["state"], &status["steps"]), (&json!("paused"), &json!(3)));
    item(&mut socket, "running");
    let paused = item(&mut socket, "paused");
    assert_eq!((&paused["steps"], &paused["pc"]), (&json!(3), &status["pc"]));
    socket.call("exec_resume", &json!([id]));
    item(&mut socket, "running");
    assert_eq!(socket.notice(&followed), json!({ "type": "ok", "result": plain }));
    assert_eq!(socket.notice(&followed), json!({ "type": "done", "items": 4 }));

    let id = socket.call("exec_start", &json!(["eth_call", call(ENDLESS)]));
    let followed = socket.call("exec_subscribe", &json!([id]));
    assert_eq!(socket.notice(&followed)["type"], "pending");
    assert_eq!(socket.notice(&followed)["progress"]["state"], "running");
    assert_eq!(socket.call("exec_cancel", &json!([id])), true);
    let mut items = 1;
    let end = loop {
        let told = socket.notice(&followed);
        if told["type"] != "item" {
            break told;
        }
        items += 1;
    };
    assert_eq!(
        (&end["type"], &end["error"]["message"]),
        (&json!("err"), &json!("execution cancelled"))
    );
    assert_eq!(socket.notice(&followed), json!({ "type": "done", "items": items }));
    assert_eq!(socket.answer("exec_status", &json!([id]))["error"]["code"], -32_001);
    assert_eq!(node.terminate(), Some(0));
}
