//! Blocks, accounts, fees: shapes as geth shows them, and its errors.

use std::time::Duration;

use super::world::{Event, Setup, World, ether, sender};
use crate::{EngineCall, RpcConfig};
use alloy_primitives::{Address, B256, U256};
use alloy_trie::root::storage_root_unhashed;
use evenkeel_chain::CommandError;
use evenkeel_runtime::{Class, Port};
use evenkeel_state::{Account, ChangeSet};
use serde_json::{Value, json};

const NOBODY: &str = "0x00000000000000000000000000000000000000ee";

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<_> =
        object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Goal: what is not there and what is malformed gets geth's code and text.
#[test]
fn errors_table() {
    let mut world = World::new(1, RpcConfig::default());
    world.mine(&[]);
    let cases = [
        ("eth_getBalance", "[]", -32_602, "missing value for required argument 0"),
        (
            "eth_getBalance",
            r#"["0x12"]"#,
            -32_602,
            "invalid argument 0: hex string has length 2, want 40 for common.Address",
        ),
        ("eth_getBalance", &format!(r#"["{NOBODY}","0x99"]"#), -32_000, "header not found"),
        (
            "eth_getBalance",
            &format!(r#"["{NOBODY}","newest"]"#),
            -32_602,
            "invalid argument 1: block \"newest\": expected latest, pending, earliest, safe, finalized, \
             a number (hex with 0x, or decimal) or a block hash",
        ),
        (
            "eth_getBalance",
            &format!(r#"["{NOBODY}","latest",1]"#),
            -32_602,
            "too many arguments, want at most 2",
        ),
        (
            "eth_getBlockByNumber",
            r#"["0x01"]"#,
            -32_602,
            "invalid argument 0: json: cannot unmarshal hex number with leading zero digits into Go value of type hexutil.Uint64",
        ),
        ("eth_blockNumber", "[1]", -32_602, "too many arguments, want at most 0"),
        ("eth_blockNumber", "{}", -32_602, "non-array args"),
        (
            "eth_feeHistory",
            r#"["0x1","0x9",[]]"#,
            -32_000,
            "request beyond head block: requested 9, head 1",
        ),
        (
            "eth_feeHistory",
            r#"["0x1","latest",[-1]]"#,
            -32_000,
            "invalid reward percentile: -1.000000",
        ),
        (
            "eth_feeHistory",
            r#"["0x1","latest",[50,40]]"#,
            -32_000,
            "invalid reward percentile: #0:50.000000 >= #1:40.000000",
        ),
        (
            "eth_getLogs",
            r#"[{"fromBlock":"0x2","toBlock":"0x1"}]"#,
            -32_602,
            "invalid block range params",
        ),
        (
            "eth_getLogs",
            r#"[{"topics":[null,null,null,null,null]}]"#,
            -32_602,
            "invalid argument 0: exceed max topics",
        ),
        ("eth_getFilterChanges", r#"["0x1"]"#, -32_000, "filter not found"),
        ("eth_subscribe", r#"["newHeads"]"#, -32_001, "notifications not supported"),
        ("eth_sign", &format!(r#"["{NOBODY}","0x00"]"#), -32_000, "unknown account"),
        ("eth_sendTransaction", &format!(r#"[{{"from":"{NOBODY}"}}]"#), -32_000, "unknown account"),
        (
            "debug_traceTransaction",
            &format!(r#"["0x{}"]"#, "ab".repeat(32)),
            -32_000,
            "transaction not found",
        ),
    ];
    for (method, params, code, text) in cases {
        assert_eq!(world.err(method, params), (code, text.to_owned()), "{method} {params}");
    }
    for (method, params) in [
        ("eth_getBlockByNumber", r#"["0x99",false]"#.to_owned()),
        ("eth_getBlockByHash", format!(r#"["0x{}",false]"#, "ab".repeat(32))),
        ("eth_getTransactionByHash", format!(r#"["0x{}"]"#, "ab".repeat(32))),
        ("eth_getTransactionReceipt", format!(r#"["0x{}"]"#, "ab".repeat(32))),
        ("eth_getBlockReceipts", r#"["0x99"]"#.to_owned()),
        ("eth_getUncleByBlockNumberAndIndex", r#"["0x0","0x0"]"#.to_owned()),
    ] {
        assert_eq!(world.ok(method, &params), Value::Null, "{method}");
    }
}

/// Goal: `latest` shows cheats at once, history never does, and the head's number means the head.
#[test]
fn cheats_and_history() {
    let mut world = World::new(1, RpcConfig::default());
    let head = world.mine(&[]);
    let cheated = Address::repeat_byte(0x77);
    world.cheat_balance(cheated, ether(5));
    let mut balance = |block: &str| {
        let answer = world.ok("eth_getBalance", &format!(r#"["{cheated}",{block}]"#));
        U256::from_str_radix(&answer.as_str().expect("hex")[2..], 16).expect("hex")
    };
    let by_hash = format!(r#"{{"blockHash":"{}"}}"#, head.hash);
    for block in [r#""latest""#, r#""pending""#, r#""safe""#, r#""0x1""#, &by_hash] {
        assert_eq!(balance(block), ether(5), "{block}");
    }
    assert_eq!(balance(r#""earliest""#), U256::ZERO);
    world.mine(&[]);
    let mut balance =
        |block: &str| world.ok("eth_getBalance", &format!(r#"["{cheated}",{block}]"#));
    assert_eq!(balance(r#""0x1""#), "0x0", "block 1 itself has no cheat");
    assert_eq!(balance(r#""0x2""#), json!(format!("{:#x}", ether(5))));
}

/// Goal: blocks, transactions and receipts have geth's fields, and agree with each other.
#[test]
fn shapes() {
    let mut world = World::new(1, RpcConfig::default());
    let event = Event { address: Address::repeat_byte(1), topics: vec![] };
    let block = world.mine(&[vec![event.clone()], vec![event.clone(), event]]);
    let shown = world.ok("eth_getBlockByNumber", r#"["latest",true]"#);
    assert_eq!(
        keys(&shown),
        [
            "baseFeePerGas",
            "blobGasUsed",
            "difficulty",
            "excessBlobGas",
            "extraData",
            "gasLimit",
            "gasUsed",
            "hash",
            "logsBloom",
            "miner",
            "mixHash",
            "nonce",
            "number",
            "parentBeaconBlockRoot",
            "parentHash",
            "receiptsRoot",
            "requestsHash",
            "sha3Uncles",
            "size",
            "stateRoot",
            "timestamp",
            "transactions",
            "transactionsRoot",
            "uncles",
            "withdrawals",
            "withdrawalsRoot",
        ]
    );
    assert_eq!(shown["hash"], json!(block.hash));
    assert_eq!(shown["size"], json!(format!("{:#x}", block.encode_rlp().len())));

    let tx = &shown["transactions"][1];
    assert_eq!(
        keys(tx),
        [
            "accessList",
            "blockHash",
            "blockNumber",
            "blockTimestamp",
            "chainId",
            "from",
            "gas",
            "gasPrice",
            "hash",
            "input",
            "maxFeePerGas",
            "maxPriorityFeePerGas",
            "nonce",
            "r",
            "s",
            "to",
            "transactionIndex",
            "type",
            "v",
            "value",
            "yParity",
        ]
    );
    let hash = tx["hash"].as_str().expect("hex").to_owned();
    assert_eq!(world.ok("eth_getTransactionByHash", &format!(r#"["{hash}"]"#)), *tx);
    assert_eq!(world.ok("eth_getTransactionByBlockNumberAndIndex", r#"["0x1","0x1"]"#), *tx);
    let from = sender();
    assert_eq!(
        world.ok("eth_getTransactionBySenderAndNonce", &format!(r#"["{from}","0x1"]"#)),
        *tx
    );

    let receipt = world.ok("eth_getTransactionReceipt", &format!(r#"["{hash}"]"#));
    assert_eq!(
        keys(&receipt),
        [
            "blockHash",
            "blockNumber",
            "contractAddress",
            "cumulativeGasUsed",
            "effectiveGasPrice",
            "from",
            "gasUsed",
            "logs",
            "logsBloom",
            "status",
            "to",
            "transactionHash",
            "transactionIndex",
            "type",
        ]
    );
    assert_eq!(receipt["gasUsed"], "0x5208");
    assert_eq!(receipt["cumulativeGasUsed"], "0xa410");
    assert_eq!(receipt["contractAddress"], Value::Null);
    assert_eq!(receipt["effectiveGasPrice"], tx["gasPrice"]);
    assert_eq!(receipt["logs"][1]["logIndex"], "0x2", "logs are counted over the block");
    let receipts = world.ok("eth_getBlockReceipts", r#"["latest"]"#);
    assert_eq!(receipts[1], receipt);
    assert_eq!(world.ok("eth_getBlockTransactionCountByNumber", r#"["latest"]"#), "0x2");

    let pending = world.ok("eth_getBlockByNumber", r#"["pending",false]"#);
    assert_eq!(pending["number"], "0x2");
    assert_eq!(pending["parentHash"], shown["hash"]);
}

/// Goal: n blocks give n + 1 base fees, n ratios and n reward rows, and the last base fee is the
/// next block's.
#[test]
fn fee_history() {
    let mut world = World::new(1, RpcConfig::default());
    for _ in 0..3 {
        world.mine(&[vec![], vec![], vec![]]);
    }
    let history = world.ok("eth_feeHistory", r#"["0x2","latest",[0,50,100]]"#);
    assert_eq!(history["oldestBlock"], "0x2");
    let lengths = [
        ("baseFeePerGas", 3),
        ("gasUsedRatio", 2),
        ("baseFeePerBlobGas", 3),
        ("blobGasUsedRatio", 2),
        ("reward", 2),
    ];
    for (field, length) in lengths {
        assert_eq!(history[field].as_array().expect(field).len(), length, "{field}");
    }
    // Tips of the hand-made transactions are 1.0, 1.1 and 1.2 gwei.
    assert_eq!(history["reward"][0], json!(["0x3b9aca00", "0x4190ab00", "0x47868c00"]));
    assert_eq!(history["baseFeePerGas"][2], world.ok("eth_baseFee", "[]"));
    // More blocks than there are: the chain's start is the end.
    let all = world.ok("eth_feeHistory", r#"[1024,"latest"]"#);
    assert_eq!(all["oldestBlock"], "0x0");
    assert_eq!(all.get("reward"), None);
    let none = world.ok("eth_feeHistory", r#"["0x0","latest",[]]"#);
    assert_eq!(none["oldestBlock"], "0x0");

    let late = RpcConfig { evm_timeout: Duration::ZERO, ..RpcConfig::default() };
    let late = World::new(1, late).err("eth_feeHistory", r#"["0x1","latest",[50]]"#);
    assert_eq!(late, (-32_002, "request timed out".to_owned()));
}

/// Goal: whoever asks what the next block costs hears of a base fee that was ordered, until a block
/// has been made with it.
#[test]
fn an_ordered_base_fee_is_the_next_one_everywhere() {
    let mut world = World::new(49, RpcConfig::default());
    world.mine(&[]);
    let next = |world: &mut World| {
        let history = world.ok("eth_feeHistory", r#"["0x1","latest"]"#);
        let info = world.ok("anvil_nodeInfo", "[]");
        let all = [
            world.ok("eth_baseFee", "[]"),
            history["baseFeePerGas"][1].clone(),
            info["environment"]["baseFee"].clone(),
            world.ok("eth_getBlockByNumber", r#"["pending",false]"#)["baseFeePerGas"].clone(),
        ];
        assert!(all.iter().all(|fee| *fee == all[0]), "{all:?}");
        all[0].clone()
    };
    let by_rule = next(&mut world);
    world.api.flags.set_base_fee_after(1, 0x1234);
    assert_ne!(by_rule, "0x1234");
    assert_eq!(next(&mut world), "0x1234");
    world.mine(&[]);
    assert_ne!(next(&mut world), "0x1234");
}

/// Goal: `eth_getAccount` has the root that the state trie has, cheats included, at every height.
#[test]
fn accounts_have_their_storage_root() {
    let mut world = World::new(45, RpcConfig::default());
    let address = Address::repeat_byte(0x77);
    let nobody = world.ok("eth_getAccount", &json!([address, "latest"]).to_string());
    assert_eq!(
        nobody,
        json!({
            "balance": "0x0",
            "codeHash": "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
            "nonce": "0x0",
            "storageRoot": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
        })
    );
    let mut changes = ChangeSet::default();
    let slots = [(U256::from(3), U256::from(9)), (U256::from(4), U256::from(1))];
    changes.storage.entry(address).or_default().slots.extend(slots);
    changes.accounts.insert(address, Some(Account { nonce: 2, ..Account::default() }));
    world.cheat(changes);
    let root = storage_root_unhashed(slots.map(|(slot, value)| (B256::from(slot), value)));
    for _ in ["as a cheat", "in a block"] {
        let account = world.ok("eth_getAccount", &json!([address, "latest"]).to_string());
        assert_eq!((&account["nonce"], &account["storageRoot"]), (&json!("0x2"), &json!(root)));
        world.mine(&[]);
    }
    let account = world.ok("eth_getAccount", &json!([address, "0x1"]).to_string());
    assert_eq!(account["storageRoot"], json!(root));
    assert_eq!(world.ok("eth_getAccount", &json!([address, "0x0"]).to_string()), nobody);
    let (_, text) = world.err("eth_getAccount", &json!([address, "0x99"]).to_string());
    assert_eq!(text, "header not found");
}

/// Goal: what this node says of itself is what it was started with.
#[test]
fn the_node_describes_itself() {
    let mut world = World::new(46, RpcConfig::default());
    assert_eq!(world.ok("anvil_nodeInfo", "[]")["transactionOrder"], "fifo");
    let config = world.ok("eth_config", "[]");
    assert_eq!((&config["next"], &config["last"]), (&Value::Null, &Value::Null));
    assert_eq!(config["current"]["activationTime"], 0);
    assert_eq!(config["current"]["chainId"], "0x7a69");
}

/// Goal: loops over blocks and over the pool give way to others on the way, by count too.
#[test]
fn loops_are_answered_in_many_turns() {
    let mut world = World::new(50, RpcConfig::default());
    let logs = world.ok("eth_newFilter", r#"[{"fromBlock":"0x0"}]"#);
    let blocks = world.ok("eth_newBlockFilter", "[]");
    // With a log each: blocks without one are not looked at.
    let event = Event { address: Address::ZERO, topics: vec![] };
    for _ in 0..500 {
        world.mine(&[vec![event.clone()]]);
    }
    let call = json!([{ "from": sender(), "to": NOBODY, "gas": "0x5208" }]).to_string();
    for _ in 0..500 {
        world.ok("eth_sendTransaction", &call);
    }
    for (method, params) in [
        ("eth_getLogs", json!([{ "fromBlock": "0x0" }])),
        ("eth_getFilterChanges", json!([logs])),
        ("eth_getFilterChanges", json!([blocks])),
        ("eth_feeHistory", json!(["0x1f4", "latest"])),
        ("eth_getBlockByNumber", json!(["pending", false])),
        ("txpool_content", json!([])),
    ] {
        let turns = |world: &World| world.sim.system().status().class(Class::Rpc).turns;
        let before = turns(&world);
        world.ok(method, &params.to_string());
        let turns = turns(&world) - before;
        assert!(turns >= 10, "{method} {params}: {turns} turns");
    }
}

/// Goal: an engine that does not say how it is set is an error of every method that asks it, never
/// an answer made up.
#[test]
fn an_engine_that_does_not_answer_is_an_error() {
    let busy = Port::new(|EngineCall { reply, .. }: EngineCall| {
        reply.send(Err(CommandError::Busy));
        Ok(())
    });
    let mut world = World::with(48, Setup { engine: busy, ..Setup::default() });
    for (method, params) in [
        ("eth_coinbase", "[]"),
        ("eth_mining", "[]"),
        ("anvil_nodeInfo", "[]"),
        ("anvil_getAutomine", "[]"),
        ("anvil_getIntervalMining", "[]"),
        ("anvil_removeBlockTimestampInterval", "[]"),
        ("eth_getBlockByNumber", r#"["pending",false]"#),
        ("eth_call", r#"[{},"pending"]"#),
    ] {
        assert_eq!(world.err(method, params), (-32_005, "engine is busy".to_owned()), "{method}");
    }
    world.ok("eth_getBlockByNumber", r#"["latest",false]"#);
}

/// Goal: what shows or looks through a whole block gives way to others on the way, by count too.
#[test]
fn large_blocks_are_answered_in_many_turns() {
    let mut world = World::new(47, RpcConfig::default());
    let event = Event { address: Address::repeat_byte(7), topics: Vec::new() };
    let txs = 2_000;
    world.mine(&vec![vec![event]; txs]);
    for (method, params, turns_min) in [
        ("eth_getBlockReceipts", r#"["latest"]"#, 20),
        ("eth_getBlockByNumber", r#"["latest",true]"#, 20),
        ("eth_getLogs", r#"[{"address":"0x0707070707070707070707070707070707070707"}]"#, 4),
    ] {
        let turns = |world: &World| world.sim.system().status().class(Class::Rpc).turns;
        let before = turns(&world);
        let answer = world.ok(method, params);
        let shown = if answer.is_array() { &answer } else { &answer["transactions"] };
        assert_eq!(shown.as_array().map(Vec::len), Some(txs), "{method}");
        let turns = turns(&world) - before;
        assert!(turns >= turns_min, "{method}: {turns} turns");
    }
}

/// Goal: a chain before Amsterdam has no block access lists, which is another answer than that
/// there is no such block.
#[test]
fn blocks_have_no_access_lists() {
    let mut world = World::new(46, RpcConfig::default());
    let block = world.mine(&[]);
    let absent = (-32_001, "Resource not found".to_owned());
    for known in [json!(["latest"]), json!(["0x1"]), json!([block.hash])] {
        let params = known.to_string();
        assert_eq!(world.err("eth_getBlockAccessList", &params), absent);
        assert_eq!(world.err("debug_getRawBlockAccessList", &params), absent);
    }
    for unknown in [json!(["pending"]), json!(["0x2"]), json!([B256::ZERO])] {
        let params = unknown.to_string();
        assert_eq!(world.ok("eth_getBlockAccessList", &params), Value::Null);
        assert_eq!(world.err("debug_getRawBlockAccessList", &params), absent);
    }
    assert_eq!(world.err("eth_getBlockAccessListByBlockNumber", r#"["0x1"]"#), absent);
    let unknown = json!([B256::ZERO]).to_string();
    assert_eq!(world.ok("eth_getBlockAccessListByBlockHash", &unknown), Value::Null);
}
