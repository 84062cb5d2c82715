//! Blocks as a consensus client sends them: the parameters of `engine_newPayload`.
//!
//! The node has no Engine API. What a call of it says, before the block is executed, is checked
//! here; the block itself goes through the node's import like any other, from its encoding on.
//!
//! Source: execution-apis, `src/engine/{paris,shanghai,cancun,prague,osaka}.md`.

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Transaction as _, proofs::calculate_withdrawals_root,
};
use alloy_eips::eip7685::Requests;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U64, U256};
use alloy_rlp::{BufMut as _, Encodable as _, Header as ListHeader};
use alloy_trie::root::ordered_trie_root_with_encoder;
use evenkeel_chain::{ChainSpec, Fork, Header, UnrecoveredTx, Withdrawal};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

/// A call of `engine_newPayload`, and what is to come of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewPayload {
    params: Vec<Box<RawValue>>,
    #[serde(rename = "newPayloadVersion")]
    version: String,
    /// Names of what is wrong with the block.
    pub(super) validation_error: Option<String>,
    /// That of the call, in decimal.
    pub(super) error_code: Option<String>,
}

/// Why a call is refused, or its block, before it is executed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PayloadError {
    #[error("invalid params (-32602): {0}")]
    Params(String),
    #[error("unsupported fork (-38005): engine_newPayloadV{version} for a block of {fork:?}")]
    Fork { version: u8, fork: Fork },
    #[error("the base fee has more than 64 bits: {0}")]
    BaseFee(U256),
    #[error("blockHash {expected}, the block has {found}")]
    BlockHash { found: B256, expected: B256 },
    #[error("versioned hashes {found:?}, expected {expected:?}")]
    VersionedHashes { found: Vec<B256>, expected: Vec<B256> },
}

impl PayloadError {
    /// Of the answer, where it is an error: one that is about the call, not about the block.
    pub(super) const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Params(_) => Some("-32602"),
            Self::Fork { .. } => Some("-38005"),
            Self::BaseFee(_) | Self::BlockHash { .. } | Self::VersionedHashes { .. } => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExecutionPayload {
    parent_hash: B256,
    fee_recipient: Address,
    state_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
    prev_randao: B256,
    block_number: U64,
    gas_limit: U64,
    gas_used: U64,
    timestamp: U64,
    extra_data: Bytes,
    base_fee_per_gas: U256,
    block_hash: B256,
    transactions: Vec<Bytes>,
    /// Since `ExecutionPayloadV2`.
    withdrawals: Option<Vec<Withdrawal>>,
    /// Since `ExecutionPayloadV3`, as the next.
    blob_gas_used: Option<U64>,
    excess_blob_gas: Option<U64>,
}

/// What comes beside the payload, by version.
#[derive(Default)]
struct Beside {
    versioned_hashes: Option<Vec<B256>>,
    parent_beacon_root: Option<B256>,
    requests: Option<Requests>,
}

impl NewPayload {
    /// The RLP of the block.
    ///
    /// # Errors
    ///
    /// [`PayloadError`], the first rule of the call that it breaks. What is wrong with a
    /// transaction is for the block's import to say.
    pub(super) fn block_rlp(&self, spec: &ChainSpec) -> Result<Vec<u8>, PayloadError> {
        let version = self.version()?;
        let (payload, beside) = self.read(version)?;
        let fork = payload.fork(spec);
        payload.check_fields(version, fork)?;
        check_fork(version, fork)?;

        let header = payload.header(&beside)?;
        let (found, expected) = (header.hash_slow(), payload.block_hash);
        if found != expected {
            return Err(PayloadError::BlockHash { found, expected });
        }
        if let Some(expected) = beside.versioned_hashes
            && let Some(found) = payload.versioned_hashes()
            && found != expected
        {
            return Err(PayloadError::VersionedHashes { found, expected });
        }
        Ok(payload.encode(&header))
    }

    fn version(&self) -> Result<u8, PayloadError> {
        let version = self.version.parse();
        version.ok().filter(|version| (1..=4).contains(version)).ok_or_else(|| {
            let found = &self.version;
            PayloadError::Params(format!("engine_newPayloadV{found}, expected V1 to V4"))
        })
    }

    /// The parameters, as many as the version has.
    fn read(&self, version: u8) -> Result<(ExecutionPayload, Beside), PayloadError> {
        let expected = match version {
            1 | 2 => 1,
            3 => 3,
            _ => 4,
        };
        if self.params.len() != expected {
            let found = self.params.len();
            return Err(PayloadError::Params(format!("{found} of them, expected {expected}")));
        }
        let payload = self.param(0, "executionPayload")?;
        let mut beside = Beside::default();
        if version >= 3 {
            beside.versioned_hashes = Some(self.param(1, "expectedBlobVersionedHashes")?);
            beside.parent_beacon_root = Some(self.param(2, "parentBeaconBlockRoot")?);
        }
        if version >= 4 {
            let requests: Vec<Bytes> = self.param(3, "executionRequests")?;
            // Each with its type and something behind it, one of a type, in their order.
            let is_ordered = requests.is_sorted_by(|one, next| one.first() < next.first());
            if !is_ordered || requests.iter().any(|request| request.len() < 2) {
                let error = "executionRequests: empty, out of order or twice of one type";
                return Err(PayloadError::Params(error.to_owned()));
            }
            beside.requests = Some(Requests::from(requests));
        }
        Ok((payload, beside))
    }

