//! Chain types as JSON-RPC shows them, with geth's field sets.
//!
//! Pure. Everything is serialized once, straight to text.

use std::fmt;

use alloy_consensus::{
    ReceiptEnvelope, ReceiptWithBloom, Transaction as _, TxReceipt as _, transaction::Recovered,
};
use alloy_eips::{eip4895::Withdrawals, eip7840::BlobParams};
use alloy_primitives::{B256, Sealed, U256};
use alloy_rpc_types_eth::{Block, Header as RpcHeader, Log, Transaction, TransactionReceipt};
use evenkeel_chain::{ChainSpec, Header, Receipt, RecoveredTx, SealedBlock, TxEnvelope};
use evenkeel_runtime::{System, checkpoint, consume};
use evenkeel_state::{DroppedBlock, DroppedLog, MinedTx, PlacedReceipt};
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::{RawValue, to_raw_value};

use crate::{error::RpcError, limits::JOIN_INLINE_BYTES_MAX, methods::limits::ITEM_REDUCTIONS};

/// What every method returns.
pub(crate) type Answered = Result<Box<RawValue>, RpcError>;

/// A transaction as shown.
pub(crate) type RpcTx = Transaction<TxEnvelope>;

/// An uncle as shown: a block without transactions.
pub(crate) type RpcUncle = Block<RpcTx>;

/// Serializes an answer.
pub(crate) fn answer<T: Serialize + ?Sized>(value: &T) -> Answered {
    to_raw_value(value).map_err(|error| RpcError::internal(error.to_string()))
}

/// Serializes each item, giving way to others between two of them: a whole block's transactions
/// are milliseconds of work. Joining the pieces is then only copying.
pub(crate) async fn pieces<T: Serialize>(
    items: impl Iterator<Item = T> + Send,
) -> Result<Vec<Box<RawValue>>, RpcError> {
    let mut pieces = Vec::with_capacity(items.size_hint().0);
    for item in items {
        consume(ITEM_REDUCTIONS);
        checkpoint().await;
        pieces.push(answer(&item)?);
    }
    Ok(pieces)
}

/// Serializes what holds about `bytes` of text that is there already: on the compute pool if
/// copying it takes longer than a turn.
pub(crate) async fn joined<T>(system: &System, value: T, bytes: usize) -> Answered
where
    T: Serialize + Send + 'static,
{
    if bytes <= JOIN_INLINE_BYTES_MAX {
        return answer(&value);
    }
    let job = system.compute_async(move |_| answer(&value)).await;
    job.unwrap_or_else(|lost| Err(RpcError::internal(format!("joining an answer: {lost}"))))
}

/// The answer `null`.
#[expect(clippy::unnecessary_wraps, reason = "it ends methods, which may fail before")]
pub(crate) fn null() -> Answered {
    Ok(RawValue::NULL.to_owned())
}

/// A hex quantity: shortest digits, `0x0` for zero. O(1), one allocation.
pub(crate) fn quantity(value: impl fmt::LowerHex) -> Answered {
    answer(&format_args!("{value:#x}"))
}

/// Where a transaction was mined.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) header: &'a Header,
    /// Hash of the block.
    pub(crate) hash: B256,
    pub(crate) tx: &'a RecoveredTx,
    pub(crate) index: u64,
}

impl<'a> Place<'a> {
    /// Places in a block in memory, which has more transactions than `index`.
    pub(crate) fn of(block: &'a SealedBlock, index: usize) -> Self {
        let tx = &block.txs[index];
        Self { header: &block.header, hash: block.hash, tx, index: index as u64 }
    }
}

impl<'a> From<&'a MinedTx> for Place<'a> {
    fn from(mined: &'a MinedTx) -> Self {
        let MinedTx { header, tx, index } = mined;
        Self { header: &header.header, hash: header.hash, tx, index: *index }
    }
}

/// A transaction, mined or (without a place) pending.
pub(crate) fn transaction(tx: &RecoveredTx, place: Option<Place<'_>>) -> RpcTx {
    let header = place.map(|place| place.header);
    let base_fee = header.and_then(|header| header.base_fee_per_gas);
    Transaction {
        inner: Recovered::new_unchecked(tx.tx().clone(), tx.sender()),
        block_hash: place.map(|place| place.hash),
        block_number: header.map(|header| header.number),
        transaction_index: place.map(|place| place.index),
        effective_gas_price: Some(match header {
            Some(_) => tx.effective_gas_price(base_fee),
            None => tx.max_fee_per_gas(),
        }),
        block_timestamp: header.map(|header| header.timestamp),
    }
}

/// A header by itself, as `newHeads` and `eth_getHeaderBy..` show it: no size.
pub(crate) fn header(header: &Header, hash: B256) -> RpcHeader {
    RpcHeader::from_sealed(Sealed::new_unchecked(header.clone(), hash))
}

/// A transaction as shown in its block, which may be a simulated one.
struct ShownTx<'a>(Place<'a>);

impl Serialize for ShownTx<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Place { tx, .. } = self.0;
        let shown = transaction(tx, Some(self.0));
        if !tx.is_unsigned() || !tx.tx().is_legacy() {
            return shown.serialize(serializer);
        }
        // The type knows no v below 27; nobody signed this one, so v is 0.
        let mut shown = serde_json::to_value(shown).map_err(S::Error::custom)?;
        shown["v"] = "0x0".into();
        shown["hash"] = tx.hash().to_string().into();
        shown.serialize(serializer)
    }
}

