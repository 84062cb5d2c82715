//! Random transactions of every type, signed by known keys.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxLegacy};
use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, SignedAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use evenkeel_chain::{TxEnvelope, TypedTransaction};
use proptest::{collection::vec, option, prelude::*};

/// Any 256-bit number; small ones often.
pub(crate) fn word() -> impl Strategy<Value = U256> {
    prop_oneof![
        any::<u64>().prop_map(U256::from),
        any::<[u64; 4]>().prop_map(U256::from_limbs),
        Just(U256::ZERO),
    ]
}

/// Any address.
pub(crate) fn address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address::from)
}

/// A key and its address.
pub(crate) fn signer() -> impl Strategy<Value = PrivateKeySigner> {
    any::<[u8; 32]>().prop_filter_map("a scalar of the curve", |bytes| {
        PrivateKeySigner::from_bytes(&B256::from(bytes)).ok()
    })
}

fn kind() -> impl Strategy<Value = TxKind> {
    option::of(address()).prop_map(|to| to.map_or(TxKind::Create, TxKind::Call))
}

fn input() -> impl Strategy<Value = Bytes> {
    vec(prop_oneof![Just(0), any::<u8>()], 0..200).prop_map(Bytes::from)
}

fn access_list() -> impl Strategy<Value = AccessList> {
    let item = (address(), vec(any::<[u8; 32]>().prop_map(B256::from), 0..4));
    let item = item.prop_map(|(address, storage_keys)| AccessListItem { address, storage_keys });
    vec(item, 0..4).prop_map(AccessList)
}

fn authorizations() -> impl Strategy<Value = Vec<SignedAuthorization>> {
    let item = (word(), address(), any::<u64>(), word(), word(), any::<bool>());
    let item = item.prop_map(|(chain_id, address, nonce, r, s, parity)| {
        let authorization = Authorization { chain_id, address, nonce };
        authorization.into_signed(Signature::new(r, s, parity))
    });
    vec(item, 0..4)
}

/// An unsigned transaction of type 0, 1, 2 or 4.
pub(crate) fn unsigned() -> impl Strategy<Value = TypedTransaction> {
    let common = (any::<u64>(), any::<u64>(), any::<u64>(), kind(), word(), input());
    let fees = (any::<u128>(), any::<u128>());
    // The parity value of EIP-155 holds twice the chain id, so a chain id is below 2^63 in use.
    let chain_id = (option::of(any::<u64>()), 0_u8..4);
    (common, fees, access_list(), authorizations(), chain_id).prop_map(
        |(common, (high, low), access_list, authorization_list, (chain_id, ty))| {
            let (nonce, gas_limit, _, to, value, input) = common;
            let id = chain_id.unwrap_or(1);
            match ty {
                0 => TxLegacy { chain_id, nonce, gas_price: high, gas_limit, to, value, input }
                    .into(),
                1 => TxEip2930 {
                    chain_id: id,
                    nonce,
                    gas_price: high,
                    gas_limit,
                    to,
                    value,
                    access_list,
                    input,
                }
                .into(),
                2 => TxEip1559 {
                    chain_id: id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas: high,
                    max_priority_fee_per_gas: low,
                    to,
                    value,
                    access_list,
                    input,
                }
                .into(),
                _ => TxEip7702 {
                    chain_id: id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas: high,
                    max_priority_fee_per_gas: low,
                    to: to.to().copied().unwrap_or_default(),
                    value,
                    access_list,
                    authorization_list,
                    input,
                }
                .into(),
            }
        },
    )
}

/// Signs as a wallet does.
pub(crate) fn sign(unsigned: TypedTransaction, signer: &PrivateKeySigner) -> TxEnvelope {
    let hash = unsigned.signature_hash();
    let signature = signer.sign_hash_sync(&hash).expect("signing a hash cannot fail");
    unsigned.into_envelope(signature)
}

/// Encodes as a wallet does.
pub(crate) fn encode(tx: &TxEnvelope) -> Vec<u8> {
    use alloy_eips::eip2718::Encodable2718;
    tx.encoded_2718()
}
