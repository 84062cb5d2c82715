//! Log queries and filters against naive models.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::world::{Event, Setup, World};
use crate::{Answer, RpcConfig, limits::PIECE_BYTES_MIN};
use alloy_primitives::{Address, B256};
use evenkeel_chain::SealedBlock;
use evenkeel_runtime::{Class, Entropy, Spawn};
use evenkeel_vm::limits::TEXT_AHEAD_BYTES;
use serde_json::{Value, json};

/// One log of the model: block hash, index in the block, event.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    number: u64,
    hash: B256,
    nth: u64,
    event: Event,
}

/// What a filter object of the model asks for.
struct Wanted {
    addresses: Vec<Address>,
    topics: Vec<Vec<B256>>,
}

impl Wanted {
    fn draw(entropy: &mut Entropy) -> Self {
        let addresses = (0..entropy.below(3)).map(|_| address(entropy)).collect();
        let position =
            |entropy: &mut Entropy| (0..entropy.below(3)).map(|_| topic(entropy)).collect();
        let topics = (0..entropy.below(4)).map(|_| position(entropy)).collect();
        Self { addresses, topics }
    }

    /// The definition, word by word.
    fn matches(&self, event: &Event) -> bool {
        if !self.addresses.is_empty() && !self.addresses.contains(&event.address) {
            return false;
        }
        self.topics.iter().enumerate().all(|(position, any_of)| match event.topics.get(position) {
            None => false,
            Some(topic) => any_of.is_empty() || any_of.contains(topic),
        })
    }

    /// A JSON form, drawn from those that mean the same.
    fn json(&self, entropy: &mut Entropy) -> Value {
        let topics: Vec<Value> = self
            .topics
            .iter()
            .map(|any_of| match any_of.as_slice() {
                [] if entropy.once_in(2) => Value::Null,
                [one] if entropy.once_in(2) => json!(one),
                many => json!(many),
            })
            .collect();
        match self.addresses.as_slice() {
            [] => json!({ "topics": topics }),
            [one] => json!({ "topics": topics, "address": one }),
            many => json!({ "topics": topics, "address": many }),
        }
    }
}

fn address(entropy: &mut Entropy) -> Address {
    Address::with_last_byte(u8::try_from(entropy.below(4)).expect("small"))
}

fn topic(entropy: &mut Entropy) -> B256 {
    B256::with_last_byte(u8::try_from(entropy.below(3)).expect("small"))
}

fn event(entropy: &mut Entropy) -> Event {
    let topics = (0..entropy.below(5)).map(|_| topic(entropy)).collect();
    Event { address: address(entropy), topics }
}

/// The chain as the model knows it.
#[derive(Default)]
struct Model {
    logs: Vec<Known>,
    blocks: Vec<B256>,
}

impl Model {
    fn mine(&mut self, world: &mut World, entropy: &mut Entropy) {
        let txs: Vec<Vec<Event>> = (0..entropy.below(3))
            .map(|_| (0..entropy.below(4)).map(|_| event(entropy)).collect())
            .collect();
        let block = world.mine(&txs);
        self.add(&block, txs.concat());
    }

    fn add(&mut self, block: &SealedBlock, events: Vec<Event>) {
        let number = block.header.number;
        self.blocks.push(block.hash);
        self.logs.extend(events.into_iter().zip(0..).map(|(event, nth)| Known {
            number,
            hash: block.hash,
            nth,
            event,
        }));
    }

    fn revert_to(&mut self, number: u64) {
        self.logs.retain(|log| log.number <= number);
        self.blocks.truncate(usize::try_from(number).expect("small"));
    }

    fn head(&self) -> u64 {
        self.blocks.len() as u64
    }
}

/// A log as a client reads it, and whether it is taken back.
fn read(log: &Value) -> (Known, bool) {
    let hex = |field: &str| {
        let text = log[field].as_str().expect(field);
        u64::from_str_radix(&text[2..], 16).expect(field)
    };
    let parse = |value: &Value| serde_json::from_value(value.clone()).expect("hex");
    let topics = log["topics"].as_array().expect("topics").iter().map(parse).collect();
    let address = serde_json::from_value(log["address"].clone()).expect("address");
    let known = Known {
        number: hex("blockNumber"),
        hash: serde_json::from_value(log["blockHash"].clone()).expect("hash"),
        nth: hex("logIndex"),
        event: Event { address, topics },
    };
    (known, log["removed"].as_bool().expect("removed"))
}

