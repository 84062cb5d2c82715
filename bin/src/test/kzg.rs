//! Vectors of KZG commitments and proofs, in consensus-specs' format.
//!
//! Proofs of points go through the precompile of EIP-4844, proofs of blobs the way of a transaction
//! that brings them; commitments and proofs that are to be made, through the same trusted setup.

use std::str;

use alloy_eips::eip4844::{
    BYTES_PER_BLOB, BYTES_PER_COMMITMENT, Blob, BlobTransactionSidecar, Bytes48, c_kzg::Bytes32,
    kzg_to_versioned_hash,
};
use alloy_primitives::{Bytes, U256, hex};
use anyhow::{Context as _, Result};
use evenkeel_chain::{BlobError, Fork, kzg_settings, prove_blobs};
use evenkeel_runtime::Inline;

use super::{
    Options,
    precompile::Call,
    tally::{Cases, expect},
};

/// Gas of a point evaluation (EIP-4844).
const POINT_EVALUATION_GAS: u64 = 50_000;
const POINT_EVALUATION: u16 = 0x0a;

/// What a file `data.yaml` says: keys and strings, one a line, and what is to come out.
struct Vector<'a> {
    text: &'a str,
}

impl<'a> Vector<'a> {
    fn field(&self, key: &str) -> Option<&'a str> {
        let fields = self.text.lines().filter_map(|line| line.trim().split_once(": "));
        fields.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.trim_matches('\''))
    }

    fn bytes(&self, key: &str) -> Result<Vec<u8>> {
        let text = self.field(key).with_context(|| format!("no '{key}'"))?;
        Ok(hex::decode(text)?)
    }

    fn has(&self, key: &str) -> bool {
        self.field(key).is_some()
    }

    /// All strings after `output:`, without 0x; none where the input is wrong (`null`).
    fn output(&self) -> Result<String> {
        let (_, output) = self.text.split_once("\noutput:").context("no 'output'")?;
        let items = output.split('\'').skip(1).step_by(2);
        Ok(items.map(|item| item.trim_start_matches("0x")).collect())
    }
}

/// Which of the four functions a file is for, its input says.
pub(super) fn run(
    options: &Options,
    bytes: &[u8],
    inline: &mut Inline,
    cases: &mut Cases<'_>,
) -> Result<()> {
    let vector = Vector { text: str::from_utf8(bytes)? };
    let check: Check<'_> = if vector.has("y") {
        point(options, &vector, inline)?
    } else if vector.has("commitment") {
        blob(&vector)?
    } else {
        made(&vector)?
    };
    cases.run("", None, check);
    Ok(())
}

type Check<'a> = Box<dyn FnOnce() -> Result<(), String> + 'a>;

/// `verify_kzg_proof`
fn point<'a>(options: &Options, vector: &Vector<'_>, inline: &'a mut Inline) -> Result<Check<'a>> {
    let (commitment, proof) = (vector.bytes("commitment")?, vector.bytes("proof")?);
    let (z, y) = (vector.bytes("z")?, vector.bytes("y")?);
    let is_valid = vector.field("output") == Some("true");
    let slice = options.slice;
    Ok(Box::new(move || {
        // Of another length it has no hash; any will do, the call must fail.
        let has_hash = commitment.len() == BYTES_PER_COMMITMENT;
        let hash = if has_hash { kzg_to_versioned_hash(&commitment) } else { U256::ONE.into() };
        let input = [hash.as_slice(), &z, &y, &commitment, &proof].concat().into();
        // EIP-4844: field elements of a blob, and the modulus.
        let fields = U256::from(4_096).to_be_bytes::<32>();
        let modulus = hex!("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001");
        let output = Bytes::from([fields, modulus].concat());
        let call = Call { address: POINT_EVALUATION, input: &input, slice };
        call.check(inline, is_valid.then_some(&output), POINT_EVALUATION_GAS)
    }))
}

/// `verify_blob_kzg_proof`
fn blob<'a>(vector: &Vector<'_>) -> Result<Check<'a>> {
    let (blob, commitment) = (vector.bytes("blob")?, vector.bytes("commitment")?);
    let proof = vector.bytes("proof")?;
    let expected = vector.field("output").context("no 'output'")?.to_owned();
    Ok(Box::new(move || {
        // Of another length they do not decode as a transaction's.
        let fits = blob.len() == BYTES_PER_BLOB
            && commitment.len() == BYTES_PER_COMMITMENT
            && proof.len() == BYTES_PER_COMMITMENT;
        if !fits {
            return expect("output", "null", expected.as_str());
        }
        let sidecar = BlobTransactionSidecar {
            blobs: vec![Blob::from_slice(&blob)],
            commitments: vec![Bytes48::from_slice(&commitment)],
            proofs: vec![Bytes48::from_slice(&proof)],
        };
        let hashes = [kzg_to_versioned_hash(&commitment)];
        let found = match prove_blobs(sidecar.into(), &hashes, Fork::Cancun) {
            Ok(_) => "true",
            Err(BlobError::Proof(reason)) if reason == "invalid KZG proof" => "false",
            Err(_) => "null",
        };
        expect("output", found, &expected)
    }))
}

/// `blob_to_kzg_commitment`, and `compute_kzg_proof` where there is a point.
fn made<'a>(vector: &Vector<'_>) -> Result<Check<'a>> {
    let blob = vector.bytes("blob")?;
    let z = if vector.has("z") { Some(vector.bytes("z")?) } else { None };
    let expected = vector.output()?;
    Ok(Box::new(move || {
        let blob = alloy_eips::eip4844::c_kzg::Blob::from_bytes(&blob);
        let settings = kzg_settings();
        let found = match z {
            None => blob
                .and_then(|blob| settings.blob_to_kzg_commitment(&blob))
                .map(|commitment| hex::encode(commitment.to_bytes().as_slice())),
            Some(z) => blob
                .and_then(|blob| settings.compute_kzg_proof(&blob, &Bytes32::from_bytes(&z)?))
                .map(|(proof, y)| {
                    hex::encode([proof.to_bytes().as_slice(), y.as_slice()].concat())
                }),
        };
        expect("output", found.unwrap_or_default(), expected)
    }))
}
