//! Refusals that need no state: geth's text for each, and the fork it begins with.

use alloy_consensus::{TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use evenkeel_chain::{BlobParams, Fork, RecoveredTx, TypedTransaction};
use evenkeel_mempool::{AdmissionConfig, NextBlock, PoolError, check_stateless};

const TO: TxKind = TxKind::Call(Address::ZERO);

fn at(fork: Fork, tx: impl Into<TypedTransaction>) -> Result<(), PoolError> {
    let next = NextBlock { chain_id: 1, fork, gas_limit: 30_000_000, blobs: BlobParams::osaka() };
    let tx = RecoveredTx::impersonated(tx.into(), Address::repeat_byte(1));
    check_stateless(&tx, &next, &AdmissionConfig::default())
}

fn refused(fork: Fork, tx: impl Into<TypedTransaction>) -> String {
    at(fork, tx).expect_err("one rule is broken").to_string()
}

fn transfer() -> TxEip1559 {
    TxEip1559 {
        chain_id: 1,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
        to: TO,
        ..TxEip1559::default()
    }
}

fn authorization() -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::ONE, address: Address::ZERO, nonce: 0 };
    authorization.into_signed(Signature::test_signature())
}

/// Goal: each rule by its text, with the numbers in it; the same transaction without the fault
/// passes.
#[test]
fn every_rule_has_geths_text() {
    use Fork::{Istanbul, Osaka, Prague};
    assert_eq!(at(Osaka, transfer()), Ok(()));

    let tx = TxEip1559 { gas_limit: 20_999, ..transfer() };
    assert_eq!(refused(Osaka, tx), "intrinsic gas too low: gas 20999, minimum needed 21000");
    let tx = TxEip1559 { input: Bytes::from(vec![1; 10]), gas_limit: 21_200, ..transfer() };
    assert_eq!(
        refused(Prague, tx.clone()),
        "insufficient gas for floor data gas cost: gas 21200, minimum needed 21400"
    );
    assert_eq!(at(Fork::Cancun, tx), Ok(()));
    let tx = TxEip1559 { gas_limit: 30_000_001, ..transfer() };
    assert_eq!(refused(Prague, tx), "exceeds block gas limit");
    let tx = TxEip1559 { gas_limit: 16_777_217, ..transfer() };
    assert_eq!(at(Prague, tx.clone()), Ok(()));
    assert_eq!(refused(Osaka, tx), "transaction gas limit too high (cap: 16777216, tx: 16777217)");
    let tx = TxEip1559 { max_priority_fee_per_gas: 11, ..transfer() };
    assert_eq!(refused(Osaka, tx), "max priority fee per gas higher than max fee per gas");
    let tx = TxEip1559 { chain_id: 5, ..transfer() };
    assert_eq!(refused(Osaka, tx), "invalid sender: invalid chain id for signer: have 5 want 1");
    let tx = TxEip1559 { nonce: u64::MAX, ..transfer() };
    assert_eq!(refused(Osaka, tx), "nonce has max value");
    let tx = TxEip1559 {
        to: TxKind::Create,
        input: Bytes::from(vec![0; 49_153]),
        gas_limit: 1_000_000,
        ..transfer()
    };
    assert_eq!(
        refused(Osaka, tx.clone()),
        "max initcode size exceeded: code size 49153 limit 49152"
    );
    assert_eq!(at(Fork::Paris, tx), Ok(()));
    assert_eq!(
        refused(Istanbul, transfer()),
        "transaction type not supported: type 2 rejected, pool not yet in Berlin"
    );
}

/// Goal: a blob transaction names one to six blobs by hashes of the known version, and brings them
/// along.
#[test]
fn blobs_are_named_and_brought_along() {
    let hash = |version: u8| {
        let mut hash = B256::repeat_byte(9);
        hash[0] = version;
        hash
    };
    let named = |hashes: Vec<B256>| TxEip4844 {
        chain_id: 1,
        gas_limit: 21_000,
        blob_versioned_hashes: hashes,
        ..TxEip4844::default()
    };
    let later = "transaction type not supported: type 3 rejected, pool not yet in Cancun";
    assert_eq!(refused(Fork::Shanghai, named(vec![hash(1)])), later);
    let missing = "missing sidecar in blob transaction";
    assert_eq!(refused(Fork::Osaka, named(vec![hash(1); 6])), missing);
    assert_eq!(refused(Fork::Osaka, named(Vec::new())), "blobless blob transaction");
    let many = "too many blobs in transaction: have 7, permitted 6";
    assert_eq!(refused(Fork::Osaka, named(vec![hash(1); 7])), many);
    let odd = "blob 1 has invalid hash version";
    assert_eq!(refused(Fork::Osaka, named(vec![hash(1), hash(2)])), odd);
}

/// Goal: each type begins with its fork; legacy goes always, without a chain id too.
#[test]
fn types_begin_with_their_forks() {
    let legacy = TxLegacy { gas_limit: 21_000, to: TO, ..TxLegacy::default() };
    let listed = TxEip2930 { chain_id: 1, gas_limit: 21_000, to: TO, ..TxEip2930::default() };
    let set_code = TxEip7702 {
        chain_id: 1,
        gas_limit: 46_000,
        authorization_list: vec![authorization()],
        ..TxEip7702::default()
    };
    for fork in Fork::ALL {
        assert_eq!(at(fork, legacy.clone()), Ok(()));
        assert_eq!(at(fork, listed.clone()).is_ok(), fork >= Fork::Berlin, "{fork}");
        assert_eq!(at(fork, transfer()).is_ok(), fork >= Fork::London, "{fork}");
        assert_eq!(at(fork, set_code.clone()).is_ok(), fork >= Fork::Prague, "{fork}");
    }
    assert_eq!(
        refused(Fork::Osaka, TxEip7702 { authorization_list: Vec::new(), ..set_code }),
        "set code tx must have at least one authorization tuple"
    );
}
