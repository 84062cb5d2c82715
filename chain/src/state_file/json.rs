//! The parts of the file that are small enough to be read whole: as serde sees them.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes, Log, U256};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};
use serde_json::Value;

use crate::{Header, Receipt, RecoveredTx, TxEnvelope};

/// A number that fits 64 bits: bare, or text in hex or decimal.
#[derive(Clone, Copy, Default)]
pub(super) struct Number(pub(super) u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of 64 bits, or its hex digits after 0x")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                let number = match text.strip_prefix("0x") {
                    Some(digits) => U256::from_str_radix(digits, 16).ok(),
                    None => U256::from_str_radix(text, 10).ok().filter(|_| !text.is_empty()),
                };
                let number = number.and_then(|number| u64::try_from(number).ok());
                number
                    .map(Number)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_any(Any)
    }
}

/// `block`: the environment of the last block, as revm has it. Older files lack some of it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct EnvJson {
    pub(super) number: Number,
    #[serde(alias = "coinbase")]
    pub(super) beneficiary: Address,
    pub(super) timestamp: Number,
    pub(super) gas_limit: Number,
    pub(super) basefee: Number,
    pub(super) difficulty: U256,
    pub(super) prevrandao: Option<B256>,
    pub(super) blob_excess_gas_and_price: Option<BlobGasJson>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct BlobGasJson {
    pub(super) excess_blob_gas: Number,
}

/// One of `blocks`. Its transactions are taken apart one by one, so that an error can name them.
#[derive(Deserialize)]
pub(super) struct BlockJson {
    pub(super) header: Header,
    pub(super) transactions: Vec<Value>,
    #[serde(default)]
    pub(super) ommers: Vec<Header>,
}

/// A transaction of a block: as it was signed, or of whom it is said to be.
pub(super) fn transaction(mut value: Value) -> Result<(TxEnvelope, Option<Address>), String> {
    let sender = match value.get_mut("impersonated_sender").map(Value::take) {
        Some(sender) => {
            Option::<Address>::deserialize(sender).map_err(|error| error.to_string())?
        }
        None => None,
    };
    // Files from before the wrapper hold the transaction itself.
    let inner = value.get_mut("transaction").map(Value::take).unwrap_or(value);
    let tx = TxEnvelope::deserialize(inner).map_err(|error| error.to_string())?;
    Ok((tx, sender))
}

/// One of `transactions`: what came of it. What it called, which may be long, is skipped unread.
#[derive(Deserialize)]
pub(super) struct RecordJson {
    pub(super) info: InfoJson,
    pub(super) receipt: ReceiptJson,
    pub(super) block_number: Number,
}

#[derive(Deserialize)]
pub(super) struct InfoJson {
    pub(super) transaction_hash: B256,
    pub(super) transaction_index: Number,
}

#[derive(Deserialize)]
pub(super) struct ReceiptJson {
    #[serde(rename = "type")]
    pub(super) tx_type: Number,
    pub(super) status: Option<Number>,
    pub(super) root: Option<B256>,
    #[serde(rename = "cumulativeGasUsed")]
    pub(super) cumulative_gas_used: Number,
    pub(super) logs: Vec<LogJson>,
}

#[derive(Deserialize)]
pub(super) struct LogJson {
    pub(super) address: Address,
    pub(super) topics: Vec<B256>,
    pub(super) data: Bytes,
}

impl ReceiptJson {
    pub(super) fn receipt(self) -> Result<Receipt, String> {
        let Number(byte) = self.tx_type;
        let tx_type = u8::try_from(byte).ok().and_then(|byte| byte.try_into().ok());
        let log = |log: LogJson| Log::new(log.address, log.topics, log.data);
        let logs: Option<Vec<Log>> = self.logs.into_iter().map(log).collect();
        Ok(Receipt {
            tx_type: tx_type.ok_or_else(|| format!("no transaction has the type {byte:#x}"))?,
            success: self.status.is_none_or(|Number(status)| status != 0),
            post_state: self.root,
            cumulative_gas_used: self.cumulative_gas_used.0,
            logs: logs.ok_or("a log has more than four topics")?,
        })
    }
}

/// Where a transaction was mined, and the gas it used by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxPlace {
    /// Hash of the block.
    pub block_hash: B256,
    /// Its number.
    pub block_number: u64,
    /// Position in the block, from 0.
    pub index: u64,
    /// Gas used.
    pub gas_used: u64,
}

/// A transaction of a block as it is written.
#[derive(Serialize)]
pub(super) struct TxOut<'a> {
    transaction: &'a TxEnvelope,
    impersonated_sender: Option<Address>,
}

impl<'a> TxOut<'a> {
    pub(super) fn new(tx: &'a RecoveredTx) -> Self {
        let impersonated_sender = tx.is_impersonated().then(|| tx.sender());
        Self { transaction: tx.tx(), impersonated_sender }
    }
}

/// One of `transactions` as it is written. Nobody kept what it called.
#[derive(Serialize)]
pub(super) struct RecordOut<'a> {
    info: InfoOut,
    receipt: ReceiptOut<'a>,
    block_hash: B256,
    block_number: u64,
}

#[derive(Serialize)]
struct InfoOut {
    transaction_hash: B256,
    transaction_index: u64,
    from: Address,
    to: Option<Address>,
    contract_address: Option<Address>,
    traces: [(); 0],
    /// As revm names how an execution ended.
    exit: &'static str,
    out: Option<Bytes>,
    nonce: u64,
    gas_used: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptOut<'a> {
    #[serde(rename = "type")]
    tx_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<B256>,
    cumulative_gas_used: String,
    logs: &'a [Log],
    logs_bloom: alloy_primitives::Bloom,
}

impl<'a> RecordOut<'a> {
    pub(super) fn new(tx: &RecoveredTx, place: TxPlace, receipt: &'a Receipt) -> Self {
        use alloy_consensus::TxReceipt as _;
        let created = (tx.is_create() && receipt.success).then(|| tx.sender().create(tx.nonce()));
        let info = InfoOut {
            transaction_hash: *tx.hash(),
            transaction_index: place.index,
            from: tx.sender(),
            to: tx.kind().to().copied(),
            contract_address: created,
            traces: [],
            exit: if receipt.success { "Stop" } else { "Revert" },
            out: None,
            nonce: tx.nonce(),
            gas_used: place.gas_used,
        };
        let status = if receipt.success { "0x1" } else { "0x0" };
        let receipt = ReceiptOut {
            tx_type: format!("{:#x}", u8::from(receipt.tx_type)),
            status: receipt.post_state.is_none().then_some(status),
            root: receipt.post_state,
            cumulative_gas_used: format!("{:#x}", receipt.cumulative_gas_used),
            logs: &receipt.logs,
            logs_bloom: receipt.bloom(),
        };
        Self { info, receipt, block_hash: place.block_hash, block_number: place.block_number }
    }
}
