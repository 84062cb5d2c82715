//! The chain goes back and on from there, as clients see it.

use super::*;

/// Stores the hashes of the blocks 1 and 3 before it under its number and 1,000 above, and logs.
const WITNESS: &str = "0x600143034043556003430340436103e801554360006000a100";

fn address(number: u8) -> String {
    format!("0x{number:040x}")
}

struct Chain {
    world: World,
    alice: Value,
    witness: String,
}

impl Chain {
    /// Blocks 1 to `height`, each with a call of the witness by the first dev account.
    fn new(seed: u64, height: u64) -> Self {
        let world = World::new(seed, Order::Fair, Mining::None);
        let alice = json!(dev_accounts().addresses()[0]);
        let mut chain = Self { world, alice, witness: address(0x77) };
        chain.ask("anvil_setCode", &json!([chain.witness, WITNESS]));
        for _ in 0..height {
            chain.send(&json!({}));
            chain.ask("evm_mine", &json!([]));
        }
        chain
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let answer = self.world.ask(method, params);
        answer.unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    fn refused(&mut self, method: &str, params: &Value) -> (i64, String) {
        let before = self.hash("latest");
        let error = self.world.ask(method, params).expect_err("it is refused");
        assert_eq!(self.hash("latest"), before, "{method} {params} changes nothing");
        (error.code, error.message.into_owned())
    }

    /// A call of the witness as a request.
    fn call(&self, more: &Value) -> Value {
        let mut call = json!({ "from": self.alice, "to": self.witness, "gas": "0x30d40" });
        let more = more.as_object().expect("an object").clone();
        call.as_object_mut().expect("an object").extend(more);
        call
    }

    fn send(&mut self, more: &Value) -> Value {
        let call = self.call(more);
        self.ask("eth_sendTransaction", &json!([call]))
    }

    fn block(&mut self, at: &str) -> Value {
        self.ask("eth_getBlockByNumber", &json!([at, false]))
    }

    fn hash(&mut self, at: &str) -> Value {
        self.block(at)["hash"].clone()
    }

    fn hashes(&mut self) -> Vec<Value> {
        let head = unbroken(&mut self.world);
        (0..=head).map(|number| self.hash(&format!("{number:#x}"))).collect()
    }

    fn slot(&mut self, slot: u64) -> Value {
        let params = json!([self.witness, format!("{slot:#x}"), "latest"]);
        self.ask("eth_getStorageAt", &params)
    }
}

/// Goal: after a reorg everything that is read is of the new chain, `BLOCKHASH` and what it left in
/// the state among it; filters take back the logs that were dropped before they bring new ones;
/// what waits in the pool waits for the gap before it to be filled.
#[test]
fn a_reorg_replaces_blocks_for_all_who_read() {
    let mut chain = Chain::new(1, 5);
    let before = chain.hashes();
    let logs_id = chain.ask("eth_newFilter", &json!([{ "address": chain.witness }]));
    let blocks_id = chain.ask("eth_newBlockFilter", &json!([]));
    let mark = chain.ask("evm_snapshot", &json!([]));
    let params = json!(["0x5", false]);
    let dropped = chain.ask("eth_getBlockByNumber", &params)["transactions"][0].clone();
    chain.send(&json!({ "nonce": "0x5" }));

    let tx = chain.call(&json!({ "data": "0x01" }));
    let call = json!([3, [[tx, 1], [chain.call(&json!({ "data": "0x02" })), "0x2"]]]);
    assert_eq!(chain.ask("anvil_reorg", &call), Value::Null);
    let after = chain.hashes();
    assert_eq!((after.len(), &after[..3]), (6, &before[..3]));
    assert!(after[3..].iter().all(|hash| !before.contains(hash)), "also the empty block");
    let zero = json!(B256::ZERO);
    let slots = [3, 4, 5, 1_003, 1_004, 1_005].map(|slot| chain.slot(slot));
    let expected = [&zero, &after[3], &after[4], &zero, &after[1], &after[2]];
    assert_eq!(slots.each_ref(), expected, "BLOCKHASH of the new branch, and the shared chain");

    assert_eq!(chain.ask("eth_getTransactionByHash", &json!([dropped])), Value::Null);
    assert_eq!(receipt(&mut chain.world, &dropped), Value::Null);
    assert_eq!(chain.ask("eth_getBlockByHash", &json!([before[5], false])), Value::Null);
    let counts = chain.ask("eth_getTransactionCount", &json!([chain.alice, "latest"]));
    assert_eq!(counts, "0x4");
    assert_eq!(chain.ask("evm_revert", &json!([mark])), false, "its block is gone");
    let fees = chain.ask("eth_feeHistory", &json!(["0x5", "latest", []]));
    assert_eq!(fees["oldestBlock"], "0x1");
    let last = chain.block("latest");
    assert_eq!(fees["gasUsedRatio"][2], json!(0.0), "block 3 is empty now");
    assert_eq!(fees["baseFeePerGas"][4], last["baseFeePerGas"]);

    let told = chain.ask("eth_getFilterChanges", &json!([logs_id]));
    let told: Vec<(Value, Value, Value)> = told
        .as_array()
        .expect("logs")
        .iter()
        .map(|log| (log["removed"].clone(), log["blockNumber"].clone(), log["blockHash"].clone()))
        .collect();
    let log = |removed: bool, number: usize, hashes: &[Value]| {
        (json!(removed), json!(format!("{number:#x}")), hashes[number].clone())
    };
    let gone = [3, 4, 5].map(|number| log(true, number, &before));
    let new = [4, 5].map(|number| log(false, number, &after));
    assert_eq!(told, [&gone[..], &new[..]].concat());
    let told = chain.ask("eth_getFilterChanges", &json!([blocks_id]));
    assert_eq!(told, json!(after[3..]));
    assert_eq!(chain.ask("eth_getFilterChanges", &json!([logs_id])), json!([]));

    let status = |chain: &mut Chain| chain.ask("txpool_status", &json!([]));
    assert_eq!(status(&mut chain), json!({ "pending": "0x0", "queued": "0x1" }));
    chain.send(&json!({}));
    assert_eq!(status(&mut chain), json!({ "pending": "0x2", "queued": "0x0" }));
    chain.ask("evm_mine", &json!([]));
    assert_eq!(chain.slot(6), after[5]);
    assert_eq!(unbroken(&mut chain.world), 6);
}

/// Goal: a rollback takes blocks, the time and what was read of them, and leaves the pool, the
/// cheats on the block that is kept, and snapshots not above it; geth's `debug_setHead` is the
/// same.
#[test]
fn a_rollback_takes_the_last_blocks() {
    let mut chain = Chain::new(2, 3);
    let mark = chain.ask("evm_snapshot", &json!([]));
    let rich = address(0x99);
    chain.ask("anvil_setBalance", &json!([rich, "0x7"]));
    let logs_id = chain.ask("eth_newFilter", &json!([{ "fromBlock": "0x5" }]));
    let ahead = chain.ask("evm_increaseTime", &json!([1_000]));
    let times = json!(["0x3"]);
    chain.ask("anvil_mine", &times);
    let sent = chain.send(&json!({}));
    let before = chain.hashes();

    assert_eq!(chain.ask("anvil_rollback", &json!([])), Value::Null);
    assert_eq!(chain.hashes(), before[..6]);
    assert_eq!(chain.ask("anvil_rollback", &json!([0])), Value::Null);
    assert_eq!(chain.hashes(), before[..6]);
    assert_eq!(chain.ask("debug_setHead", &json!(["0x3"])), Value::Null);
    assert_eq!(chain.hashes(), before[..4]);
    assert_eq!(chain.ask("eth_getBalance", &json!([rich, "latest"])), "0x7");
    let listed = chain.ask("anvil_metadata", &json!([]))["snapshots"].clone();
    assert_eq!(listed.as_object().map(serde_json::Map::len), Some(1), "{listed}");
    let now = chain.ask("evm_increaseTime", &json!([0]));
    assert!(now.as_i64() < ahead.as_i64(), "the clock has gone back: {now} after {ahead}");
    // What waits is mined on what is left; a filter from block 5 on knows nothing of block 4.
    chain.ask("evm_mine", &json!([]));
    assert_eq!(receipt(&mut chain.world, &sent)["blockNumber"], "0x4");
    assert_eq!(chain.slot(4), before[3]);
    assert_eq!(chain.ask("eth_getFilterChanges", &json!([logs_id])), json!([]));
    assert_eq!(chain.ask("evm_revert", &json!([mark])), true, "it was not above");
    assert_eq!(chain.ask("eth_getBalance", &json!([rich, "latest"])), "0x0");
    chain.ask("anvil_rollback", &json!(["0x3"]));
    assert_eq!(chain.hashes(), before[..1]);
}

/// Goal: what cannot be done is refused by name, and before anything is changed.
#[test]
fn what_cannot_be_is_refused() {
    let mut chain = Chain::new(3, 4);
    let good = chain.call(&json!({}));
    let depth = |what: &str, depth: u64| {
        let text = "depth must not exceed current chain height: current height 4, depth";
        (-32_602, format!("{what} {text} {depth}"))
    };
    assert_eq!(chain.refused("anvil_rollback", &json!([5])), depth("Rollback", 5));
    assert_eq!(chain.refused("anvil_reorg", &json!([5, []])), depth("Reorg", 5));
    let beyond = chain.refused("anvil_reorg", &json!([2, [[good, 0], [good, 2]]]));
    assert!(beyond.1.contains("Block number 2 must be below the depth 2"), "{beyond:?}");
    for (params, word) in [
        (json!([]), "missing value for depth"),
        (json!(["x", []]), "invalid argument 0: depth"),
        (json!([1, 7]), "invalid argument 1: expected pairs"),
        (json!([1, [[good]]]), "invalid argument 1: expected pairs"),
        (json!([1, [[good, "y"]]]), "block of transaction 0"),
        (json!([1, [[good, 0], ["0x02f8", 0]]]), "transaction 1: "),
        (json!([1, [[good, 0], [{ "to": 7 }, 0]]]), "transaction 1: "),
        (json!([1, [[{ "from": address(0x55), "to": address(1) }, 0]]]), "unknown account"),
        (json!([1, [], 3]), "too many arguments"),
    ] {
        let (code, text) = chain.refused("anvil_reorg", &params);
        assert!(matches!(code, -32_602 | -32_000) && text.contains(word), "{params}: {text}");
    }
    for (number, word) in [("0x4", "future block"), ("0x5", "future block"), ("x", "argument 0")] {
        let (_, text) = chain.refused("debug_setHead", &json!([number]));
        assert!(text.contains(word), "{number}: {text}");
    }
    assert_eq!(chain.refused("anvil_rollback", &json!(["x"])).0, -32_602);

    // Known by name, and without the rest; what its block cannot have is left out.
    let late = chain.call(&json!({ "nonce": "0x63" }));
    let before = chain.hashes();
    let pairs = json!([[late, 0], [good, 0], [good, 0]]);
    chain.ask("anvil_reorg", &json!([{ "depth": 1, "txBlockPairs": pairs }]));
    assert_eq!(chain.block("latest")["transactions"].as_array().map(Vec::len), Some(2));
    let by_name = json!({ "depth": "0x1", "tx_block_pairs": [] });
    chain.ask("anvil_reorg", &by_name);
    assert_eq!(chain.hashes()[..4], before[..4]);
    assert_eq!(chain.block("latest")["transactions"], json!([]));
}

/// Goal: transactions that came signed are put on the new branch as they are; gas and nonces that
/// are not given are found, also for what needs a transaction before it.
#[test]
fn a_reorg_fills_what_is_missing() {
    let mut chain = Chain::new(4, 2);
    let hash = chain.send(&json!({ "data": "0x05" }));
    for _ in 0..2 {
        chain.ask("evm_mine", &json!([]));
    }
    let raw = chain.ask("eth_getRawTransactionByHash", &json!([hash]));
    // Deploys the witness, which the next one calls at its address to be.
    let length = (WITNESS.len() - 2) / 2;
    let init = format!("0x60{length:02x}600c60003960{length:02x}6000f3{}", &WITNESS[2..]);
    let alice = dev_accounts().addresses()[0];
    let made = alice.create(3);
    let deploy = json!({ "from": alice, "data": init });
    let call = json!({ "from": alice, "to": made, "data": "0x01" });
    let plain = json!({ "from": dev_accounts().addresses()[1], "to": alice, "value": "0x1" });
    let pairs = json!([[deploy, 1], [raw, 0], [call, 1], [plain, 1]]);
    chain.ask("anvil_reorg", &json!([2, pairs]));
    let counts: Vec<_> = (1..=4)
        .map(|n| block(&mut chain.world, n)["transactions"].as_array().map_or(0, Vec::len))
        .collect();
    assert_eq!(counts, [1, 1, 1, 3]);
    let logs = json!([{ "address": made, "fromBlock": "0x1" }]);
    assert_eq!(chain.ask("eth_getLogs", &logs).as_array().map(Vec::len), Some(1));
}

/// Goal: whenever engine or executor ends in the middle of it, a reorg leaves the former chain or
/// the whole new one; nobody hangs, and blocks go on.
#[test]
fn a_reorg_is_all_or_nothing_when_a_process_ends() {
    let mut outcomes = [0, 0];
    for (victim, instant) in (0..2).flat_map(|victim| (0..30).map(move |at| (victim, at))) {
        let mut chain = Chain::new(instant, 5);
        let before = chain.hashes();
        let pairs = json!([[chain.call(&json!({})), 0], [chain.call(&json!({})), 2]]);
        let reorg = chain.world.send(&Share::new(), "anvil_reorg", &json!([3, pairs]));
        chain.world.simulation.run_for(Duration::from_micros(instant * 20));
        chain.world.node.supervised[victim].kill();
        let answer = chain.world.simulation.run_until(reorg).expect("a request does not panic");
        chain.world.simulation.run_for(Duration::from_secs(1));
        let after = chain.hashes();
        let is_done = after != before;
        assert!(is_done || answer.is_err(), "what is answered is done");
        assert_eq!((after.len(), &after[..3]), (6, &before[..3]));
        assert!(!is_done || after[3..].iter().all(|hash| !before.contains(hash)));
        outcomes[usize::from(is_done)] += 1;
        chain.ask("evm_mine", &json!([]));
        assert_eq!(unbroken(&mut chain.world), 6);
    }
    assert!(outcomes.iter().all(|count| *count > 5), "{outcomes:?}: too early or too late");
}
