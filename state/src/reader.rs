//! Blocks, receipts and transactions of the durable chain, read from one snapshot.

use std::{ops::RangeInclusive, sync::Arc};

use alloy_primitives::{Address, B256, U256};
use evenkeel_chain::{Height, Receipt, RecoveredTx, SealedBlock};

use crate::{
    base::{Base, corrupt},
    blocks::{self, BodyRest, SealedHeader},
    change::ChangeSet,
    chunks::{self, PlacedReceipt},
    error::StateError,
    log_index::{LogKey, LogSearch},
    reading::{BlockReading, NOT_RECEIPTS, NOT_TXS, ReceiptsReading, chunk},
    rewind, rows,
    store::{Family, Range, Snapshot, for_each},
    view::View,
};

/// Where a transaction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxLocation {
    /// Height of its block.
    pub height: Height,
    /// Position in the block, from 0.
    pub index: u64,
}

/// A transaction with the header of its block.
#[derive(Clone, Debug)]
pub struct MinedTx {
    /// The header, with its hash.
    pub header: Arc<SealedHeader>,
    /// The transaction.
    pub tx: Arc<RecoveredTx>,
    /// Its position in the block, from 0.
    pub index: u64,
}

/// What a block changed, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Accounts, storage aside.
    pub accounts: Vec<Address>,
    /// Slots.
    pub slots: Vec<(Address, U256)>,
}

/// The durable chain at one instant. A clone is cheap; it pins a snapshot while it lives.
#[derive(Clone)]
pub struct ChainReader {
    base: Arc<Base>,
}

impl ChainReader {
    pub(crate) fn new(base: &Arc<Base>) -> Self {
        Self { base: Arc::clone(base) }
    }

    pub(crate) fn base(&self) -> &Arc<Base> {
        &self.base
    }

    /// Height of the last block.
    #[must_use]
    pub fn head(&self) -> Height {
        self.base.head
    }

    /// Height of the first block; a chain may start above zero.
    #[must_use]
    pub fn genesis(&self) -> Height {
        self.base.genesis
    }

    /// Height of the oldest state: that of the first block, unless the chain came from a state
    /// file, which has only that of its last.
    #[must_use]
    pub fn oldest_state(&self) -> Height {
        self.base.oldest()
    }

