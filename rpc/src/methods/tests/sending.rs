//! Transactions on their way in, and signatures.

use std::sync::Arc;

use super::world::{World, ether, sender};
use crate::{Client, ClientId, METHODS, Member, Request, RpcConfig};
use alloy_primitives::{B256, Signature, b256};
use evenkeel_runtime::{Class, Share, Spawn};
use serde_json::{Value, json, value::RawValue};

const STRANGER: &str = "0x00000000000000000000000000000000000000ee";

fn transfer(from: &str) -> Value {
    json!([{ "from": from, "to": STRANGER, "value": "0x1", "gas": "0x5208" }])
}

/// Goal: sends of one account that name no nonce never collide, however they race.
#[test]
fn racing_sends_draw_their_own_nonces() {
    let mut world = World::new(11, RpcConfig::default());
    let params = transfer(&sender().to_string()).to_string();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let api = Arc::clone(&world.api);
            let params = RawValue::from_string(params.clone()).expect("the test's JSON");
            let member = Member { share: Share::new(), id: ClientId::default() };
            let client = Client::new(&member, api.system.now());
            let spawn = Spawn::new("send", Class::Rpc);
            world.api.system.spawn_future(spawn, async move {
                let (method, params) = ("eth_sendTransaction", Some(&*params));
                let request = Request { method, params, client: &client, session: None };
                crate::dispatch(&api, request).await
            })
        })
        .collect();
    for task in tasks {
        world.sim.run_until(task).expect("no panic").expect("each is admitted");
    }
    assert_eq!(world.ok("txpool_status", "[]"), json!({ "pending": "0x14", "queued": "0x0" }));
    let from = sender();
    let next = world.ok("eth_getTransactionCount", &format!(r#"["{from}","pending"]"#));
    assert_eq!(next, "0x14");
    let mined = world.ok("eth_getTransactionCount", &format!(r#"["{from}","latest"]"#));
    assert_eq!(mined, "0x0");
}

/// Goal: what is sent is seen at once wherever pending transactions are shown.
#[test]
fn a_sent_transaction_is_seen() {
    let mut world = World::new(12, RpcConfig::default());
    let hashes = world.ok("eth_newPendingTransactionFilter", "[]");
    let whole = world.ok("eth_newPendingTransactionFilter", "[true]");
    let hash = world.ok("eth_sendTransaction", &transfer(&sender().to_string()).to_string());
    assert_eq!(world.ok("eth_getFilterChanges", &json!([hashes]).to_string()), json!([hash]));
    assert_eq!(world.ok("eth_getFilterChanges", &json!([hashes]).to_string()), json!([]));
    let shown = world.ok("eth_getTransactionByHash", &json!([hash]).to_string());
    assert_eq!(world.ok("eth_getFilterChanges", &json!([whole]).to_string()), json!([shown]));
    assert_eq!(shown["blockHash"], Value::Null);
    assert_eq!(shown["type"], "0x2");
    assert_eq!(shown["gasPrice"], shown["maxFeePerGas"]);
    assert_eq!(world.ok("eth_pendingTransactions", "[]"), json!([shown]));
    let block = world.ok("eth_getBlockByNumber", r#"["pending",false]"#);
    assert_eq!(block["transactions"], json!([hash]));
    let content = world.ok("txpool_content", "[]");
    assert_eq!(content["pending"][sender().to_string().to_lowercase()]["0"], shown);

    let raw = world.ok("eth_getRawTransactionByHash", &json!([hash]).to_string());
    let (code, text) = world.err("eth_sendRawTransaction", &json!([raw]).to_string());
    assert_eq!((code, text.as_str()), (-32_000, "already known"));

    assert_eq!(world.ok("anvil_dropTransaction", &json!([hash]).to_string()), hash);
    assert_eq!(world.ok("anvil_dropTransaction", &json!([hash]).to_string()), Value::Null);
    assert_eq!(world.ok("eth_getTransactionByHash", &json!([hash]).to_string()), Value::Null);
}

/// Goal: a stranger sends only while he is impersonated.
#[test]
fn impersonation() {
    let mut world = World::new(13, RpcConfig::default());
    world.cheat_balance(STRANGER.parse().expect("an address"), ether(1));
    let params = transfer(STRANGER).to_string();
    assert_eq!(world.err("eth_sendTransaction", &params).1, "unknown account");
    let stranger = json!([STRANGER]).to_string();
    world.ok("anvil_impersonateAccount", &stranger);
    let hash = world.ok("eth_sendTransaction", &params);
    let shown = world.ok("eth_getTransactionByHash", &json!([hash]).to_string());
    assert_eq!(shown["from"], STRANGER);
    world.ok("anvil_stopImpersonatingAccount", &stranger);
    assert_eq!(world.err("eth_sendTransaction", &params).1, "unknown account");
    world.ok("anvil_autoImpersonateAccount", "[true]");
    world.ok("eth_sendTransaction", &params);
    world.ok("anvil_autoImpersonateAccount", "[false]");
    world.ok("eth_sendUnsignedTransaction", &params);
    assert_eq!(world.ok("txpool_status", "[]")["pending"], "0x3");
}

/// Goal: on a chain that is not dev nobody sends in the name of an account whose key is not here.
/// Method: every way in that takes a sender, and every method of the table that would open one.
#[test]
fn nobody_is_impersonated_unless_dev() {
    let mut world = World::new(17, RpcConfig { is_dev: false, ..RpcConfig::default() });
    world.cheat_balance(STRANGER.parse().expect("an address"), ether(1));
    let params = transfer(STRANGER).to_string();
    assert_eq!(world.err("eth_sendUnsignedTransaction", &params).0, -32_601);
    for method in METHODS.iter().filter(|method| method.contains("mpersonate")) {
        for params in [json!([STRANGER]), json!([true])] {
            assert_eq!(world.err(method, &params.to_string()).0, -32_601, "{method}");
        }
    }
    for method in ["eth_sendTransaction", "eth_signTransaction"] {
        assert_eq!(world.err(method, &params).1, "unknown account", "{method}");
    }
    assert_eq!(world.ok("txpool_status", "[]")["pending"], "0x0");
    world.ok("eth_sendTransaction", &transfer(&sender().to_string()).to_string());
    assert_eq!(world.ok("txpool_status", "[]")["pending"], "0x1", "a key that is here signs");
}

/// Goal: wrong transactions are refused with geth's texts before they reach the pool.
#[test]
fn refused_before_the_pool() {
    let mut world = World::new(14, RpcConfig::default());
    let from = sender();
    let cases = [
        (json!({ "chainId": "0x1" }), "chainId does not match node's (have=1, want=31337)"),
        (json!({ "to": null }), "contract creation without any data provided"),
        (
            json!({ "gasPrice": "0x1", "maxFeePerGas": "0x1" }),
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ),
        (
            json!({ "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2" }),
            "maxFeePerGas (1) < maxPriorityFeePerGas (2)",
        ),
        (
            json!({ "data": "0x01", "input": "0x02" }),
            "both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data",
        ),
    ];
    for (extra, text) in cases {
        let mut call = transfer(&from.to_string());
        let fields = call[0].as_object_mut().expect("an object");
        fields.extend(extra.as_object().expect("an object").clone());
        assert_eq!(world.err("eth_sendTransaction", &call.to_string()).1, text);
    }
    assert_eq!(world.ok("txpool_status", "[]")["pending"], "0x0");
}

/// Goal: signatures recover to the account: messages by EIP-191, typed data by EIP-712's example.
#[test]
fn signatures() {
    let mut world = World::new(15, RpcConfig::default());
    let from = sender();
    let read = |answer: Value| -> Signature { answer.as_str().expect("hex").parse().expect("65") };
    let sign = read(world.ok("eth_sign", &format!(r#"["{from}","0xdeadbeef"]"#)));
    let personal = read(world.ok("personal_sign", &format!(r#"["0xdeadbeef","{from}"]"#)));
    assert_eq!(sign, personal);
    assert_eq!(sign.recover_address_from_msg([0xde, 0xad, 0xbe, 0xef]).expect("good"), from);

    let typed = json!({
        "types": {
            "EIP712Domain": [
                { "name": "name", "type": "string" },
                { "name": "version", "type": "string" },
                { "name": "chainId", "type": "uint256" },
                { "name": "verifyingContract", "type": "address" },
            ],
            "Person": [
                { "name": "name", "type": "string" },
                { "name": "wallet", "type": "address" },
            ],
            "Mail": [
                { "name": "from", "type": "Person" },
                { "name": "to", "type": "Person" },
                { "name": "contents", "type": "string" },
            ],
        },
        "primaryType": "Mail",
        "domain": {
            "name": "Ether Mail",
            "version": "1",
            "chainId": 1,
            "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
        },
        "message": {
            "from": { "name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826" },
            "to": { "name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB" },
            "contents": "Hello, Bob!",
        },
    });
    // The digest that EIP-712 itself gives for this example.
    let digest: B256 = b256!("be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2");
    for form in [typed.clone(), json!(typed.to_string())] {
        let answer = world.ok("eth_signTypedData_v4", &json!([from, form]).to_string());
        let signature = read(answer);
        assert_eq!(signature.recover_address_from_prehash(&digest).expect("good"), from);
    }
}

/// Goal: typed data whose types nest without end, or double at each level, is refused and not
/// followed.
#[test]
fn endless_types_are_refused() {
    let mut world = World::new(16, RpcConfig::default());
    let from = sender();
    let field = |name: &str, ty: &str| json!({ "name": name, "type": ty });
    let mut refuse = |types: Value, want: &str| {
        let typed = json!({ "types": types, "primaryType": "A0", "domain": {}, "message": {} });
        for form in [typed.clone(), json!(typed.to_string())] {
            let error = world.err("eth_signTypedData_v4", &json!([from, form]).to_string());
            assert_eq!(error, (-32_602, format!("invalid argument 1: {want}")));
        }
    };
    let one = |ty: String| json!({ "A0": [field("a", &ty)] });
    refuse(one(format!("uint8{}", "[]".repeat(200_000))), "a type of 200000 dimensions, limit 8");
    refuse(one("(".repeat(200)), &format!("invalid type name '{}'", "(".repeat(200)));
    refuse(one("a".repeat(1_000)), "a type name of 1000 bytes, limit 256");
    refuse(one("A0".to_owned()), "a type contains itself");
    refuse(one("A0[]".to_owned()), "a type contains itself");
    let doubling = |n: usize| {
        let next = format!("A{}", n + 1);
        (format!("A{n}"), json!([field("x", &next), field("y", &next)]))
    };
    let doubling: serde_json::Map<_, _> = (0..13).map(doubling).collect();
    refuse(Value::Object(doubling), "a type of 16383 fields in all, limit 10000");
    let wide: serde_json::Map<_, _> = (0..129).map(|n| (format!("A{n}"), json!([]))).collect();
    refuse(Value::Object(wide), "129 types, limit 128");
    // A string in a string in a string is no way around.
    let nested = json!([from, json!(json!("{}").to_string()).to_string()]).to_string();
    assert_eq!(world.err("eth_signTypedData_v4", &nested).0, -32_602);
}

/// Goal: a pooled transaction is replaced at another price by who names its fields; anything else
/// is not found.
#[test]
fn a_pooled_transaction_is_sent_again() {
    let mut world = World::new(17, RpcConfig::default());
    let hash = world.ok("eth_sendTransaction", &transfer(&sender().to_string()).to_string());
    let shown = world.ok("eth_getTransactionByHash", &json!([hash]).to_string());
    let fields = ["from", "to", "value", "nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas"];
    let fields: serde_json::Map<String, Value> =
        fields.map(|field| (field.to_owned(), shown[field].clone())).into_iter().collect();
    let mut other = fields.clone();
    other.insert("value".to_owned(), json!("0x2"));
    let (code, text) = world.err("eth_resend", &json!([other, "0x2540be400"]).to_string());
    assert!(code == -32_000 && text.ends_with(" not found"), "{text}");
    other.remove("nonce");
    let (_, text) = world.err("eth_resend", &json!([other]).to_string());
    assert_eq!(text, "missing transaction nonce in transaction spec");

    let again = world.ok("eth_resend", &json!([fields, "0x2540be400", "0x7530"]).to_string());
    assert_ne!(again, hash);
    assert_eq!(world.ok("txpool_status", "[]"), json!({ "pending": "0x1", "queued": "0x0" }));
    let pooled = world.ok("eth_getTransactionByHash", &json!([again]).to_string());
    let [price, gas, value] = ["gasPrice", "gas", "value"].map(|field| pooled[field].clone());
    assert_eq!((price, gas, value), (json!("0x2540be400"), json!("0x7530"), json!("0x1")));
    assert_eq!(world.ok("debug_clearTxpool", "[]"), Value::Null);
    assert_eq!(world.ok("txpool_status", "[]"), json!({ "pending": "0x0", "queued": "0x0" }));
}
