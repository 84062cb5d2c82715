//! Blocks from elsewhere: a chain of many forks, branches, and blocks that are not taken.

mod watched;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use alloy_primitives::{Address, B256, Bytes, U256};
use evenkeel_chain::{BlockAttributes, BlockDecodeError, ChainSpec, RecoveredTx, SealedBlock};
use evenkeel_consensus::{Placed, TreeError};
use evenkeel_node::{BlockImport, ImportError, Limits};
use evenkeel_runtime::{Inline, System};
use evenkeel_state::{
    Database, ExecutedBlock, Options, Tip,
    store::{Memory, Sync},
};
use evenkeel_vm::{BlockOutcome, BlockRun, BuildJob, Candidates, ExecError, Step};
use watched::{Watch, WatchedStore};

const SLICE: u64 = 10_000;

fn inline() -> Inline {
    System::inline().expect("the machine gives a seed")
}

/// How far below the head blocks are made durable, and how many at a time.
const DEPTH: u64 = 16;
const BATCH: usize = 32;

fn import<'a>(spec: &Arc<ChainSpec>, inline: &'a mut Inline) -> (BlockImport<'a>, Database) {
    let database = Database::open(&Options::default(), spec).expect("memory is always there");
    let (tip, limits) = (database.tip(), Limits::consensus());
    (BlockImport::new(Arc::clone(spec), tip, inline, limits, SLICE), database)
}

/// Makes durable what is `depth` below the head.
fn settle(chain: &mut BlockImport<'_>, database: &mut Database, depth: u64) {
    let durable = database.commit(&chain.settled(depth)).expect("in order");
    chain.settle(&durable);
}

/// Nothing to put in.
struct Nothing;

impl Candidates for Nothing {
    fn next(&mut self) -> Option<Arc<RecoveredTx>> {
        None
    }

    fn skip_sender(&mut self) {}
}

/// The empty block `seconds` after `parent`.
fn mined(spec: &Arc<ChainSpec>, parent: &Tip, seconds: u64, name: u8) -> Arc<ExecutedBlock> {
    let attributes = BlockAttributes {
        timestamp: parent.header.timestamp + seconds,
        prev_randao: B256::ZERO,
        fee_recipient: Address::with_last_byte(name),
        gas_limit: parent.header.gas_limit,
        base_fee: None,
        extra_data: Bytes::new(),
        parent_beacon_root: B256::ZERO,
        withdrawals: Vec::new(),
        txs_max: None,
        must_have_txs: false,
    };
    let (tip, spec) = (parent.clone(), Arc::clone(spec));
    let candidates = Box::new(Nothing);
    let job = BuildJob { tip, spec, attributes, limits: Limits::consensus(), candidates };
    let mut run = BlockRun::build(job).expect("the attributes fit");
    loop {
        match run.step(u64::MAX) {
            Step::More { .. } => {}
            Step::Done(Ok(BlockOutcome::Executed(block))) => return block,
            _ => panic!("an empty block builds"),
        }
    }
}

fn spec() -> Arc<ChainSpec> {
    let text = r#"{"config":{"chainId":1,"homesteadBlock":0},"gasLimit":"0x1000000",
        "difficulty":"0x100000","alloc":{}}"#;
    Arc::new(ChainSpec::from_genesis_json(text).expect("a genesis"))
}

/// Goal: blocks of two branches are executed each on its own parent; the heavier branch is the
/// chain, with its state; what was abandoned can be named as an ommer, and is paid for.
#[test]
fn the_heavier_branch_becomes_the_chain() {
    let spec = spec();
    let mut inline = inline();
    let (mut chain, database) = import(&spec, &mut inline);
    let first = database.tip();
    let slow = mined(&spec, &first, 40, 1);
    let fast = mined(&spec, &first, 5, 2);
    let take = |chain: &mut BlockImport<'_>, block: &ExecutedBlock| {
        let imported = chain.import(&block.block.encode_rlp()).expect("it is valid");
        assert_eq!(imported.hash, block.block.hash);
        imported.placed
    };
    let grown = Placed::Head { abandoned: vec![], adopted: vec![slow.block.hash] };
    assert_eq!(take(&mut chain, &slow), grown);
    let moved = Placed::Head { abandoned: vec![slow.block.hash], adopted: vec![fast.block.hash] };
    assert_eq!(take(&mut chain, &fast), moved);
    assert_eq!(take(&mut chain, &slow), Placed::Side, "it is known already");
    let balance = |chain: &BlockImport<'_>, name| {
        let account = chain.head().view.account(Address::with_last_byte(name)).expect("memory");
        account.map(|account| account.balance)
    };
    assert_eq!(balance(&chain, 1), None);
    let ether = U256::from(1_000_000_000_000_000_000_u64);
    assert_eq!(balance(&chain, 2), Some(U256::from(5) * ether));

    let next = mined(&spec, chain.head(), 10, 3);
    let ommers = vec![slow.block.header.clone()];
    let mut header = next.block.header.clone();
    header.ommers_hash = evenkeel_chain::ommers_hash(&ommers);
    let wrong = SealedBlock::seal(header.clone(), vec![], ommers.clone(), None);
    let error = chain.import(&wrong.encode_rlp()).map(|_| ()).expect_err("nobody was paid");
    let ImportError::Execution(ExecError::Field { field: "stateRoot", expected, .. }) = error
    else {
        panic!("{error}")
    };
    header.state_root = expected.parse().expect("a hash");
    let right = SealedBlock::seal(header, vec![], ommers, None);
    chain.import(&right.encode_rlp()).expect("it pays the ommer");
    assert_eq!(balance(&chain, 1), Some(U256::from(7) * U256::from(5) * ether / U256::from(8)));
    assert_eq!(chain.head().hash, right.hash);
}

