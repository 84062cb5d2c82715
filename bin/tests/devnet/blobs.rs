//! Blob transactions through the real node.

use alloy_consensus::{SignableTransaction as _, TxEip4844, TxEip4844WithSidecar};
use alloy_eips::{
    eip2718::Encodable2718 as _,
    eip4844::{BlobTransactionSidecar, builder::SidecarBuilder, builder::SimpleCoder},
    eip7594::BlobTransactionSidecarVariant,
};
use alloy_primitives::{Address, B256, Bytes, hex};
use alloy_signer::SignerSync as _;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner};
use serde_json::{Value, json};

use super::{ALICE, BOB, process::Devnet};

const PHRASE: &str = "test test test test test test test test test test test junk";

/// The bytes in which a blob transaction travels.
fn raw(nonce: u64, hashes: Vec<B256>, sidecar: BlobTransactionSidecarVariant) -> Value {
    let signer: PrivateKeySigner =
        MnemonicBuilder::from_phrase(PHRASE).build().expect("anvil's phrase");
    let tx = TxEip4844 {
        chain_id: 31_337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: Address::repeat_byte(0xbb),
        blob_versioned_hashes: hashes,
        max_fee_per_blob_gas: 1_000_000_000,
        ..TxEip4844::default()
    };
    let tx = TxEip4844WithSidecar { tx, sidecar };
    let signature = signer.sign_hash_sync(&tx.signature_hash()).expect("a key signs");
    let mut bytes = Vec::new();
    tx.into_signed(signature).encode_2718(&mut bytes);
    json!([Bytes::from(bytes)])
}

/// Goal: transactions with proven blobs are mined, in both forms, and their blobs can be asked for;
/// what is not proven is refused by geth's words.
#[test]
fn blobs_are_proven_mined_and_kept() {
    let mut devnet = Devnet::start(&[]);
    let mut builder = SidecarBuilder::<SimpleCoder>::from_slice(b"what a rollup has to say");
    builder.ingest(&vec![7; 130_000]);
    let old: BlobTransactionSidecar = builder.build_4844().expect("it has room");
    let hashes: Vec<_> = old.versioned_hashes().collect();
    assert_eq!(hashes.len(), 2);

    let with_proofs = BlobTransactionSidecarVariant::Eip4844(old.clone());
    let hash = devnet.call("eth_sendRawTransaction", &raw(0, hashes.clone(), with_proofs.clone()));
    let receipt = devnet.receipt(&hash);
    let expected = (&json!("0x1"), &json!("0x40000"), &json!("0x3"));
    assert_eq!((&receipt["status"], &receipt["blobGasUsed"], &receipt["type"]), expected);
    let block = devnet.call("eth_getBlockByNumber", &json!(["latest", true]));
    assert_eq!(block["blobGasUsed"], "0x40000");
    assert_eq!(block["transactions"][0]["blobVersionedHashes"], json!(hashes));
    let blob = devnet.call("anvil_getBlobByHash", &json!([hashes[1]]));
    assert_eq!(blob, json!(hex::encode_prefixed(old.blobs[1])));
    let blobs = devnet.call("anvil_getBlobsByTransactionHash", &json!([hash]));
    assert_eq!(blobs.as_array().map(Vec::len), Some(2));
    assert_eq!(devnet.call("anvil_getBlobByHash", &json!([B256::ZERO])), Value::Null);

    // Osaka's form, from who has made it already.
    let new = with_proofs.clone().try_into_eip7594().expect("they are blobs");
    let new = BlobTransactionSidecarVariant::Eip7594(new);
    let hash = devnet.call("eth_sendRawTransaction", &raw(1, hashes.clone(), new.clone()));
    assert_eq!(devnet.receipt(&hash)["status"], "0x1");

    let refused = |devnet: &mut Devnet, params: &Value| {
        let answer = devnet.answer("eth_sendRawTransaction", params);
        answer["error"]["message"].as_str().map(str::to_owned).expect("it is refused")
    };
    let mut swapped = old.clone();
    swapped.proofs.swap(0, 1);
    let swapped = raw(2, hashes.clone(), swapped.into());
    assert!(refused(&mut devnet, &swapped).starts_with("invalid blob proof: "));
    let BlobTransactionSidecarVariant::Eip7594(mut cells) = new else { panic!("made above") };
    cells.cell_proofs.swap(0, 1);
    let cells = raw(2, hashes.clone(), BlobTransactionSidecarVariant::Eip7594(cells));
    assert!(refused(&mut devnet, &cells).starts_with("invalid blob proof: "));
    let others = raw(2, hashes.iter().rev().copied().collect(), with_proofs.clone());
    assert!(refused(&mut devnet, &others).contains("mismatches transaction one"));
    let none = raw(2, Vec::new(), BlobTransactionSidecar::default().into());
    assert_eq!(refused(&mut devnet, &none), "blobless blob transaction");
    let many = raw(2, vec![hashes[0]; 7], with_proofs.clone());
    let text = "too many blobs in transaction: have 7, permitted 6";
    assert_eq!(refused(&mut devnet, &many), text);
    let fewer = raw(2, vec![hashes[0]; 3], old.into());
    assert!(refused(&mut devnet, &fewer).starts_with("invalid number of 2 blobs"));
    payloads_have_no_blobs(&mut devnet, &raw(2, hashes, with_proofs));
    assert_eq!(devnet.terminate(), Some(0));
}

/// Goal: a payload has no blob transactions, since their blobs would have to come along: those that
/// wait in the pool are left out, and one that is named is refused.
fn payloads_have_no_blobs(devnet: &mut Devnet, blobs: &Value) {
    devnet.call("evm_setAutomine", &json!([false]));
    devnet.call("eth_sendRawTransaction", blobs);
    let transfer = json!([{ "from": BOB, "to": ALICE, "value": "0x1" }]);
    let sent = devnet.call("eth_sendTransaction", &transfer);
    let sent = devnet.call("eth_getRawTransactionByHash", &json!([sent]));
    assert_eq!(devnet.call("txpool_status", &json!([]))["pending"], "0x2");
    let head = devnet.call("eth_getBlockByNumber", &json!(["latest", false]));
    let time = head["timestamp"].as_str().and_then(|time| u64::from_str_radix(&time[2..], 16).ok());
    let attributes = json!({
        "timestamp": format!("{:#x}", time.expect("a quantity") + 1),
        "prevRandao": B256::ZERO,
        "suggestedFeeRecipient": Address::ZERO,
        "withdrawals": [],
        "parentBeaconBlockRoot": B256::ZERO,
    });
    let built = devnet.call("testing_buildBlockV1", &json!([head["hash"], attributes]));
    assert_eq!(built["executionPayload"]["transactions"], json!([sent]));
    assert_eq!(built["blobsBundle"]["blobs"], json!([]));
    let named = json!([head["hash"], attributes, blobs]);
    let refused = devnet.answer("testing_buildBlockV1", &named)["error"].take();
    let text = "invalid argument 2: transaction 0: blob transactions are not put into payloads";
    assert_eq!((&refused["code"], &refused["message"]), (&json!(-32_602), &json!(text)));
}
