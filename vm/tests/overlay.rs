//! Several generated transactions in one block against revm with its own state cache (O1, B1).

#[path = "common/chain.rs"]
mod chain;
mod common;

use std::sync::Arc;

use alloy_primitives::{Address, Bytes, TxKind, U256, keccak256};
use chain::{attributes, build, finish, legacy};
use common::{SENDER, code, contract, piece};
use evenkeel_chain::{ChainSpec, DevOptions, Fork};
use evenkeel_state::{Account, ChangeSet, Database, Options};
use evenkeel_vm::{BlockRun, Limits, spec_id};
use proptest::prelude::*;
use revm::{
    DatabaseRef, ExecuteCommitEvm, MainBuilder, MainContext,
    context::{BlockEnv, CfgEnv, Context, TxEnv},
    context_interface::block::BlobExcessGasAndPrice,
    database::InMemoryDB,
    state::{AccountInfo, Bytecode},
};

const COINBASE: Address = Address::repeat_byte(0xfe);

/// The contracts and the sender, for both states.
fn world(contracts: &[Bytes]) -> (ChangeSet, InMemoryDB) {
    let (mut changes, mut db) = (ChangeSet::default(), InMemoryDB::default());
    let balance = U256::from(10).pow(U256::from(22));
    let sender = Account { balance, ..Account::default() };
    changes.accounts.insert(SENDER, Some(sender));
    db.insert_account_info(SENDER, AccountInfo { balance, ..AccountInfo::default() });
    for (number, code) in contracts.iter().enumerate() {
        let address = contract(u8::try_from(number).expect("few"));
        let (nonce, balance, code_hash) = (1, U256::from(5), keccak256(code));
        changes.accounts.insert(address, Some(Account { nonce, balance, code_hash }));
        changes.codes.insert(code_hash, code.clone());
        changes.storage.entry(address).or_default().slots.insert(U256::ONE, U256::from(7));
        let bytecode = Bytecode::new_legacy(code.clone());
        db.insert_account_info(address, AccountInfo::new(balance, nonce, code_hash, bytecode));
        db.insert_account_storage(address, U256::ONE, U256::from(7)).expect("it is in memory");
    }
    (changes, db)
}

/// All but Constantinople, whose `SSTORE` revm does not have.
fn forks() -> Vec<Fork> {
    Fork::ALL.into_iter().filter(|fork| *fork != Fork::Constantinople).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn block_equals_revm_one_by_one(
        fork in prop::sample::select(forks()),
        programs in prop::collection::vec(prop::collection::vec(piece(), 1..10), 4),
        calls in prop::collection::vec((0_u8..5, 60_000_u64..900_000, 0_u64..2), 1..6),
        fuel in prop_oneof![Just(1), Just(500), Just(u64::MAX)],
    ) {
        let contracts: Vec<_> = programs.iter().map(|pieces| code(pieces)).collect();
        let (changes, mut db) = world(&contracts);
        let options = DevOptions { fork, system_contracts: false, ..DevOptions::default() };
        let options = DevOptions { create2_factory: false, ..options };
        let spec = Arc::new(ChainSpec::dev(&options));
        let mut database =
            Database::open(&Options { path: None, ..Options::default() }, &spec).expect("memory");
        database.commit_diff(&Arc::new(changes)).expect("memory");
        let tip = database.tip();

        // The fifth target is a creation with the first program as init code.
        let kind = |to| if to < 4 { TxKind::Call(contract(to)) } else { TxKind::Create };
        let input = |to| if to < 4 { Bytes::from_static(&[1, 2]) } else { contracts[0].clone() };
        let txs: Vec<_> = calls
            .iter()
            .zip(0..)
            .map(|(&(to, gas, value), nonce)| {
                legacy(SENDER, nonce, kind(to), (gas, value), input(to))
            })
            .collect();
        let mut run = build(&tip, &spec, (attributes(&tip), txs.clone()));
        let executed = finish(&mut run, fuel).expect("it builds").expect("it may be empty");
        let limits = Limits::default();
        let block = Arc::clone(&executed.block);
        let again = BlockRun::validate(tip.clone(), Arc::clone(&spec), block, &limits);
        let mut again = again.expect("ours");
        prop_assert!(finish(&mut again, u64::MAX).is_ok());

        let header = &executed.block.header;
        let mut cfg = CfgEnv::new_with_spec(spec_id(fork)).with_chain_id(spec.chain_id);
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        let env = BlockEnv {
            number: U256::from(header.number),
            beneficiary: COINBASE,
            timestamp: U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee_per_gas.unwrap_or(0),
            prevrandao: Some(header.mix_hash),
            blob_excess_gas_and_price: Some(BlobExcessGasAndPrice {
                excess_blob_gas: 0,
                blob_gasprice: 1,
            }),
            ..BlockEnv::default()
        };
        let (mut gas_used, mut included) = (0, 0);
        for tx in &executed.block.txs {
            let context = Context::mainnet().with_db(&mut db).with_cfg(cfg.clone());
            let context = context.with_block(env.clone());
            let tx = TxEnv {
                caller: SENDER,
                nonce: tx.nonce(),
                kind: tx.kind(),
                gas_limit: tx.gas_limit(),
                gas_price: chain::GAS_PRICE,
                value: tx.value(),
                data: tx.input().clone(),
                chain_id: None,
                ..TxEnv::default()
            };
            let result = context.build_mainnet().transact_commit(tx).expect("it was taken");
            gas_used += result.tx_gas_used();
            let receipt = &executed.receipts[included];
            prop_assert_eq!(receipt.cumulative_gas_used, gas_used);
            prop_assert_eq!(&receipt.logs[..], result.logs());
            included += 1;
        }

        database.commit(&[executed]).expect("the root is right");
        let view = database.tip().view;
        for (&address, cached) in &db.cache.accounts {
            let expected = db.basic_ref(address).expect("it is in memory");
            let expected = expected.filter(|info| !info.is_empty());
            let found = view.account(address).expect("memory");
            // Before EIP-161 empty accounts may exist; revm's cache does not tell them apart.
            let found = found.filter(|account| *account != Account::default());
            prop_assert_eq!(
                found.map(|one| (one.nonce, one.balance, one.code_hash)),
                expected.map(|info| (info.nonce, info.balance, info.code_hash)),
                "{} on {}", address, fork
            );
            for (&slot, &value) in &cached.storage {
                prop_assert_eq!(view.storage(address, slot).expect("memory"), value);
            }
        }
    }
}
