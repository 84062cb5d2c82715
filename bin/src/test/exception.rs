//! What tests call the reasons for which a block or a transaction is refused.
//!
//! Names are those of execution-spec-tests; several may be joined by `|`. A refusal counts only if
//! its reason is one of them.

use evenkeel_chain::{
    BlockDecodeError, BodyError, HeaderError, OmmerError, SignatureError, TxDecodeError,
};
use evenkeel_consensus::TreeError;
use evenkeel_node::ImportError;
use evenkeel_vm::ExecError;

use super::payload::PayloadError;

/// Why something was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Tx(#[from] TxDecodeError),
    #[error("the transaction is for another chain")]
    ChainId,
    #[error("the gas of the transaction costs 2^256 wei or more")]
    Cost,
    #[error(transparent)]
    Block(#[from] ImportError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl Fault {
    /// That of an answer which is an error. It has no name besides.
    pub(super) const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Payload(error) => error.code(),
            Self::Tx(_) | Self::ChainId | Self::Cost | Self::Block(_) => None,
        }
    }
}

impl From<ExecError> for Fault {
    fn from(error: ExecError) -> Self {
        Self::Block(error.into())
    }
}

impl From<SignatureError> for Fault {
    fn from(error: SignatureError) -> Self {
        Self::Block(error.into())
    }
}

/// Compares what happened with what was expected, and for which reason.
pub(super) fn check(found: Option<&Fault>, expected: Option<&str>) -> Result<(), String> {
    match (found, expected) {
        (None, None) => Ok(()),
        (Some(fault), Some(names)) if names.split('|').any(|name| is_named(fault, name)) => Ok(()),
        (Some(fault), Some(names)) => Err(format!("refused: {fault}; expected {names}")),
        (Some(fault), None) => Err(format!("refused: {fault}; expected it to be valid")),
        (None, Some(names)) => Err(format!("valid, expected {names}")),
    }
}

/// Whether tests call the fault so.
fn is_named(fault: &Fault, name: &str) -> bool {
    let (kind, name) = name.trim().split_once('.').unwrap_or(("", name));
    match fault {
        Fault::Tx(error) => is_tx_encoding(error, name),
        Fault::ChainId => name == "INVALID_CHAINID",
        Fault::Cost => name == "GASLIMIT_PRICE_PRODUCT_OVERFLOW",
        Fault::Payload(error) => match error {
            PayloadError::Params(_) | PayloadError::Fork { .. } => false,
            PayloadError::BaseFee(_) => name == "INVALID_BASEFEE_PER_GAS",
            PayloadError::BlockHash { .. } => name == "INVALID_BLOCK_HASH",
            PayloadError::VersionedHashes { .. } => name == "INVALID_VERSIONED_HASHES",
        },
        Fault::Block(ImportError::Decode(error)) => is_block_encoding(error, name),
        Fault::Block(ImportError::Tree(error)) => is_tree(error, name),
        Fault::Block(ImportError::Signature(error)) => is_signature(*error, name),
        // Nothing is made durable.
        Fault::Block(ImportError::Settled { .. }) => false,
        Fault::Block(ImportError::Execution(error)) if kind == "TransactionException" => {
            match error {
                ExecError::Transaction { refusal, .. } => refusal.is_named(name),
                // The header counts the blobs of all transactions.
                ExecError::Header(HeaderError::BlobGasUsed { .. }) => {
                    name == "TYPE_3_TX_MAX_BLOB_GAS_ALLOWANCE_EXCEEDED"
                }
                // Or their gas.
                ExecError::Header(HeaderError::GasUsed { .. }) => name == "GAS_ALLOWANCE_EXCEEDED",
                _ => false,
            }
        }
        Fault::Block(ImportError::Execution(error)) => is_execution(error, name),
    }
}

/// Authorizations whose fields are out of their range.
const AUTHORIZATIONS: &str = "TYPE_4_INVALID_AUTHORI";

fn is_signature(error: SignatureError, name: &str) -> bool {
    use SignatureError as E;
    match name {
        "INVALID_SIGNATURE_VRS" => matches!(error, E::HighS | E::OutOfRange | E::ChainId),
        "EC_RECOVERY_FAIL" => matches!(error, E::Unrecoverable | E::OutOfRange),
        _ => false,
    }
}

