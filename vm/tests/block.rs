//! Blocks: built, validated, refused, on every fork (B1, B2).

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::sync::Arc;

use alloy_consensus::TxEip4844;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, TxKind, U256, keccak256};
use chain::{
    GAS_PRICE, account, attributes, authorization, build, built, create, database, deploying,
    finish, legacy, set_code, signers, spec, transfer,
};
use common::{Code, Piece};
use evenkeel_chain::{
    BlockAttributes, ChainSpec, Fork, Header, RecoveredTx, SealedBlock, TypedTransaction,
    Withdrawal,
    limits::{BLOCK_SIZE_BYTES_MAX, TX_SIZE_BYTES_MAX},
};
use evenkeel_state::{Account, ChangeSet, Tip};
use evenkeel_vm::{BlockRun, ExecError, Limits};
use revm::bytecode::opcode as op;

fn validate(
    tip: &Tip,
    spec: &Arc<ChainSpec>,
    block: &Arc<SealedBlock>,
    fuel: u64,
) -> Result<B256, ExecError> {
    let limits = Limits::default();
    let mut run = BlockRun::validate(tip.clone(), Arc::clone(spec), Arc::clone(block), &limits)?;
    let executed = finish(&mut run, fuel)?.expect("a validated block is never empty");
    Ok(executed.block.hash)
}

/// Counts its calls in slot 0, logs, and clears slot 1.
fn counter() -> Vec<u8> {
    let code = Code::default().push(1).push(0).op(op::SLOAD).op(op::ADD).push(0).op(op::SSTORE);
    let code = Piece::Store(1, 0).write(code);
    Piece::Log(1, 20).write(code).0
}

fn dies() -> Vec<u8> {
    Code::default().address(account(5)).op(op::SELFDESTRUCT).0
}

fn sample() -> Vec<Arc<RecoveredTx>> {
    let counter_at = account(0).create(0);
    let dead_at = account(1).create(0);
    let call = |from: u8, nonce, to| {
        legacy(account(from), nonce, TxKind::Call(to), (100_000, 0), Bytes::new())
    };
    vec![
        create(account(0), 0, deploying(&counter())),
        create(account(1), 0, deploying(&dies())),
        transfer(account(2), 0, account(3), 7),
        transfer(account(2), 1, Address::repeat_byte(0x77), 1),
        call(0, 1, counter_at),
        call(3, 0, counter_at),
        call(1, 1, dead_at),
        // Reverts, and halts.
        create(account(4), 0, Code::default().push(0).push(0).op(op::REVERT).0.into()),
        create(account(4), 1, Bytes::from_static(&[op::INVALID])),
    ]
}

/// B1 on every fork, in big and in small slices; the database checks the root once more.
#[test]
fn built_blocks_validate_on_every_fork() {
    for fork in Fork::ALL {
        let spec = spec(fork);
        let mut database = database(&spec);
        let mut tip = database.tip();
        for round in 0..3 {
            let txs = if round == 0 {
                sample()
            } else {
                vec![transfer(account(6), round - 1, account(7), 1)]
            };
            let count = txs.len();
            let executed = built(&tip, &spec, txs);
            assert_eq!(executed.block.txs.len(), count, "{fork}");
            for fuel in [1, 5_000, u64::MAX] {
                let hash = validate(&tip, &spec, &executed.block, fuel);
                assert_eq!(hash, Ok(executed.block.hash), "{fork} fuel {fuel}");
            }
            database.commit(&[Arc::clone(&executed)]).expect("the root is right");
            tip = tip.extend(&executed);
            assert_eq!(tip.hash, database.tip().hash);
        }
        let counter = account(0).create(0);
        assert_eq!(database.tip().view.storage(counter, U256::ZERO), Ok(U256::from(2)), "{fork}");
        let dead = database.tip().view.account(account(1).create(0)).expect("memory");
        // EIP-6780: since Cancun only what was made in the same transaction dies.
        assert_eq!(dead.is_some(), fork >= Fork::Cancun, "{fork}");
        let report = database.verify(&mut |_| {}).expect("it can be read");
        assert!(report.faults.is_empty(), "{fork}: {:?}", report.faults);
    }
}

