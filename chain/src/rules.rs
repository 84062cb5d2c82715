//! Whether a header may follow another.
//!
//! Pure. What needs the body or its execution (roots, bloom, gas used, blob gas used) is checked
//! where they are at hand; ommers in `ommers.rs`, what hangs on the total difficulty where the
//! tree of blocks is. Source: yellow paper 4.4.4, EIP-779, 1559, 3675, 4399, 4788, 4844, 4895,
//! 7685, 7691, 7918.

use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::{B64, B256, Bytes, U256};

use crate::{
    Header,
    dao::DaoExtra,
    fork::Fork,
    id::Height,
    limits::{GAS_LIMIT_BOUND_DIVISOR, GAS_LIMIT_MAX, GAS_LIMIT_MIN},
    spec::{ChainSpec, Timestamps},
};

/// Why a header may not follow its parent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderError {
    /// It has another parent.
    #[error("parent hash {found}, expected {expected}")]
    ParentHash {
        /// In the header.
        found: B256,
        /// Of the parent.
        expected: B256,
    },
    /// It is not the next block.
    #[error("block number {found} after parent {parent}")]
    Number {
        /// In the header.
        found: u64,
        /// Of the parent.
        parent: u64,
    },
    /// It is earlier than its parent, or as early where that is not allowed.
    #[error("timestamp {found} after parent's {parent}")]
    Timestamp {
        /// Seconds in the header.
        found: u64,
        /// Seconds of the parent.
        parent: u64,
    },
    /// More extra data than the chain allows.
    #[error("extra data of {found} bytes, limit {limit}")]
    ExtraData {
        /// Bytes in the header.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Another extra data than the chain prescribes at the DAO fork.
    #[error("extra data {found}, the DAO fork prescribes {expected}")]
    DaoExtraData {
        /// In the header.
        found: Bytes,
        /// What it must be.
        expected: Bytes,
    },
    /// The extra data of the other side of the DAO fork.
    #[error("extra data {found} is that of the other side of the DAO fork")]
    OtherDao {
        /// In the header.
        found: Bytes,
    },
    /// The difficulty does not follow from the parent.
    #[error("difficulty {found}, expected {expected}")]
    NextDifficulty {
        /// In the header.
        found: U256,
        /// As the rules have it.
        expected: U256,
    },
    /// No block may have this gas limit.
    #[error("gas limit {found} is not within {min}..={max}")]
    GasLimit {
        /// In the header.
        found: u64,
        /// Lowest.
        min: u64,
        /// Highest.
        max: u64,
    },
    /// The gas limit moves too fast.
    #[error("gas limit {found} is {bound} or more away from parent's {parent}")]
    GasLimitStep {
        /// In the header.
        found: u64,
        /// Of the parent, times two when London starts.
        parent: u64,
        /// The difference must be below this.
        bound: u64,
    },
    /// More gas used than there is.
    #[error("gas used {found} above gas limit {limit}")]
    GasUsed {
        /// In the header.
        found: u64,
        /// Its gas limit.
        limit: u64,
    },
    /// A number that follows from the parent is another.
    #[error("{field} {found}, expected {expected}")]
    Derived {
        /// Name of the header field.
        field: &'static str,
        /// In the header.
        found: u64,
        /// As the rules have it.
        expected: u64,
    },
    /// More blob gas than fits, or no whole number of blobs.
    #[error("blob gas used {found}: not a multiple of {blob} up to {limit}")]
    BlobGasUsed {
        /// In the header.
        found: u64,
        /// Gas of one blob.
        blob: u64,
        /// Gas of all blobs a block may have.
        limit: u64,
    },
    /// A field that this fork has is not there.
    #[error("{field} is missing at {fork}")]
    Missing {
        /// Name of the header field.
        field: &'static str,
        /// The fork of the block.
        fork: Fork,
    },
    /// A field is there that this fork has not.
    #[error("{field} is present at {fork}")]
    Unexpected {
        /// Name of the header field.
        field: &'static str,
        /// The fork of the block.
        fork: Fork,
    },
    /// Proof-of-work fields after Paris.
    #[error("difficulty {found} after Paris, expected 0")]
    Difficulty {
        /// In the header.
        found: U256,
    },
    /// Proof-of-work fields after Paris.
    #[error("nonce {found} after Paris, expected 0")]
    Nonce {
        /// In the header.
        found: B64,
    },
    /// Ommers after Paris.
    #[error("ommers hash {found} after Paris, expected that of no ommers")]
    Ommers {
        /// In the header.
        found: B256,
    },
}

/// Checks `header` as the child of `parent`.
///
/// The operator of a dev chain may order a gas limit or base fee that breaks these rules; blocks
/// that are built to such an order are not checked here, nobody else could accept them.
///
/// # Errors
///
/// The first rule broken, see [`HeaderError`].
pub fn check_header(spec: &ChainSpec, parent: &Header, header: &Header) -> Result<(), HeaderError> {
    let expected = parent.hash_slow();
    if header.parent_hash != expected {
        return Err(HeaderError::ParentHash { found: header.parent_hash, expected });
    }
    if parent.number.checked_add(1) != Some(header.number) {
        return Err(HeaderError::Number { found: header.number, parent: parent.number });
    }
    let is_in_time = match spec.timestamps {
        Timestamps::Strict => header.timestamp > parent.timestamp,
        Timestamps::Monotone => header.timestamp >= parent.timestamp,
    };
    if !is_in_time {
        return Err(HeaderError::Timestamp { found: header.timestamp, parent: parent.timestamp });
    }
    if header.extra_data.len() > spec.extra_data_max {
        return Err(HeaderError::ExtraData {
            found: header.extra_data.len(),
            limit: spec.extra_data_max,
        });
    }
    check_dao(spec, header)?;
    let fork = spec.fork_of(header);
    // Before what tells the forks apart: where the gas limit doubles, it is what is wrong.
    check_gas_limit(parent, header, fork)?;
    check_presence(fork, header)?;
    check_base_fee(spec, parent, header)?;
    check_blobs(spec, parent, header)?;
    if fork >= Fork::Paris {
        check_proof_of_stake(header)
    } else {
        check_work(spec, parent, header)
    }
}