/// Goal: what is durable stays: its branches are forgotten, and none may begin below it; ommers
/// from below are still known.
#[test]
fn what_is_durable_stays() {
    let spec = spec();
    let mut inline = inline();
    let (mut chain, mut database) = import(&spec, &mut inline);
    let first = database.tip();
    let rival = mined(&spec, &first, 40, 2);
    let mut tips = vec![first.clone()];
    for _ in 0..4 {
        let block = mined(&spec, chain.head(), 10, 1);
        chain.import(&block.block.encode_rlp()).expect("it is valid");
        tips.push(chain.head().clone());
    }
    chain.import(&rival.block.encode_rlp()).expect("it is valid");
    assert_eq!(chain.settled(2).len(), 2);
    settle(&mut chain, &mut database, 2);
    assert_eq!(database.durable().height().get(), 2);
    assert_eq!(chain.settled(0).len(), 2);

    let low = mined(&spec, &tips[1], 40, 3);
    let error = chain.import(&low.block.encode_rlp()).map(|_| ()).expect_err("too deep");
    assert_eq!(error, ImportError::Settled { number: 2, durable: 2 });
    let on_rival = mined(&spec, &first.extend(&rival), 10, 2);
    let error = chain.import(&on_rival.block.encode_rlp()).map(|_| ()).expect_err("forgotten");
    assert!(matches!(error, ImportError::Tree(TreeError::UnknownParent { .. })), "{error}");
    // A branch above it is welcome, and executes on what is read from the store.
    let side = mined(&spec, &tips[2], 40, 4);
    let imported = chain.import(&side.block.encode_rlp()).expect("it is valid");
    assert_eq!(imported.placed, Placed::Side);

    let next = mined(&spec, chain.head(), 10, 1);
    let ommers = vec![rival.block.header.clone()];
    let mut header = next.block.header.clone();
    header.ommers_hash = evenkeel_chain::ommers_hash(&ommers);
    let block = SealedBlock::seal(header, vec![], ommers, None);
    let error = chain.import(&block.encode_rlp()).map(|_| ()).expect_err("nobody was paid");
    assert!(matches!(error, ImportError::Execution(ExecError::Field { .. })), "{error}");
    settle(&mut chain, &mut database, 0);
    assert_eq!(database.durable().hash, chain.head().hash);
}

/// Whom the store below does not like.
const BAD: u8 = 9;

/// Panics when that account is read, while it is armed.
struct Armed(AtomicBool);

impl Watch for Armed {
    fn reads(&self, key: &[u8]) {
        let is_bad = key == Address::with_last_byte(BAD).as_slice();
        assert!(!is_bad || !self.0.load(Ordering::Relaxed), "as the test wants it");
    }
}