/// Encodings: a test names what is wrong with which field, a decoder stops at the first byte that
/// makes no sense. Alike are numbers that are too big, leading zeros, and all that is malformed.
fn is_tx_encoding(error: &TxDecodeError, name: &str) -> bool {
    use alloy_rlp::Error as Rlp;
    match error {
        TxDecodeError::Empty | TxDecodeError::UnknownType { .. } | TxDecodeError::Blobs(_) => {
            matches!(name, "TYPE_NOT_SUPPORTED" | "RLP_INVALID_HEADER")
        }
        // A number that is too long: too big, behind zeros, or in the place of another.
        TxDecodeError::Rlp(Rlp::Overflow) => {
            name.ends_with("_OVERFLOW")
                || name.starts_with("RLP_LEADING_ZEROS_")
                || name.starts_with(AUTHORIZATIONS)
                || matches!(name, "INVALID_SIGNATURE_VRS" | "RLP_TOO_FEW_ELEMENTS")
                // Nobody has what a price of more than 128 bits comes to.
                || name == "INSUFFICIENT_ACCOUNT_FUNDS"
        }
        TxDecodeError::Rlp(Rlp::LeadingZero) => name.contains("LEADING_ZEROS"),
        // The only thing that alloy checks itself is `v`.
        TxDecodeError::Rlp(Rlp::Custom(_)) => {
            matches!(name, "INVALID_SIGNATURE_VRS" | "INVALID_CHAINID")
        }
        TxDecodeError::Rlp(_)
        | TxDecodeError::TooLarge { .. }
        | TxDecodeError::TrailingBytes { .. }
        | TxDecodeError::NotCanonical => {
            name.starts_with("RLP_")
                || name.starts_with(AUTHORIZATIONS)
                || matches!(name, "ADDRESS_TOO_SHORT" | "ADDRESS_TOO_LONG" | "TYPE_NOT_SUPPORTED")
                // These types have a recipient by their encoding.
                || matches!(name, "TYPE_3_TX_CONTRACT_CREATION" | "TYPE_4_TX_CONTRACT_CREATION")
        }
    }
}

fn is_block_encoding(error: &BlockDecodeError, name: &str) -> bool {
    match error {
        BlockDecodeError::TooLarge { .. } => name == "RLP_BLOCK_LIMIT_EXCEEDED",
        BlockDecodeError::Transaction { error, .. } => {
            is_tx_encoding(error, name)
                || matches!(name, "RLP_STRUCTURES_ENCODING" | "TYPE_3_TX_WITH_FULL_BLOBS")
        }
        BlockDecodeError::Rlp { error: alloy_rlp::Error::Overflow, .. } => matches!(
            name,
            "RLP_INVALID_FIELD_OVERFLOW_64" | "RLP_STRUCTURES_ENCODING" | "GASLIMIT_TOO_BIG"
        ),
        BlockDecodeError::Rlp { .. }
        | BlockDecodeError::TrailingBytes { .. }
        | BlockDecodeError::NotCanonical => {
            name.starts_with("RLP_") || name == "INCORRECT_BLOCK_FORMAT"
        }
    }
}

fn is_tree(error: &TreeError, name: &str) -> bool {
    match error {
        TreeError::UnknownParent { .. } => {
            matches!(name, "UNKNOWN_PARENT" | "UNKNOWN_PARENT_ZERO")
        }
        // Its difficulty should have been none.
        TreeError::MinedAfterTerminal { .. } => {
            matches!(name, "IMPORT_IMPOSSIBLE_PARIS_WRONG_POW" | "INVALID_DIFFICULTY")
        }
        TreeError::StakedBeforeTerminal { .. } => name == "IMPORT_IMPOSSIBLE_PARIS_WRONG_POS",
        TreeError::Ommers(error) => is_ommers(error, name),
        TreeError::Full(_) => false,
    }
}

fn is_ommers(error: &OmmerError, name: &str) -> bool {
    match error {
        OmmerError::TooMany { .. } => name == "TOO_MANY_UNCLES",
        OmmerError::Named(_) => matches!(name, "UNCLE_IN_CHAIN" | "UNCLE_IS_DUPLICATE"),
        OmmerError::IsAncestor(_) => name == "UNCLE_IS_ANCESTOR",
        OmmerError::IsBrother(_) => name == "UNCLE_IS_BROTHER",
        OmmerError::Parent { .. } => {
            matches!(name, "UNCLE_PARENT_INCORRECT" | "UNCLE_UNKNOWN_PARENT")
        }
        OmmerError::Header { error, .. } => {
            name == "UNCLE_PARENT_INCORRECT" || is_header(error, name)
        }
    }
}