/// EIP-779: ten blocks say which side they are on.
fn check_dao(spec: &ChainSpec, header: &Header) -> Result<(), HeaderError> {
    let found = &header.extra_data;
    match spec.dao_extra(Height::new(header.number)) {
        DaoExtra::Must(expected) if found != expected => {
            Err(HeaderError::DaoExtraData { found: found.clone(), expected: expected.clone() })
        }
        DaoExtra::MustNot(other) if found == other => {
            Err(HeaderError::OtherDao { found: found.clone() })
        }
        _ => Ok(()),
    }
}

/// The difficulty of a mined block; the seal of it is not looked at. A chain without proof of work
/// has none, also before Paris.
fn check_work(spec: &ChainSpec, parent: &Header, header: &Header) -> Result<(), HeaderError> {
    let found = header.difficulty;
    let expected = if spec.has_proof_of_work() {
        spec.next_difficulty(parent, header.timestamp)
    } else {
        U256::ZERO
    };
    if found == expected { Ok(()) } else { Err(HeaderError::NextDifficulty { found, expected }) }
}

/// Every fork's fields are there, no later one's.
fn check_presence(fork: Fork, header: &Header) -> Result<(), HeaderError> {
    let fields = [
        ("baseFeePerGas", header.base_fee_per_gas.is_some(), Some(Fork::London)),
        ("withdrawalsRoot", header.withdrawals_root.is_some(), Some(Fork::Shanghai)),
        ("blobGasUsed", header.blob_gas_used.is_some(), Some(Fork::Cancun)),
        ("excessBlobGas", header.excess_blob_gas.is_some(), Some(Fork::Cancun)),
        ("parentBeaconBlockRoot", header.parent_beacon_block_root.is_some(), Some(Fork::Cancun)),
        ("requestsHash", header.requests_hash.is_some(), Some(Fork::Prague)),
        ("blockAccessListHash", header.block_access_list_hash.is_some(), None),
        ("slotNumber", header.slot_number.is_some(), None),
    ];
    for (field, is_there, since) in fields {
        match (is_there, since.is_some_and(|since| fork >= since)) {
            (true, false) => return Err(HeaderError::Unexpected { field, fork }),
            (false, true) => return Err(HeaderError::Missing { field, fork }),
            (true, true) | (false, false) => {}
        }
    }
    Ok(())
}

fn check_gas_limit(parent: &Header, header: &Header, fork: Fork) -> Result<(), HeaderError> {
    let found = header.gas_limit;
    if !(GAS_LIMIT_MIN..=GAS_LIMIT_MAX).contains(&found) {
        return Err(HeaderError::GasLimit { found, min: GAS_LIMIT_MIN, max: GAS_LIMIT_MAX });
    }
    if header.gas_used > found {
        return Err(HeaderError::GasUsed { found: header.gas_used, limit: found });
    }
    // EIP-1559: the first block of London may use twice the gas, half of it is the target.
    let is_london_start = fork >= Fork::London && parent.base_fee_per_gas.is_none();
    let parent_limit =
        if is_london_start { parent.gas_limit.saturating_mul(2) } else { parent.gas_limit };
    let bound = parent_limit / GAS_LIMIT_BOUND_DIVISOR;
    if found.abs_diff(parent_limit) >= bound {
        return Err(HeaderError::GasLimitStep { found, parent: parent_limit, bound });
    }
    Ok(())
}

fn check_base_fee(spec: &ChainSpec, parent: &Header, header: &Header) -> Result<(), HeaderError> {
    match (header.base_fee_per_gas, spec.next_base_fee(parent)) {
        (Some(found), Some(expected)) if found != expected => {
            Err(HeaderError::Derived { field: "baseFeePerGas", found, expected })
        }
        _ => Ok(()),
    }
}

fn check_blobs(spec: &ChainSpec, parent: &Header, header: &Header) -> Result<(), HeaderError> {
    let (Some(found), Some(used)) = (header.excess_blob_gas, header.blob_gas_used) else {
        return Ok(());
    };
    let limit = spec.blob_params(header.timestamp).max_blob_count.saturating_mul(DATA_GAS_PER_BLOB);
    if used > limit || !used.is_multiple_of(DATA_GAS_PER_BLOB) {
        return Err(HeaderError::BlobGasUsed { found: used, blob: DATA_GAS_PER_BLOB, limit });
    }
    match spec.next_excess_blob_gas(parent, header.timestamp) {
        Some(expected) if found != expected => {
            Err(HeaderError::Derived { field: "excessBlobGas", found, expected })
        }
        _ => Ok(()),
    }
}

/// EIP-3675: the proof-of-work fields are constants.
fn check_proof_of_stake(header: &Header) -> Result<(), HeaderError> {
    if header.difficulty != U256::ZERO {
        return Err(HeaderError::Difficulty { found: header.difficulty });
    }
    if header.nonce != B64::ZERO {
        return Err(HeaderError::Nonce { found: header.nonce });
    }
    if header.ommers_hash != EMPTY_OMMER_ROOT_HASH {
        return Err(HeaderError::Ommers { found: header.ommers_hash });
    }
    Ok(())
}
