//! Blocks from elsewhere: a chain of many forks, branches, and blocks that are not taken.

use std::{fs, path::Path, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, U256};
use evenkeel_chain::{BlockAttributes, BlockDecodeError, ChainSpec, RecoveredTx, SealedBlock};
use evenkeel_consensus::{Placed, TreeError};
use evenkeel_node::{BlockImport, ImportError, Limits};
use evenkeel_state::{Database, ExecutedBlock, Options, Tip};
use evenkeel_vm::{BlockOutcome, BlockRun, BuildJob, Candidates, ExecError, Step};

const SLICE: u64 = 10_000;

fn import(spec: &Arc<ChainSpec>) -> (BlockImport, Tip) {
    let database = Database::open(&Options::default(), spec).expect("memory is always there");
    let tip = database.tip();
    (BlockImport::new(Arc::clone(spec), tip.clone(), Limits::consensus(), SLICE), tip)
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
    let (mut chain, first) = import(&spec);
    let slow = mined(&spec, &first, 40, 1);
    let fast = mined(&spec, &first, 5, 2);
    let take = |chain: &mut BlockImport, block: &ExecutedBlock| {
        let imported = chain.import(&block.block.encode_rlp()).expect("it is valid");
        assert_eq!(imported.hash, block.block.hash);
        imported.placed
    };
    let grown = Placed::Head { abandoned: vec![], adopted: vec![slow.block.hash] };
    assert_eq!(take(&mut chain, &slow), grown);
    let moved = Placed::Head { abandoned: vec![slow.block.hash], adopted: vec![fast.block.hash] };
    assert_eq!(take(&mut chain, &fast), moved);
    assert_eq!(take(&mut chain, &slow), Placed::Side, "it is known already");
    let balance = |chain: &BlockImport, name| {
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

/// Goal: bytes that are no block, and blocks without parent, say so and change nothing.
#[test]
fn what_has_no_place_is_refused() {
    let spec = spec();
    let (mut chain, first) = import(&spec);
    let one = mined(&spec, &first, 10, 1);
    let two = mined(&spec, &first.extend(&one), 10, 1);
    let mut refused = |rlp: &[u8]| chain.import(rlp).map(|_| ()).expect_err("it has no place");
    let parent = one.block.hash;
    assert_eq!(
        refused(&two.block.encode_rlp()),
        TreeError::UnknownParent { number: 2, parent }.into()
    );
    assert!(matches!(refused(&[]), ImportError::Decode(BlockDecodeError::Rlp(_))));
    let rlp = one.block.encode_rlp();
    assert!(matches!(refused(&rlp[..rlp.len() - 1]), ImportError::Decode(_)));
    let more = [&rlp[..], &[0]].concat();
    assert!(matches!(
        refused(&more),
        ImportError::Decode(BlockDecodeError::TrailingBytes { found: 1 })
    ));
    assert_eq!(chain.head().hash, first.hash);
}

/// Imports a chain of third parties, if it is there; returns the import and how many receipts have
/// a state root.
fn taken(suite: &str) -> Option<(BlockImport, usize)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suites").join(suite);
    let Ok(rlp) = fs::read(folder.join("chain.rlp")) else {
        eprintln!("SKIPPED: {} is not there", folder.display());
        return None;
    };
    let text = fs::read_to_string(folder.join("genesis.json")).expect("it lies beside the chain");
    let spec = Arc::new(ChainSpec::from_genesis_json(&text).expect("a genesis"));
    let (mut chain, _) = import(&spec);
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
    }
    Some((chain, with_roots))
}

/// Goal: a real chain with a fork every third block from Homestead to BPO2, with ommers, rewards
/// and state roots in receipts. Without the suites the test says so and passes.
#[test]
fn the_chain_of_execution_apis_is_taken() {
    let Some((chain, with_roots)) = taken("execution-apis/tests") else { return };
    assert_eq!(chain.head().header.number, 54);
    assert!(with_roots > 0, "its first blocks are from before Byzantium");
}

/// Goal: a long chain, with the same goal as above.
#[test]
fn the_chain_of_hive_is_taken() {
    let Some((chain, _)) = taken("hive/sync-chain") else { return };
    assert_eq!(chain.head().header.number, 3_000);
}