    fn param<T: DeserializeOwned>(&self, nth: usize, name: &str) -> Result<T, PayloadError> {
        let read = serde_json::from_str(self.params[nth].get());
        read.map_err(|error| PayloadError::Params(format!("{name}: {error}")))
    }
}

/// Whether a version may be used for blocks of a fork. Of the first the specification says who is
/// not to call it, not what comes of that: its payload has no place for withdrawals.
fn check_fork(version: u8, fork: Fork) -> Result<(), PayloadError> {
    let is_supported = match version {
        1 => true,
        2 => fork < Fork::Cancun,
        3 => fork == Fork::Cancun,
        _ => fork >= Fork::Prague,
    };
    if is_supported { Ok(()) } else { Err(PayloadError::Fork { version, fork }) }
}

impl ExecutionPayload {
    fn fork(&self, spec: &ChainSpec) -> Fork {
        let (number, timestamp) = (self.block_number.to(), self.timestamp.to());
        spec.fork_of(&Header { number, timestamp, ..Header::default() })
    }

    /// Whether it has the fields of its version, all of them and no more.
    fn check_fields(&self, version: u8, fork: Fork) -> Result<(), PayloadError> {
        let has_withdrawals = version >= 3 || version == 2 && fork >= Fork::Shanghai;
        for (name, is_there, expected) in [
            ("withdrawals", self.withdrawals.is_some(), has_withdrawals),
            ("blobGasUsed", self.blob_gas_used.is_some(), version >= 3),
            ("excessBlobGas", self.excess_blob_gas.is_some(), version >= 3),
        ] {
            if is_there != expected {
                let what = if expected { "missing" } else { "not expected" };
                return Err(PayloadError::Params(format!("executionPayload.{name}: {what}")));
            }
        }
        Ok(())
    }

    fn header(&self, beside: &Beside) -> Result<Header, PayloadError> {
        let base_fee = self.base_fee_per_gas;
        let base_fee = base_fee.try_into().map_err(|_| PayloadError::BaseFee(base_fee))?;
        let withdrawals = self.withdrawals.as_deref();
        Ok(Header {
            parent_hash: self.parent_hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: self.fee_recipient,
            state_root: self.state_root,
            transactions_root: ordered_trie_root_with_encoder(&self.transactions, |tx, out| {
                out.put_slice(tx);
            }),
            receipts_root: self.receipts_root,
            logs_bloom: self.logs_bloom,
            difficulty: U256::ZERO,
            number: self.block_number.to(),
            gas_limit: self.gas_limit.to(),
            gas_used: self.gas_used.to(),
            timestamp: self.timestamp.to(),
            extra_data: self.extra_data.clone(),
            mix_hash: self.prev_randao,
            nonce: B64::ZERO,
            base_fee_per_gas: Some(base_fee),
            withdrawals_root: withdrawals.map(calculate_withdrawals_root),
            blob_gas_used: self.blob_gas_used.map(|gas| gas.to()),
            excess_blob_gas: self.excess_blob_gas.map(|gas| gas.to()),
            parent_beacon_block_root: beside.parent_beacon_root,
            requests_hash: beside.requests.as_ref().map(Requests::requests_hash),
            ..Header::default()
        })
    }

    /// Those of its blobs; none if a transaction is none.
    fn versioned_hashes(&self) -> Option<Vec<B256>> {
        let mut hashes = Vec::new();
        for tx in &self.transactions {
            let tx = UnrecoveredTx::decode(tx).ok()?;
            hashes.extend(tx.tx().blob_versioned_hashes().into_iter().flatten());
        }
        Some(hashes)
    }

    /// The block, with the bytes of its transactions as they came: a list stands for itself, as it
    /// does before types, the others are strings.
    fn encode(&self, header: &Header) -> Vec<u8> {
        let mut txs = Vec::new();
        for tx in &self.transactions {
            match tx.first() {
                Some(first) if *first >= alloy_rlp::EMPTY_LIST_CODE => txs.extend_from_slice(tx),
                _ => tx.encode(&mut txs),
            }
        }
        let mut payload = Vec::new();
        header.encode(&mut payload);
        ListHeader { list: true, payload_length: txs.len() }.encode(&mut payload);
        payload.append(&mut txs);
        payload.push(alloy_rlp::EMPTY_LIST_CODE);
        if let Some(withdrawals) = &self.withdrawals {
            withdrawals.encode(&mut payload);
        }
        let mut block = Vec::with_capacity(payload.len() + 9);
        ListHeader { list: true, payload_length: payload.len() }.encode(&mut block);
        block.append(&mut payload);
        block
    }
}
