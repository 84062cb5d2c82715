//! Basic tests: keys with their addresses and signatures, ciphers, old transactions, the paths of
//! the trie, the first block of mainnet and of a forerunner. Of which kind a file is, its name
//! says.

mod crypto;
mod proof_of_concept;

use std::collections::BTreeMap;

use alloy_consensus::{SignableTransaction as _, TxLegacy};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, hex, keccak256};
use alloy_rlp::Encodable as _;
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_trie::{Nibbles, nodes::encode_path_leaf};
use anyhow::{Result, bail};
use crypto::CryptoTest;
use evenkeel_chain::{SealedBlock, TxEnvelope, recover};
use proof_of_concept::FirstBlockTest;
use serde::Deserialize;

use super::tally::{Cases, expect};

pub(super) fn run(bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    match cases.file_name() {
        "keyaddrtest.json" => {
            let tests: Vec<KeyTest> = serde_json::from_slice(bytes)?;
            for test in tests {
                cases.run(&test.seed, None, || test.check());
            }
        }
        "txtest.json" => {
            let tests: Vec<TxTest> = serde_json::from_slice(bytes)?;
            for test in tests {
                cases.run(&test.signed, None, || test.check());
            }
        }
        "hexencodetest.json" => {
            let tests: BTreeMap<String, PathTest> = serde_json::from_slice(bytes)?;
            for (name, test) in tests {
                cases.run(&name, None, || test.check());
            }
        }
        "genesishashestest.json" => {
            let test: GenesisTest = serde_json::from_slice(bytes)?;
            cases.run("mainnet", None, || test.check());
        }
        "crypto.json" => {
            let tests: BTreeMap<String, CryptoTest> = serde_json::from_slice(bytes)?;
            for (name, test) in tests {
                cases.run(&name, None, || test.check());
            }
        }
        "blockgenesistest.json" => {
            let tests: Vec<FirstBlockTest<'_>> = serde_json::from_slice(bytes)?;
            for (nth, test) in tests.iter().enumerate() {
                cases.run(&nth.to_string(), None, || test.check());
            }
        }
        other => bail!(
            "{other}: expected keyaddrtest, txtest, hexencodetest, genesishashestest, \
             blockgenesistest or crypto.json"
        ),
    }
    Ok(())
}

fn signer_of(key: B256) -> Result<PrivateKeySigner, String> {
    PrivateKeySigner::from_bytes(&key).map_err(|error| error.to_string())
}

/// A key from a phrase and its address. The file has a signature too, but not of what it says
/// (nothing): it is not looked at, ours is.
#[derive(Deserialize)]
struct KeyTest {
    seed: String,
    key: B256,
    addr: Address,
}

impl KeyTest {
    fn check(&self) -> Result<(), String> {
        expect("key", keccak256(&self.seed), self.key)?;
        let signer = signer_of(self.key)?;
        expect("address", signer.address(), self.addr)?;
        let hash = keccak256([]);
        let signature = signer.sign_hash_sync(&hash).map_err(|error| error.to_string())?;
        let found = recover::secp256k1(&signature, &hash).map_err(|error| error.to_string())?;
        expect("who signed", found, self.addr)
    }
}

/// A transaction before EIP-155, unsigned and signed.
#[derive(Deserialize)]
struct TxTest {
    key: B256,
    nonce: u64,
    gasprice: u128,
    startgas: u64,
    to: String,
    value: u128,
    data: String,
    unsigned: Bytes,
    signed: String,
}

impl TxTest {
    fn check(&self) -> Result<(), String> {
        let bytes = |text: &str| hex::decode(text).map_err(|error| error.to_string());
        let to = bytes(&self.to)?;
        let tx = TxLegacy {
            chain_id: None,
            nonce: self.nonce,
            gas_price: self.gasprice,
            gas_limit: self.startgas,
            to: match to.as_slice() {
                [] => TxKind::Create,
                to => TxKind::Call(Address::try_from(to).map_err(|error| error.to_string())?),
            },
            value: U256::from(self.value),
            input: bytes(&self.data)?.into(),
        };
        // Unsigned it is the signed one with a signature of zeros.
        let none = Signature::new(U256::ZERO, U256::ZERO, false);
        let mut unsigned = Vec::new();
        let mut fields = Vec::new();
        tx.encode_for_signing(&mut fields);
        let payload = alloy_rlp::Header::decode_bytes(&mut fields.as_slice(), true)
            .map_err(|error| error.to_string())?
            .to_vec();
        let empty = 3 * none.r().length();
        alloy_rlp::Header { list: true, payload_length: payload.len() + empty }
            .encode(&mut unsigned);
        unsigned.extend_from_slice(&payload);
        unsigned.extend_from_slice(&[alloy_rlp::EMPTY_STRING_CODE; 3]);
        expect("unsigned", Bytes::from(unsigned), self.unsigned.clone())?;

        let hash = tx.signature_hash();
        let signature = signer_of(self.key)?.sign_hash_sync(&hash);
        let signature = signature.map_err(|error| error.to_string())?;
        let ours = TxEnvelope::from(tx.into_signed(signature));
        let theirs = bytes(&self.signed)?;
        let theirs = <TxEnvelope as alloy_eips::eip2718::Decodable2718>::decode_2718_exact(&theirs)
            .map_err(|error| error.to_string())?;
        expect("hash to sign", theirs.signature_hash(), hash)?;
        // Either of the two that a key gives: this is before Homestead.
        let signer = recover::secp256k1_any_s(theirs.signature(), &hash);
        let address = signer_of(self.key)?.address();
        expect("who signed", signer.map_err(|error| error.to_string())?, address)?;
        expect("length", ours.encode_2718_len(), theirs.encode_2718_len())
    }
}

/// A path in the trie and its compact encoding.
#[derive(Deserialize)]
struct PathTest {
    seq: Vec<u8>,
    term: bool,
    out: String,
}

impl PathTest {
    fn check(&self) -> Result<(), String> {
        let path = Nibbles::from_nibbles(&self.seq);
        let found = Bytes::from(encode_path_leaf(&path, self.term).to_vec());
        let expected = hex::decode(&self.out).map_err(|error| error.to_string())?;
        expect("encoding", found, Bytes::from(expected))
    }
}

/// The first block of mainnet.
#[derive(Deserialize)]
struct GenesisTest {
    #[serde(rename = "genesis_rlp_hex")]
    rlp: String,
    #[serde(rename = "genesis_state_root")]
    state_root: B256,
    #[serde(rename = "genesis_hash")]
    hash: B256,
}

impl GenesisTest {
    fn check(&self) -> Result<(), String> {
        let rlp = hex::decode(&self.rlp).map_err(|error| error.to_string())?;
        let block = SealedBlock::decode_rlp(&rlp).map_err(|error| error.to_string())?;
        expect("state root", block.header.state_root, self.state_root)?;
        expect("hash", block.hash, self.hash)
    }
}