fn is_header(error: &HeaderError, name: &str) -> bool {
    use HeaderError as E;
    match error {
        E::ParentHash { .. } => name == "UNKNOWN_PARENT",
        E::Number { .. } => name == "INVALID_BLOCK_NUMBER",
        E::Timestamp { .. } => name == "INVALID_BLOCK_TIMESTAMP_OLDER_THAN_PARENT",
        E::ExtraData { .. } => name == "EXTRA_DATA_TOO_BIG",
        E::DaoExtraData { .. } | E::OtherDao { .. } => name == "EXTRA_DATA_INVALID_DAO",
        E::GasLimit { .. } => matches!(name, "INVALID_GASLIMIT" | "GASLIMIT_TOO_BIG"),
        E::GasLimitStep { .. } => name == "INVALID_GASLIMIT",
        E::GasUsed { .. } => {
            matches!(
                name,
                "INVALID_GAS_USED_ABOVE_LIMIT" | "INVALID_GAS_USED" | "GAS_USED_OVERFLOW"
            )
        }
        E::Derived { field: "baseFeePerGas", .. } => name == "INVALID_BASEFEE_PER_GAS",
        E::Derived { .. } => name == "INCORRECT_EXCESS_BLOB_GAS",
        E::BlobGasUsed { .. } => {
            matches!(name, "INCORRECT_BLOB_GAS_USED" | "BLOB_GAS_USED_ABOVE_LIMIT")
        }
        E::NextDifficulty { .. } => name == "INVALID_DIFFICULTY",
        E::Difficulty { .. } => {
            matches!(name, "IMPORT_IMPOSSIBLE_DIFFICULTY_OVER_PARIS" | "INVALID_DIFFICULTY")
        }
        E::Nonce { .. } => name == "INVALID_NONCE_OVER_PARIS",
        E::Ommers { .. } => {
            matches!(name, "IMPORT_IMPOSSIBLE_UNCLES_OVER_PARIS" | "INVALID_UNCLES_HASH")
        }
        // By the fields that are there a header is one of another fork.
        E::Missing { .. } | E::Unexpected { .. } => {
            name == "INCORRECT_BLOCK_FORMAT" || name.starts_with("IMPORT_IMPOSSIBLE_")
        }
    }
}

fn is_execution(error: &ExecError, name: &str) -> bool {
    match error {
        ExecError::Header(error) => is_header(error, name),
        ExecError::Body(BodyError::Transactions { .. }) => name == "INVALID_TRANSACTIONS_ROOT",
        ExecError::Body(BodyError::Ommers { .. }) => name == "INVALID_UNCLES_HASH",
        ExecError::Body(BodyError::Withdrawals { found, .. }) => {
            let is_there = found.is_some();
            name == "INVALID_WITHDRAWALS_ROOT"
                || !is_there
                    && matches!(name, "RLP_WITHDRAWALS_NOT_READ" | "INCORRECT_BLOCK_FORMAT")
        }
        ExecError::Body(BodyError::Size { .. }) => name == "RLP_BLOCK_LIMIT_EXCEEDED",
        ExecError::Field { field, .. } => match *field {
            "gasUsed" => name == "INVALID_GAS_USED",
            "transactionsRoot" => name == "INVALID_TRANSACTIONS_ROOT",
            "receiptsRoot" => name == "INVALID_RECEIPTS_ROOT",
            "logsBloom" => name == "INVALID_LOG_BLOOM",
            "blobGasUsed" => name == "INCORRECT_BLOB_GAS_USED",
            "requestsHash" => name == "INVALID_REQUESTS",
            "stateRoot" => name == "INVALID_STATE_ROOT",
            _ => false,
        },
        ExecError::SystemContract { .. } => name == "SYSTEM_CONTRACT_EMPTY",
        ExecError::SystemCall { .. } => name == "SYSTEM_CONTRACT_CALL_FAILED",
        ExecError::DepositLog { .. } => name == "INVALID_DEPOSIT_EVENT_LAYOUT",
        ExecError::Transaction { .. }
        | ExecError::UnknownParent { .. }
        | ExecError::UnknownBlock(_)
        | ExecError::Call(_)
        | ExecError::ExtraData { .. }
        | ExecError::State(_)
        | ExecError::Internal(_)
        | ExecError::ReorgBytes { .. }
        | ExecError::WriterGone
        | ExecError::Busy => false,
    }
}