/// Goal: an execution that panics comes back as an error with its text and changes nothing; the
/// importer takes other blocks after it, and the same one once nothing is wrong any more.
#[test]
fn a_block_whose_execution_panics_is_refused() {
    let spec = spec();
    let armed = Arc::new(Armed(AtomicBool::new(true)));
    let store = Arc::new(WatchedStore(Memory::new(), Arc::clone(&armed)));
    let database = Database::open_store(store, &spec, Sync::No).expect("it does not read this");
    let mut inline = inline();
    let (tip, limits) = (database.tip(), Limits::consensus());
    let mut chain = BlockImport::new(Arc::clone(&spec), tip, &mut inline, limits, SLICE);

    let elsewhere = Database::open(&Options::default(), &spec).expect("memory is always there");
    let [bad, good] = [BAD, 1].map(|name| mined(&spec, &elsewhere.tip(), 10, name));
    for _ in 0..2 {
        let error = chain.import(&bad.block.encode_rlp()).map(|_| ()).expect_err("it panics");
        let text = "internal error: the execution panicked: as the test wants it";
        assert_eq!(error.to_string(), text);
        assert_eq!(chain.head().hash, database.tip().hash);
    }
    chain.import(&good.block.encode_rlp()).expect("it is valid");
    assert_eq!(chain.head().hash, good.block.hash);
    armed.0.store(false, Ordering::Relaxed);
    let imported = chain.import(&bad.block.encode_rlp()).expect("it is valid");
    assert_eq!((imported.hash, imported.placed), (bad.block.hash, Placed::Side));
}

/// Goal: bytes that are no block, and blocks without parent, say so and change nothing.
#[test]
fn what_has_no_place_is_refused() {
    let spec = spec();
    let mut inline = inline();
    let (mut chain, database) = import(&spec, &mut inline);
    let first = database.tip();
    let one = mined(&spec, &first, 10, 1);
    let two = mined(&spec, &first.extend(&one), 10, 1);
    let mut refused = |rlp: &[u8]| chain.import(rlp).map(|_| ()).expect_err("it has no place");
    let parent = one.block.hash;
    assert_eq!(
        refused(&two.block.encode_rlp()),
        TreeError::UnknownParent { number: 2, parent }.into()
    );
    assert!(matches!(refused(&[]), ImportError::Decode(BlockDecodeError::Rlp { .. })));
    let rlp = one.block.encode_rlp();
    assert!(matches!(refused(&rlp[..rlp.len() - 1]), ImportError::Decode(_)));
    let more = [&rlp[..], &[0]].concat();
    assert!(matches!(
        refused(&more),
        ImportError::Decode(BlockDecodeError::TrailingBytes { found: 1 })
    ));
    assert_eq!(chain.head().hash, first.hash);
}

/// Imports a chain of third parties, makes it durable on the way and all of it in the end; returns
/// the database and how many receipts have a state root.
fn taken(suite: &str) -> (Database, usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suites").join(suite);
    let rlp = fs::read(folder.join("chain.rlp")).expect("`make conformance` unpacks the suites");
    let text = fs::read_to_string(folder.join("genesis.json")).expect("it lies beside the chain");
    let spec = Arc::new(ChainSpec::from_genesis_json(&text).expect("a genesis"));
    let mut inline = inline();
    let (mut chain, mut database) = import(&spec, &mut inline);
    let (mut rest, mut with_roots) = (rlp.as_slice(), 0);
    while !rest.is_empty() {
        let mut payload = rest;
        let header = alloy_rlp::Header::decode(&mut payload).expect("blocks, one after the other");
        let (block, after) = rest.split_at(rest.len() - payload.len() + header.payload_length);
        rest = after;
        let number = chain.head().header.number + 1;
        let imported =
            chain.import(block).unwrap_or_else(|error| panic!("block {number}: {error}"));
        assert!(matches!(imported.placed, Placed::Head { .. }), "block {number}");
        let executed = imported.executed.expect("it is new");
        with_roots += executed.receipts.iter().filter(|it| it.post_state.is_some()).count();
        if chain.settled(DEPTH).len() >= BATCH {
            settle(&mut chain, &mut database, DEPTH);
        }
    }
    settle(&mut chain, &mut database, 0);
    assert_eq!(database.durable().hash, chain.head().hash);
    assert!(chain.settled(0).is_empty());
    (database, with_roots)
}

/// Goal: a real chain with a fork every third block from Homestead to BPO2, with ommers, rewards
/// and state roots in receipts.
#[test]
#[ignore = "needs the suites: make conformance"]
fn the_chain_of_execution_apis_is_taken() {
    let (database, with_roots) = taken("execution-apis/tests");
    assert_eq!(database.durable().height().get(), 54);
    let report = database.verify(&mut |_| {}).expect("memory");
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    assert!(with_roots > 0, "its first blocks are from before Byzantium");
}

/// Goal: a long chain, with the same goal as above.
#[test]
#[ignore = "needs the suites: make conformance"]
fn the_chain_of_hive_is_taken() {
    let (database, _) = taken("hive/sync-chain");
    assert_eq!(database.durable().height().get(), 3_000);
}
