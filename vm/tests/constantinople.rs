//! `SSTORE` by EIP-1283, which revm does not have.

#[path = "common/chain.rs"]
mod chain;
mod common;

use alloy_primitives::{Bytes, U256, hex};
use chain::{account, built, create, database, spec};
use common::{Scene, contract, run_sliced};
use evenkeel_chain::Fork;
use evenkeel_vm::{Setup, Suspended};
use revm::primitives::hardfork::SpecId;

/// Goal: gas and refund of every way through the rules.
/// Method: the table of EIP-1283: code, gas, refund, original value of slot 0. A refund is at most
/// half of what the transaction used.
#[test]
fn gas_and_refunds_are_those_of_the_eip() {
    let table = [
        ("60006000556000600055", 412, 0, 0),
        ("60006000556001600055", 20_212, 0, 0),
        ("60016000556000600055", 20_212, 19_800, 0),
        ("60016000556002600055", 20_212, 0, 0),
        ("60016000556001600055", 20_212, 0, 0),
        ("60006000556000600055", 5_212, 15_000, 1),
        ("60006000556001600055", 5_212, 4_800, 1),
        ("60006000556002600055", 5_212, 0, 1),
        ("60026000556000600055", 5_212, 15_000, 1),
        ("60026000556003600055", 5_212, 0, 1),
        ("60026000556001600055", 5_212, 4_800, 1),
        ("60026000556002600055", 5_212, 0, 1),
        ("60016000556000600055", 5_212, 15_000, 1),
        ("60016000556002600055", 5_212, 0, 1),
        ("60016000556001600055", 412, 0, 1),
        ("600160005560006000556001600055", 40_218, 19_800, 0),
        ("600060005560016000556000600055", 10_218, 19_800, 1),
    ];
    for (code, gas, refund, original) in table {
        let scene = Scene {
            spec: SpecId::PETERSBURG,
            contracts: vec![hex::decode(code).expect("a constant").into()],
            input: Bytes::new(),
            gas_limit: 100_000,
            to: Some(contract(0)),
        };
        let mut db = scene.db();
        db.insert_account_storage(contract(0), U256::ZERO, U256::from(original)).expect("memory");
        let setup = Setup { is_net_metered: true, ..scene.setup(u64::MAX) };
        let mut evm = Suspended::new(setup, db, ());
        let (result, ..) = run_sliced(&mut evm, scene.tx(), 1).expect("the sender can pay");
        let spent = 21_000 + gas;
        let found = (result.gas().total_gas_spent(), result.gas().inner_refunded());
        assert_eq!(found, (spent, refund.min(spent / 2)), "{code} from {original}");
    }
}

/// A block of Constantinople runs by these rules, one of Petersburg by the old: setting a slot and
/// clearing it costs 20,000 - 19,800 + 200 there, 20,000 + 5,000 - 15,000 here.
#[test]
fn only_blocks_of_constantinople_are_net_metered() {
    let gas_used = |fork| {
        let spec = spec(fork);
        let init = Bytes::from_static(&hex!("60016000556000600055"));
        let block = built(&database(&spec).tip(), &spec, vec![create(account(0), 0, init)]);
        assert!(block.receipts[0].success);
        block.receipts[0].cumulative_gas_used
    };
    let constantinople = gas_used(Fork::Constantinople);
    assert_eq!(gas_used(Fork::Petersburg), constantinople + 9_600);
    assert_eq!(gas_used(Fork::Byzantium), constantinople + 9_600);
}
