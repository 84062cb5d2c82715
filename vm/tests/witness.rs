//! Witnesses: who has nothing else executes the block and finds its root.

#[path = "common/chain.rs"]
mod chain;
#[path = "common/stateless.rs"]
mod stateless;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, TxKind, U256};
use chain::{GAS_PRICE, account, built, create, database, deploying, legacy, spec, transfer};
use evenkeel_chain::{ChainSpec, Fork, Header, RecoveredTx};
use evenkeel_state::{Durable, ExecutedBlock};
use evenkeel_vm::{Ground, Limits, Step, Witness, WitnessJob, WitnessRun, spec_id};
use proptest::prelude::*;
use revm::{
    Context, DatabaseRef, ExecuteCommitEvm as _, MainBuilder as _, MainContext as _,
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, TxEnv},
    database::CacheDB,
    state::AccountInfo,
};
use stateless::{Order, Stateless};

/// Sets slots to what its input says, in words: slot, value, slot, value. Without input it destroys
/// itself.
const WRITER: &[u8] = &[
    0x36, 0x60, 0x06, 0x57, 0x33, 0xff, 0x5b, 0x3d, 0x5b, 0x80, 0x36, 0x11, 0x15, 0x60, 0x1e, 0x57,
    0x80, 0x60, 0x20, 0x01, 0x35, 0x81, 0x35, 0x55, 0x60, 0x40, 0x01, 0x60, 0x08, 0x56, 0x5b, 0x00,
];
/// Asks for the hash of the block that is as far back as its input says.
const HASHER: &[u8] = &[0x3d, 0x35, 0x43, 0x03, 0x40, 0x50, 0x00];

/// What a transaction does.
#[derive(Clone, Debug)]
enum Act {
    Deploy,
    Write(usize, Vec<(u64, u64)>),
    Destroy(usize),
    Transfer(u8),
    Hash(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let slots = proptest::collection::vec((0..24_u64, 0..2_u64), 1..16);
    let act = prop_oneof![
        2 => Just(Act::Deploy),
        8 => (0..4_usize, slots).prop_map(|(at, slots)| Act::Write(at, slots)),
        2 => (0..4_usize).prop_map(Act::Destroy),
        2 => any::<u8>().prop_map(Act::Transfer),
        1 => (0..4_u64).prop_map(Act::Hash),
    ];
    proptest::collection::vec(act, 1..8)
}

/// The contracts of a chain, and what its next transaction is numbered.
struct Actor {
    nonce: u64,
    writers: Vec<Address>,
}

impl Actor {
    fn tx(&mut self, act: &Act) -> Arc<RecoveredTx> {
        let nonce = self.nonce;
        self.nonce += 1;
        let call = |to, input: Vec<u8>| {
            legacy(account(0), nonce, TxKind::Call(to), (1_000_000, 0), input.into())
        };
        let writer = |at: &usize| self.writers[at % self.writers.len()];
        match act {
            Act::Deploy => {
                self.writers.push(account(0).create(nonce));
                create(account(0), nonce, deploying(WRITER))
            }
            Act::Write(at, slots) => {
                let words = slots.iter().flat_map(|(slot, value)| [*slot, *value]);
                let input = words.flat_map(|word| U256::from(word).to_be_bytes::<32>());
                call(writer(at), input.collect())
            }
            Act::Destroy(at) => call(writer(at), Vec::new()),
            Act::Transfer(to) => transfer(account(0), nonce, Address::repeat_byte(*to), 1),
            Act::Hash(back) => call(account(0).create(0), U256::from(*back).to_be_bytes_vec()),
        }
    }
}

fn witness(
    (durable, spec): (&Durable, &Arc<ChainSpec>),
    executed: &ExecutedBlock,
    (is_minimal, fuel): (bool, u64),
) -> Witness {
    let block = Arc::clone(&executed.block);
    let parent = block.height().prev().expect("it is not the first");
    let mut run = WitnessRun::new(WitnessJob {
        ground: Ground::Former(Box::new(durable.rewind(parent).expect("it is in the chain"))),
        spec: Arc::clone(spec),
        block,
        is_minimal,
        limits: Limits::default(),
    });
    loop {
        match run.step(fuel) {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            Step::Done(result) => return result.expect("the block is the chain's"),
        }
    }
}

/// What a stateless client reads.
struct WitnessDb<'a> {
    state: Stateless<'a>,
    witness: &'a Witness,
}

impl DatabaseRef for WitnessDb<'_> {
    type Error = Infallible;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.state.account(address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, hash: B256) -> Result<Bytecode, Infallible> {
        Ok(Bytecode::new_raw(self.witness.codes.get(&hash).expect("code is missing").clone()))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.state.slot(address, slot))
    }

    fn block_hash_ref(&self, height: u64) -> Result<B256, Infallible> {
        let oldest = self.witness.oldest_hash.expect("a hash is asked for");
        assert!(oldest <= height, "block {height} is missing");
        Ok(B256::repeat_byte(1))
    }
}