/// Goal: `eth_getLogs` returns what the definition says, for every range and filter.
/// Method: 60 random blocks over a small alphabet, 600 random queries.
#[test]
fn get_logs_agrees_with_the_definition() {
    let mut world = World::new(3, RpcConfig::default());
    let mut entropy = Entropy::from_seed(3);
    let mut model = Model::default();
    for _ in 0..60 {
        model.mine(&mut world, &mut entropy);
    }
    let mut found_all = 0;
    for _ in 0..600 {
        let wanted = Wanted::draw(&mut entropy);
        let mut query = wanted.json(&mut entropy);
        let (first, last) = if entropy.once_in(4) {
            let number = 1 + entropy.below(60);
            query["blockHash"] = json!(model.blocks[usize::try_from(number).expect("small") - 1]);
            (number, number)
        } else {
            let first = entropy.below(61);
            let last = first + entropy.below(80);
            query["fromBlock"] = json!(format!("{first:#x}"));
            query["toBlock"] = json!(format!("{last:#x}"));
            if last > 60 {
                let (code, text) = world.err("eth_getLogs", &json!([query]).to_string());
                assert_eq!(code, -32_602, "{query}");
                assert_eq!(text, "block range extends beyond current head block");
                continue;
            }
            (first, last)
        };
        let answer = world.ok("eth_getLogs", &json!([query]).to_string());
        let found: Vec<Known> =
            answer.as_array().expect("logs").iter().map(|log| read(log).0).collect();
        let naive: Vec<Known> = model
            .logs
            .iter()
            .filter(|log| (first..=last).contains(&log.number) && wanted.matches(&log.event))
            .cloned()
            .collect();
        assert_eq!(found, naive, "{query}");
        found_all += found.len();
    }
    assert!(found_all > 1_000, "the queries find too little to test much: {found_all}");
}