/// Each field that execution decides is compared, and named.
#[test]
fn wrong_header_field_is_named() {
    let spec = spec(Fork::Osaka);
    let database = database(&spec);
    let tip = database.tip();
    let block = &built(&tip, &spec, sample()).block;
    let with = |change: &dyn Fn(&mut Header)| {
        let mut header = block.header.clone();
        change(&mut header);
        let (txs, withdrawals) = (block.txs.clone(), block.withdrawals.clone());
        let block = Arc::new(SealedBlock::seal(header, txs, Vec::new(), withdrawals));
        validate(&tip, &spec, &block, u64::MAX).expect_err("it is wrong")
    };
    let named = [
        ("gasUsed", with(&|header| header.gas_used += 1)),
        ("receiptsRoot", with(&|header| header.receipts_root = B256::ZERO)),
        ("logsBloom", with(&|header| header.logs_bloom = Bloom::ZERO)),
        ("requestsHash", with(&|header| header.requests_hash = Some(B256::ZERO))),
        ("stateRoot", with(&|header| header.state_root = B256::ZERO)),
    ];
    for (name, error) in named {
        assert!(matches!(&error, ExecError::Field { field, .. } if *field == name), "{error}");
        assert!(error.is_offence());
    }
    let early: [ExecError; 6] = [
        with(&|header| header.transactions_root = B256::ZERO),
        with(&|header| header.base_fee_per_gas = Some(1)),
        with(&|header| header.nonce = B64::with_last_byte(1)),
        with(&|header| header.blob_gas_used = Some(1)),
        with(&|header| header.number += 1),
        with(&|header| header.withdrawals_root = None),
    ];
    for error in early {
        assert!(matches!(error, ExecError::Header(_) | ExecError::Body(_)), "{error}");
    }
    let orphan = with(&|header| header.parent_hash = B256::ZERO);
    assert!(matches!(orphan, ExecError::UnknownParent { .. }), "{orphan}");
}

/// B2: candidates that cannot be applied are left out; only hopeless ones are reported.
#[test]
fn bad_candidates_are_skipped() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let poor = Address::repeat_byte(0x99);
    let (gap, stale) = (transfer(account(1), 5, account(2), 1), transfer(poor, 0, account(2), 1));
    let hungry = legacy(account(3), 0, TxKind::Call(poor), (40_000_000, 0), Bytes::new());
    let thirsty = legacy(account(4), 0, TxKind::Call(poor), (29_999_999, 0), Bytes::new());
    let good = [transfer(account(0), 0, account(2), 1), transfer(account(2), 0, account(0), 1)];
    let txs = vec![
        gap,
        good[0].clone(),
        stale.clone(),
        transfer(poor, 1, account(2), 1),
        hungry.clone(),
        thirsty,
        good[1].clone(),
    ];
    let mut run = build(&tip, &spec, (attributes(&tip), txs));
    let executed = finish(&mut run, 10_000).expect("it builds").expect("two are good");
    assert_eq!(executed.block.txs, good);
    let reported: Vec<_> = run.take_unexecutable();
    assert_eq!(reported.len(), 2);
    assert_eq!(reported[0].0, *stale.hash());
    let funds = "insufficient funds for gas * price + value: address ";
    assert!(reported[0].1.starts_with(funds), "{}", reported[0].1);
    assert_eq!(reported[1], (*hungry.hash(), "gas limit reached".to_owned()));
    assert_eq!(executed.block.header.gas_used, 42_000);
    // The pool's next block, without them, is the same as if they had never been.
    let clean = built(&tip, &spec, good.to_vec());
    assert_eq!(clean.block.hash, executed.block.hash);
    // As part of a block they are an offence.
    let mut block = (*executed.block).clone();
    block.txs.push(stale);
    block.header.transactions_root = evenkeel_chain::transactions_root(&block.txs);
    let block = SealedBlock::seal(block.header, block.txs, Vec::new(), block.withdrawals);
    let error = validate(&tip, &spec, &Arc::new(block), u64::MAX).expect_err("it cannot pay");
    assert!(matches!(error, ExecError::Transaction { index: 2, .. }), "{error}");
}

/// Limits of the build: number of transactions, and nothing to build.
#[test]
fn build_keeps_to_its_attributes() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let txs = || (0..5).map(|nonce| transfer(account(0), nonce, account(1), 1)).collect::<Vec<_>>();
    let limited = BlockAttributes { txs_max: Some(2), ..attributes(&tip) };
    let mut run = build(&tip, &spec, (limited, txs()));
    let executed = finish(&mut run, u64::MAX).expect("it builds").expect("it has two");
    assert_eq!(executed.block.txs.len(), 2);
    let needy = BlockAttributes { must_have_txs: true, ..attributes(&tip) };
    let mut run = build(&tip, &spec, (needy, Vec::new()));
    assert!(finish(&mut run, u64::MAX).expect("nothing fails").is_none());
}