/// Executes the transactions of the block from the witness alone; returns the gas they used.
fn execute(spec: &ChainSpec, parent: &Header, executed: &ExecutedBlock, witness: &Witness) -> u64 {
    let header = &executed.block.header;
    let state = Stateless { nodes: &witness.nodes, root: parent.state_root };
    let db = CacheDB::new(WitnessDb { state, witness });
    let cfg =
        CfgEnv::new_with_spec(spec_id(spec.fork_of(header))).with_chain_id(spec.chain_id_now());
    let block = BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or(0),
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    };
    let context = Context::mainnet().with_db(db).with_cfg(cfg).with_block(block);
    let mut evm = context.build_mainnet();
    let run = |tx: &Arc<RecoveredTx>| {
        let env = TxEnv {
            caller: tx.sender(),
            kind: tx.tx().kind(),
            data: tx.tx().input().clone(),
            gas_limit: tx.gas_limit(),
            gas_price: GAS_PRICE,
            value: tx.tx().value(),
            nonce: tx.nonce(),
            chain_id: None,
            ..TxEnv::default()
        };
        evm.transact_commit(env).expect("it was in the block").tx_gas_used()
    };
    executed.block.txs.iter().map(run).sum()
}

/// Goal: a witness is enough to read what the block read, to execute it, and to find its root in
/// whatever order the tries are changed; a minimal one where sets come before removals. It does not
/// depend on slices. Method: random chains of writes and removals of slots, contracts that come and
/// go (with their storage, before Cancun) and new accounts; revm on an own trie over the witness.
fn check(fork: Fork, blocks: &[Vec<Act>], fuel: u64) {
    let spec = spec(fork);
    let mut database = database(&spec);
    let mut actor = Actor { nonce: 1, writers: Vec::new() };
    let hasher = create(account(0), 0, deploying(HASHER));
    let mut chain = Vec::new();
    for (number, acts) in blocks.iter().enumerate() {
        let mut txs = Vec::new();
        if number == 0 {
            txs.push(Arc::clone(&hasher));
            txs.push(actor.tx(&Act::Deploy));
        }
        txs.extend(acts.iter().map(|act| actor.tx(act)));
        let tip = database.tip();
        let executed = built(&tip, &spec, txs);
        database.commit(&[Arc::clone(&executed)]).expect("the root is right");
        chain.push((tip, executed));
    }
    let durable = database.durable();
    for (tip, executed) in &chain {
        let (parent, header) = (&tip.header, &executed.block.header);
        let whole = witness((&durable, &spec), executed, (false, fuel));
        let minimal = witness((&durable, &spec), executed, (true, u64::MAX));
        assert_eq!((&whole.keys, &whole.codes), (&minimal.keys, &minimal.codes));
        let of = |nodes| Stateless { nodes, root: parent.state_root };
        for order in [Order::SetsFirst, Order::RemovalsFirst, Order::Mixed] {
            let root = of(&whole.nodes).root_after(&executed.changes, order);
            assert_eq!(root, header.state_root, "{order:?}");
        }
        let root = of(&minimal.nodes).root_after(&executed.changes, Order::SetsFirst);
        assert_eq!(root, header.state_root);
        assert!(minimal.nodes.keys().all(|hash| whole.nodes.contains_key(hash)));
        for (&address, slots) in &minimal.keys {
            let found = of(&minimal.nodes).account(address);
            let expected = tip.view.account(address).expect("memory");
            assert_eq!(found.map(|it| it.balance), expected.map(|it| it.balance), "{address}");
            for &slot in slots {
                let expected = tip.view.storage(address, slot).expect("memory");
                assert_eq!(of(&minimal.nodes).slot(address, slot), expected, "{address} {slot}");
            }
        }
        assert_eq!(execute(&spec, parent, executed, &minimal), header.gas_used);
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_witness_is_enough(
        blocks in proptest::collection::vec(acts(), 1..5),
        is_old in any::<bool>(),
        fuel in prop_oneof![Just(1_u64), Just(30_000), Just(u64::MAX)],
    ) {
        check(if is_old { Fork::London } else { Fork::LATEST }, &blocks, fuel);
    }
}

/// Goal: no node is there for nothing: without any of them, something cannot be read, or the root
/// cannot be found by who removes first.
/// Method: slots of one contract removed until one is left.
#[test]
fn every_node_is_needed() {
    let all: Vec<_> = (0..24).map(|slot| (slot, 1)).collect();
    let most: Vec<_> = (0..23).map(|slot| (slot, 0)).collect();
    let spec = spec(Fork::LATEST);
    let mut database = database(&spec);
    let mut actor = Actor { nonce: 0, writers: Vec::new() };
    let first = vec![actor.tx(&Act::Deploy), actor.tx(&Act::Write(0, all))];
    let tip = database.tip();
    database.commit(&[built(&tip, &spec, first)]).expect("the root is right");
    let tip = database.tip();
    let executed = built(&tip, &spec, vec![actor.tx(&Act::Write(0, most))]);
    database.commit(&[Arc::clone(&executed)]).expect("the root is right");
    let found = witness((&database.durable(), &spec), &executed, (false, 1));
    let root = tip.header.state_root;
    let is_enough = |nodes: &_| {
        let state = Stateless { nodes, root };
        for (&address, slots) in &found.keys {
            state.account(address);
            for slot in slots {
                state.slot(address, *slot);
            }
        }
        state.root_after(&executed.changes, Order::RemovalsFirst)
    };
    assert_eq!(is_enough(&found.nodes), executed.block.header.state_root);
    let hashes: BTreeSet<B256> = found.nodes.keys().copied().collect();
    assert!(hashes.len() > 20, "{} nodes", hashes.len());
    for hash in hashes {
        let mut fewer = found.nodes.clone();
        fewer.remove(&hash);
        let outcome = catch_unwind(AssertUnwindSafe(|| is_enough(&fewer)));
        assert!(outcome.is_err(), "node {hash} is not needed");
    }
}