/// Goal: caps are kept, said, and the advice in the text works.
#[test]
fn caps() {
    let config = RpcConfig { logs_max: Some(5), log_blocks_max: 4, ..RpcConfig::default() };
    let mut world = World::new(3, config);
    let event = Event { address: Address::ZERO, topics: vec![] };
    for _ in 0..6 {
        world.mine(&[vec![event.clone(), event.clone()]]);
    }
    let (code, text) = world.err("eth_getLogs", r#"[{"fromBlock":"0x1","toBlock":"0x5"}]"#);
    assert_eq!((code, text.as_str()), (-32_000, "exceed maximum block range: 4"));
    let (code, text) = world.err("eth_getLogs", r#"[{"fromBlock":"0x1","toBlock":"0x4"}]"#);
    let want = "query exceeds max results 5, retry with the range 1-2";
    assert_eq!((code, text.as_str()), (-32_005, want));
    let answer = world.ok("eth_getLogs", r#"[{"fromBlock":"0x1","toBlock":"0x2"}]"#);
    assert_eq!(answer.as_array().expect("logs").len(), 4);
    assert_eq!(world.ok("eth_getLogs", r#"[{"fromBlock":"0x99"}]"#), json!([]));

    let late = RpcConfig { evm_timeout: Duration::ZERO, ..RpcConfig::default() };
    let late = World::new(3, late).err("eth_getLogs", "[{}]");
    assert_eq!(late, (-32_002, "request timed out".to_owned()));

    // A filter that fell behind brings everything, in parts.
    let id = world.ok("eth_newFilter", r#"[{"fromBlock":"0x1"}]"#);
    let mut brought = Vec::new();
    loop {
        let part = world.ok("eth_getFilterChanges", &json!([id]).to_string());
        let part = part.as_array().expect("logs").clone();
        if part.is_empty() {
            break;
        }
        assert!(part.len() <= 5);
        brought.extend(part);
    }
    assert_eq!(brought.len(), 12);
}

/// Goal: an answer that is longer than what may wait for its reader is written no further than it
/// is read, and is whole for who takes longer than a search may.
#[test]
fn logs_are_written_as_they_are_read_and_a_slow_reader_gets_all() {
    let mut world = World::new(5, RpcConfig::default());
    let event = Event { address: Address::repeat_byte(1), topics: vec![B256::ZERO; 4] };
    for _ in 0..40 {
        world.mine(&[vec![event.clone(); 50]]);
    }
    let params = r#"[{"fromBlock":"0x0","toBlock":"latest"}]"#;
    let all = world.ok("eth_getLogs", params).to_string().len();
    assert!(all > 2 * TEXT_AHEAD_BYTES, "{all}");

    let id = world.ok("eth_newFilter", params);
    for (method, params) in
        [("eth_getLogs", params), ("eth_getFilterLogs", &json!([id]).to_string())]
    {
        let Answer::Stream(mut stream) = world.begin(method, params).expect("logs") else {
            panic!("{method} is not streamed")
        };
        let mut text = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        // What is there is taken from time to time.
        while let Poll::Ready(piece) = {
            world.sim.run_for(Duration::from_secs(10));
            stream.poll_next(&mut cx)
        } {
            let Some(piece) = piece else { break };
            let before = text.len();
            text.extend(piece.expect("it is not late"));
            while let Poll::Ready(Some(piece)) = stream.poll_next(&mut cx) {
                text.extend(piece.expect("it is not late"));
            }
            // The first piece was taken already.
            let came = text.len() - before;
            assert!(came <= TEXT_AHEAD_BYTES + 2 * PIECE_BYTES_MIN, "{came} of {all}");
        }
        let logs: Vec<Value> = serde_json::from_slice(&text).expect("it is whole");
        assert_eq!(logs.len(), 2_000, "{method}");
    }
}

/// Goal: a poll brings no more bytes than a part of an answer may have, and loses nothing: what
/// does not fit comes with the next. Logs that were taken back likewise.
#[test]
fn a_poll_brings_what_fits_into_an_answer() {
    const PART: usize = 20_000;
    let config = RpcConfig { response_bytes_max: 16 * PART, ..RpcConfig::default() };
    let mut world = World::new(7, config);
    let id = world.ok("eth_newFilter", "[{}]");
    // 600 to 750 bytes a log.
    let event = |nth: usize| Event { address: Address::ZERO, topics: vec![B256::ZERO; nth % 4] };
    let blocks = 24;
    for nth in 0..blocks {
        world.mine(&[vec![event(nth); 10]]);
    }
    let poll = |world: &mut World, is_removed: bool| {
        let (mut numbers, mut polls) = (Vec::new(), 0);
        loop {
            let part = world.ok("eth_getFilterChanges", &json!([id]).to_string());
            let logs = part.as_array().expect("logs");
            if logs.is_empty() {
                return (numbers, polls);
            }
            polls += 1;
            let bytes = part.to_string().len();
            assert!(bytes <= PART, "{bytes} bytes in {} logs", logs.len());
            assert!(logs.len() > 10, "more than one block fits");
            assert!(logs.iter().all(|log| log["removed"] == is_removed));
            numbers.extend(logs.iter().map(|log| log["blockNumber"].clone()));
        }
    };
    let expected: Vec<_> =
        (1..=blocks).flat_map(|number| vec![json!(format!("{number:#x}")); 10]).collect();
    let (brought, polls) = poll(&mut world, false);
    assert_eq!(brought, expected);
    assert!(polls > 5, "{polls}");
    world.rollback(0);
    assert_eq!(poll(&mut world, true), (expected, polls));
}

/// Goal: the logs of a block that are more than an answer may have are brought all the same, once.
#[test]
fn a_block_that_is_too_long_for_an_answer_is_not_lost() {
    let config = RpcConfig { response_bytes_max: 200_000, ..RpcConfig::default() };
    let mut world = World::new(8, config);
    let id = world.ok("eth_newFilter", "[{}]");
    let poll = json!([id]).to_string();
    let event = Event { address: Address::ZERO, topics: Vec::new() };
    world.mine(&[vec![event.clone()]]);
    world.mine(&[vec![event; 600]]);
    let logs = |answer: &Value| answer.as_array().expect("logs").len();
    assert_eq!(logs(&world.ok("eth_getFilterChanges", &poll)), 1);
    let Ok(Answer::Stream(long)) = world.begin("eth_getFilterChanges", &poll) else {
        panic!("what is not streamed is refused as too long")
    };
    let read = world.sim.system().spawn_future(Spawn::new("read", Class::Rpc), async move {
        Answer::Stream(long).into_json().await
    });
    let long = world.sim.run_until(read).expect("no panic").expect("it does not break");
    assert!(long.get().len() > 200_000, "{}", long.get().len());
    assert_eq!(logs(&serde_json::from_str(long.get()).expect("JSON")), 600);
    assert_eq!(logs(&world.ok("eth_getFilterChanges", &poll)), 0);
}

/// Goal: filters miss nothing and repeat nothing, through reverts too.
/// Method: random mining, snapshots, reverts, rollbacks and polls; what was there at the start or
/// brought, and not taken back, is at every poll exactly what the chain has.
#[test]
fn filters_follow_the_chain() {
    for seed in 0..20 {
        follow(seed);
    }
}

fn follow(seed: u64) {
    let mut world = World::new(seed, RpcConfig::default());
    let mut entropy = Entropy::from_seed(seed);
    let mut model = Model::default();
    let mut marks: Vec<(u64, u64)> = Vec::new();
    for _ in 0..3 {
        model.mine(&mut world, &mut entropy);
    }
    let created = model.head();
    let wanted = Wanted::draw(&mut entropy);
    let query = wanted.json(&mut entropy);
    let logs_id = world.ok("eth_newFilter", &json!([query]).to_string());
    let blocks_id = world.ok("eth_newBlockFilter", "[]");
    let matching = |model: &Model| -> Vec<Known> {
        model.logs.iter().filter(|log| wanted.matches(&log.event)).cloned().collect()
    };
    let mut logs = matching(&model);
    let mut blocks: Vec<B256> = Vec::new();
    let mut lowest = created;
    for _ in 0..60 {
        match entropy.below(10) {
            0..5 => model.mine(&mut world, &mut entropy),
            5 => marks.push((world.mark(), model.head())),
            6 => {
                if let Some((mark, number)) = marks.pop() {
                    world.revert(mark);
                    model.revert_to(number);
                    lowest = lowest.min(number);
                }
            }
            7 => {
                let kept = model.head().saturating_sub(entropy.below(3));
                world.rollback(kept);
                model.revert_to(kept);
                marks.retain(|(_, number)| *number <= kept);
                lowest = lowest.min(kept);
            }
            _ => {
                poll_logs(&mut world, &logs_id, &mut logs);
                assert_eq!(logs, matching(&model), "seed {seed}");
                let brought = poll_blocks(&mut world, &blocks_id, &mut blocks, seed);
                assert!(model.blocks.ends_with(&brought), "seed {seed}: not the chain's end");
                let on_chain = &model.blocks[usize::try_from(lowest).expect("small")..];
                assert!(on_chain.iter().all(|hash| blocks.contains(hash)), "seed {seed}: missed");
            }
        }
    }
    assert_eq!(world.ok("eth_uninstallFilter", &json!([logs_id]).to_string()), true);
    assert_eq!(world.ok("eth_uninstallFilter", &json!([logs_id]).to_string()), false);
}

fn poll_logs(world: &mut World, id: &Value, logs: &mut Vec<Known>) {
    let changes = world.ok("eth_getFilterChanges", &json!([id]).to_string());
    for change in changes.as_array().expect("logs") {
        let (log, is_removed) = read(change);
        if is_removed {
            let at = logs.iter().position(|known| *known == log);
            logs.remove(at.expect("only what was known is taken back"));
        } else {
            assert!(!logs.contains(&log), "repeated");
            logs.push(log);
        }
    }
}

fn poll_blocks(world: &mut World, id: &Value, blocks: &mut Vec<B256>, seed: u64) -> Vec<B256> {
    let changes = world.ok("eth_getFilterChanges", &json!([id]).to_string());
    let hashes: Vec<B256> = serde_json::from_value(changes).expect("hashes");
    for hash in &hashes {
        assert!(!blocks.contains(hash), "seed {seed}: {hash} repeated");
        blocks.push(*hash);
    }
    hashes
}

/// Goal: a filter from below the first block begins with the first block, as `eth_getLogs` does.
#[test]
fn a_filter_from_below_the_first_block_starts_at_it() {
    let mut world = World::with(6, Setup { first_block: 100, ..Setup::default() });
    let event = Event { address: Address::ZERO, topics: vec![] };
    let id = world.ok("eth_newFilter", r#"[{"fromBlock":"0x0"}]"#);
    let earliest = world.ok("eth_newFilter", r#"[{"fromBlock":"earliest"}]"#);
    let poll = |world: &mut World, id: &Value| {
        world.ok("eth_getFilterChanges", &json!([id]).to_string()).as_array().map(Vec::len)
    };
    assert_eq!(poll(&mut world, &id), Some(0));
    let block = world.mine(&[vec![event.clone()], vec![event]]);
    assert_eq!(block.header.number, 101);
    assert_eq!(poll(&mut world, &id), Some(2));
    assert_eq!(poll(&mut world, &id), Some(0));
    assert_eq!(poll(&mut world, &earliest), Some(2));
    let all = world.ok("eth_getLogs", r#"[{"fromBlock":"0x0"}]"#);
    assert_eq!(all.as_array().map(Vec::len), Some(2));
}

/// Goal: filters are bounded in number and in idle time.
#[test]
fn filters_are_bounded() {
    let mut world = World::new(5, RpcConfig::default());
    let mut made = 0;
    while world.call("eth_newBlockFilter", "[]").is_ok() {
        made += 1;
        assert!(made <= 1_024);
    }
    assert_eq!(made, 1_024);
    assert_eq!(world.err("eth_newBlockFilter", "[]").0, -32_005);
    world.sim.run_for(Duration::from_secs(301));
    let fresh = world.ok("eth_newBlockFilter", "[]");
    assert_eq!(world.ok("eth_getFilterChanges", &json!([fresh]).to_string()), json!([]));
}