    /// The header at a height; `None` outside the chain.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn header(&self, height: Height) -> Result<Option<Arc<SealedHeader>>, StateError> {
        Ok(read_header(&self.base, height)?.map(Arc::new))
    }

    /// The height of a block by its hash.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn height_of(&self, hash: B256) -> Result<Option<Height>, StateError> {
        let Some(row) = self.base.snapshot.get(Family::Heights, hash.as_slice())? else {
            return Ok(None);
        };
        let height = rows::decode_u64(&row);
        let height =
            height.ok_or_else(|| corrupt(Family::Heights, hash.as_slice(), "not a height"))?;
        Ok(Some(Height::new(height)))
    }

    /// The block at a height, senders included; `None` outside the chain. Recent ones are cached.
    /// O(size of the block): for callers off the workers.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn block(&self, height: Height) -> Result<Option<Arc<SealedBlock>>, StateError> {
        self.read_block(height)?.map(BlockReading::finish_now).transpose()
    }

    /// Starts to read the block at a height; `None` outside the chain. Recent ones are cached.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn read_block(&self, height: Height) -> Result<Option<BlockReading>, StateError> {
        let Some(header) = read_header(&self.base, height)? else { return Ok(None) };
        let cached = self.base.caches.block(header.hash);
        let rest = read_rest(&self.base, height)?;
        Ok(Some(BlockReading::new(&self.base, header, rest, cached)))
    }

    /// The receipts of the block at a height; `None` outside the chain. Recent ones are cached.
    /// O(size of the receipts): for callers off the workers.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn receipts(&self, height: Height) -> Result<Option<Arc<Vec<Receipt>>>, StateError> {
        self.read_receipts(height)?.map(ReceiptsReading::finish_now).transpose()
    }

    /// Starts to read the receipts of the block at a height; `None` outside the chain. Recent ones
    /// are cached.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn read_receipts(&self, height: Height) -> Result<Option<ReceiptsReading>, StateError> {
        let Some(header) = read_header(&self.base, height)? else { return Ok(None) };
        let cached = self.base.caches.receipts(header.hash);
        let count = read_rest(&self.base, height)?.count;
        Ok(Some(ReceiptsReading::new(&self.base, header, count, cached)))
    }

    /// The transaction at a place; `None` if there is none. O(its size), however large its block.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn mined(&self, at: TxLocation) -> Result<Option<MinedTx>, StateError> {
        let TxLocation { height, index } = at;
        let Some(header) = self.header(height)? else { return Ok(None) };
        let cached = self.base.caches.block(header.hash);
        let cached = cached.and_then(|block| block.txs.get(position(index)?).cloned());
        if let Some(tx) = cached {
            return Ok(Some(MinedTx { header, tx, index }));
        }
        if index >= read_rest(&self.base, height)?.count {
            return Ok(None);
        }
        let (key, row) = chunk(&self.base, Family::Bodies, height, index)?;
        let tx = chunks::decode_tx_at(&row, index);
        let tx = tx.ok_or_else(|| corrupt(Family::Bodies, &key, NOT_TXS))?;
        Ok(Some(MinedTx { header, tx, index }))
    }

    /// The receipt of the transaction at a place; `None` if there is none. O(its size), however
    /// large its block.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn receipt(&self, at: TxLocation) -> Result<Option<PlacedReceipt>, StateError> {
        let TxLocation { height, index } = at;
        let is_inside = (self.base.genesis..=self.base.head).contains(&height);
        if !is_inside || index >= read_rest(&self.base, height)?.count {
            return Ok(None);
        }
        let (key, row) = chunk(&self.base, Family::Receipts, height, index)?;
        let receipt = chunks::decode_receipt_at(&row, index);
        receipt.map(Some).ok_or_else(|| corrupt(Family::Receipts, &key, NOT_RECEIPTS))
    }

    /// Starts to look for the blocks among `heights` that hold, for each of `conditions`, a log
    /// with one of its keys; with no condition, for those that hold any log. Costs with what is
    /// found.
    #[must_use]
    pub fn find_logs(
        &self,
        conditions: Vec<Vec<LogKey>>,
        heights: RangeInclusive<Height>,
    ) -> LogSearch {
        LogSearch::new(&self.base, conditions, heights)
    }

    /// Where the transaction with this hash is.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn transaction(&self, hash: B256) -> Result<Option<TxLocation>, StateError> {
        let Some(row) = self.base.snapshot.get(Family::Transactions, hash.as_slice())? else {
            return Ok(None);
        };
        let (height, index) = rows::decode_pair(&row)
            .ok_or_else(|| corrupt(Family::Transactions, hash.as_slice(), "not a location"))?;
        Ok(Some(TxLocation { height: Height::new(height), index }))
    }

    /// The state that the block at `height` was executed on: the one after its parent with the
    /// cheats made before it. `None` outside the chain and up to the oldest state.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn view_before(&self, height: Height) -> Result<Option<View>, StateError> {
        if height <= self.base.oldest() || height > self.base.head {
            return Ok(None);
        }
        let parent = height.prev().expect("above the first block");
        let diffs = read_diffs(self.base.snapshot.as_ref(), parent)?;
        let after_parent = View::at(&self.base, parent);
        Ok(Some(diffs.into_iter().fold(after_parent, |view, changes| view.with(changes))))
    }

    /// The addresses of accounts that the block at `height` changed, and the slots, with the cheats
    /// made before it; `None` outside the chain. O(their number).
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn changed(&self, height: Height) -> Result<Option<Changed>, StateError> {
        if height <= self.base.genesis || height > self.base.head {
            return Ok(None);
        }
        let keys = rewind::changed_keys(&self.base, height)?;
        Ok(Some(Changed { accounts: keys.accounts, slots: keys.slots }))
    }

    /// Whether the operator changed the state between the block at `height` and the next one. One
    /// seek.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn has_cheats(&self, height: Height) -> Result<bool, StateError> {
        let key = rows::height_key(height);
        let range = Range { prefix: &key, from: &key, rows_max: 1 };
        Ok(!self.base.snapshot.scan(Family::Diffs, range)?.is_empty())
    }

    /// The state after the block at `height`, without cheats; `None` where there is none.
    ///
    /// # Errors
    ///
    /// None today; reserved for pruned heights.
    pub fn view_at(&self, height: Height) -> Result<Option<View>, StateError> {
        let is_inside = (self.base.oldest()..=self.base.head).contains(&height);
        Ok(is_inside.then(|| View::at(&self.base, height)))
    }
}

/// The header at a height, if there is one.
fn read_header(base: &Base, height: Height) -> Result<Option<SealedHeader>, StateError> {
    let key = rows::height_key(height);
    let Some(row) = base.snapshot.get(Family::Headers, &key)? else { return Ok(None) };
    let header = blocks::decode_header(&row);
    header.map(Some).ok_or_else(|| corrupt(Family::Headers, &key, "not a header"))
}

/// What is in the body of a block that is there, but for its transactions.
fn read_rest(base: &Base, height: Height) -> Result<BodyRest, StateError> {
    let key = rows::height_key(height);
    let row = base.snapshot.get(Family::Bodies, &key)?;
    let rest = row.and_then(|row| blocks::decode_body_rest(&row));
    rest.ok_or_else(|| corrupt(Family::Bodies, &key, "not a body"))
}

fn position(index: u64) -> Option<usize> {
    usize::try_from(index).ok()
}

/// The cheats on top of a block, in order; they stay when a block follows (D2).
pub(crate) fn read_diffs(
    snapshot: &dyn Snapshot,
    height: Height,
) -> Result<Vec<Arc<ChangeSet>>, StateError> {
    let mut diffs = Vec::new();
    for_each(snapshot, Family::Diffs, &rows::height_key(height), |key, row| {
        let changes = rows::decode_changes(row);
        let changes = changes.ok_or_else(|| corrupt(Family::Diffs, key, "not a change set"))?;
        diffs.push(Arc::new(changes));
        Ok::<(), StateError>(())
    })?;
    Ok(diffs)
}