/// Cheats since the parent are the first changes of the block, and withdrawals its last.
/// A pool that offers more blobs, or more bytes, than a block may have does not make it invalid.
#[test]
fn build_keeps_to_blobs_and_size() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let blob = |from: u8| {
        let tx = TxEip4844 {
            chain_id: spec.chain_id,
            gas_limit: 30_000,
            max_fee_per_gas: GAS_PRICE,
            max_fee_per_blob_gas: GAS_PRICE,
            blob_versioned_hashes: vec![B256::repeat_byte(1); 5],
            to: account(0),
            ..TxEip4844::default()
        };
        RecoveredTx::impersonated(TypedTransaction::Eip4844(tx), account(from))
    };
    let block = built(&tip, &spec, (0..8).map(blob).collect()).block.clone();
    let params = spec.blob_params(block.header.timestamp);
    let most = usize::try_from(params.max_blob_count).expect("small") / 5;
    assert!(most < 8 && block.txs.len() == most, "{} of {most}", block.txs.len());
    validate(&tip, &spec, &block, u64::MAX).expect("ours is valid");

    let big = |n: u64| {
        let (from, nonce) = (account(u8::try_from(n % 8).expect("below 8")), n / 8);
        let input = Bytes::from(vec![0; TX_SIZE_BYTES_MAX - 200]);
        legacy(from, nonce, TxKind::Call(account(0)), (1_400_000, 0), input)
    };
    let attributes = BlockAttributes { gas_limit: 1_000_000_000, ..attributes(&tip) };
    let mut run = build(&tip, &spec, (attributes, (0..80).map(big).collect()));
    let block = finish(&mut run, u64::MAX).expect("it builds").expect("not empty").block.clone();
    let room = BLOCK_SIZE_BYTES_MAX - block.size_bytes();
    assert!(room < TX_SIZE_BYTES_MAX, "{room}");
}

#[test]
fn cheats_and_withdrawals_enter_the_root() {
    let spec = spec(Fork::Osaka);
    let mut database = database(&spec);
    let (rich, paid) = (Address::repeat_byte(0x55), Address::repeat_byte(0x56));
    let code = Bytes::from(counter());
    let hash = keccak256(&code);
    let mut cheat = ChangeSet::default();
    let account_of =
        Account { nonce: 3, balance: U256::from(10).pow(U256::from(18)), code_hash: hash };
    cheat.accounts.insert(rich, Some(account_of));
    cheat.storage.entry(rich).or_default().slots.insert(U256::ZERO, U256::from(41));
    cheat.codes.insert(hash, code);
    let cheat = Arc::new(cheat);
    database.commit_diff(&cheat).expect("memory");
    let tip = database.tip();
    assert_eq!(tip.diffs.len(), 1);
    let withdrawal = Withdrawal { index: 0, validator_index: 0, address: paid, amount: 5 };
    let wanted = BlockAttributes { withdrawals: vec![withdrawal], ..attributes(&tip) };
    let call = legacy(account(0), 0, TxKind::Call(rich), (100_000, 0), Bytes::new());
    let mut run = build(&tip, &spec, (wanted, vec![call]));
    let executed = finish(&mut run, 1_000).expect("it builds").expect("it has one");
    assert_eq!(validate(&tip, &spec, &executed.block, 7_000), Ok(executed.block.hash));
    database.commit(&[executed]).expect("the root is right");
    let view = database.tip().view;
    assert_eq!(view.storage(rich, U256::ZERO), Ok(U256::from(42)));
    assert_eq!(view.account(rich), Ok(Some(account_of)));
    let balance = view.account(paid).expect("memory").expect("it was paid").balance;
    assert_eq!(balance, U256::from(5_000_000_000_u64));
}

/// EIP-4788 and EIP-2935: the contracts hold what the system calls wrote.
#[test]
fn system_calls_leave_their_marks() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let executed = built(&tip, &spec, Vec::new());
    let view = tip.extend(&executed).view;
    let slot = U256::from(executed.block.header.timestamp % 8_191 + 8_191);
    let root = view.storage(alloy_eips::eip4788::BEACON_ROOTS_ADDRESS, slot);
    assert_eq!(root, Ok(U256::from_be_bytes(B256::repeat_byte(4).0)));
    let parent = view.storage(alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS, U256::ZERO);
    assert_eq!(parent, Ok(U256::from_be_bytes(tip.hash.0)));
}

/// EIP-7702: a signed authorization puts its delegation on the signer; one for another chain and a
/// broken one do nothing.
#[test]
fn authorizations_delegate() {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let target = Address::repeat_byte(0x42);
    let broken = authorization(31_337, 0, target)
        .strip_signature()
        .into_signed(alloy_primitives::Signature::new(U256::ZERO, U256::ZERO, false));
    let list = vec![authorization(31_337, 0, target), broken, authorization(5, 1, target)];
    let tx = set_code(account(0), account(1), list);
    let mut run = build(&tip, &spec, (attributes(&tip), vec![tx]));
    let executed = finish(&mut run, 1_000).expect("it builds").expect("it has one");
    assert_eq!(validate(&tip, &spec, &executed.block, u64::MAX), Ok(executed.block.hash));
    let view = tip.extend(&executed).view;
    let delegated = view.account(signers().addresses()[0]).expect("memory").expect("it signed");
    let code = [&[0xef, 0x01, 0x00], target.as_slice()].concat();
    assert_eq!(delegated.code_hash, keccak256(&code));
    assert_eq!(view.code(delegated.code_hash), Ok(Bytes::from(code)));
    assert_eq!(view.account(signers().addresses()[1]), Ok(None));
}