/// A block around its already shown transactions.
#[derive(Serialize)]
struct ShownBlock<T> {
    #[serde(flatten)]
    header: RpcHeader,
    uncles: Vec<B256>,
    transactions: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawals: Option<Withdrawals>,
    /// Of a simulated block only.
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<Vec<Box<RawValue>>>,
}

/// A block with its transactions' hashes, or with the whole transactions.
pub(crate) async fn block(block: &SealedBlock, is_full: bool) -> Answered {
    block_with(block, is_full, None).await
}

/// The same of a simulated block, with what came of its calls.
pub(crate) async fn simulated_block(
    block: &SealedBlock,
    is_full: bool,
    calls: Vec<Box<RawValue>>,
) -> Answered {
    block_with(block, is_full, Some(calls)).await
}

async fn block_with(
    block: &SealedBlock,
    is_full: bool,
    calls: Option<Vec<Box<RawValue>>>,
) -> Answered {
    if is_full {
        let places = (0..block.txs.len()).map(|index| Place::of(block, index));
        answer(&shown_block(block, pieces(places.map(ShownTx)).await?, calls))
    } else {
        let hashes: Vec<&B256> = block.txs.iter().map(|tx| tx.hash()).collect();
        answer(&shown_block(block, hashes, calls))
    }
}

fn shown_block<T>(
    block: &SealedBlock,
    transactions: T,
    calls: Option<Vec<Box<RawValue>>>,
) -> ShownBlock<T> {
    let mut header = header(&block.header, block.hash);
    header.size = Some(U256::from(block.size_bytes()));
    ShownBlock {
        header,
        uncles: block.ommers.iter().map(Header::hash_slow).collect(),
        transactions,
        withdrawals: block.withdrawals.clone().map(Withdrawals::new),
        calls,
    }
}

/// Price of a blob's gas in the block of `header`; none before Cancun.
pub(crate) fn blob_price(spec: &ChainSpec, header: &Header) -> Option<u128> {
    let params: BlobParams = spec.blob_params(header.timestamp);
    header.blob_fee(params)
}

/// The receipts of a block, in order.
pub(crate) async fn receipts(
    spec: &ChainSpec,
    block: &SealedBlock,
    receipts: &[Receipt],
) -> Answered {
    let (mut gas_before, mut logs_before) = (0, 0);
    let shown = receipts.iter().enumerate().map(|(index, receipt)| {
        let placed = PlacedReceipt { receipt: receipt.clone(), gas_before, logs_before };
        gas_before = receipt.cumulative_gas_used;
        logs_before += receipt.logs.len() as u64;
        self::receipt(spec, Place::of(block, index), placed)
    });
    answer(&pieces(shown).await?)
}

/// The receipt of the transaction at `place`.
pub(crate) fn receipt(
    spec: &ChainSpec,
    place: Place<'_>,
    placed: PlacedReceipt,
) -> TransactionReceipt {
    let Place { header, hash, tx, index } = place;
    let PlacedReceipt { receipt, gas_before, logs_before } = placed;
    let (logs_bloom, status) = (receipt.bloom(), receipt.status_or_post_state());
    let logs = (logs_before..).zip(receipt.logs).map(|(nth, inner)| log(place, inner, nth));
    let inner = ReceiptWithBloom {
        receipt: alloy_consensus::Receipt {
            status,
            cumulative_gas_used: receipt.cumulative_gas_used,
            logs: logs.collect(),
        },
        logs_bloom,
    };
    let blob_gas_used = tx.tx().blob_gas_used();
    TransactionReceipt {
        inner: ReceiptEnvelope::from_typed(receipt.tx_type, inner),
        transaction_hash: *tx.hash(),
        transaction_index: Some(index),
        block_hash: Some(hash),
        block_number: Some(header.number),
        gas_used: receipt.cumulative_gas_used - gas_before,
        effective_gas_price: tx.effective_gas_price(header.base_fee_per_gas),
        blob_gas_used,
        blob_gas_price: blob_gas_used.and_then(|_| blob_price(spec, header)),
        from: tx.sender(),
        to: tx.tx().to(),
        contract_address: tx.is_create().then(|| tx.sender().create(tx.nonce())),
    }
}

/// A log of the transaction at `place`, the `nth` of its block.
pub(crate) fn log(place: Place<'_>, inner: alloy_primitives::Log, nth: u64) -> Log {
    let Place { header, hash, tx, index } = place;
    Log {
        inner,
        block_hash: Some(hash),
        block_number: Some(header.number),
        block_timestamp: Some(header.timestamp),
        transaction_hash: Some(*tx.hash()),
        transaction_index: Some(index),
        log_index: Some(nth),
        removed: false,
    }
}

/// A log of a block that is no longer in the chain, the `nth` of its block.
pub(crate) fn removed_log(block: &DroppedBlock, dropped: &DroppedLog, nth: u64) -> Log {
    Log {
        inner: dropped.log.clone(),
        block_hash: Some(block.hash),
        block_number: Some(block.height.get()),
        block_timestamp: Some(block.timestamp),
        transaction_hash: Some(dropped.tx_hash),
        transaction_index: Some(dropped.tx_index),
        log_index: Some(nth),
        removed: true,
    }
}
