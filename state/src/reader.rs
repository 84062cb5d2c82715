//! Blocks, receipts and transactions of the durable chain, read from one snapshot.

use std::sync::Arc;

use alloy_primitives::B256;
use evenkeel_chain::{Height, Receipt, SealedBlock};

use crate::{
    base::{Base, corrupt},
    blocks::{self, SealedHeader},
    change::ChangeSet,
    error::StateError,
    rows,
    store::{Family, Snapshot, for_each},
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
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn block(&self, height: Height) -> Result<Option<Arc<SealedBlock>>, StateError> {
        let Some(hash) = self.base.block_hash(height)? else { return Ok(None) };
        if let Some(block) = self.base.caches.block(hash) {
            return Ok(Some(block));
        }
        let Some(block) = read_block(&self.base, height)? else { return Ok(None) };
        let block = Arc::new(block);
        self.base.caches.keep_block(&block);
        Ok(Some(block))
    }

    /// The receipts of the block at a height; `None` outside the chain. Recent ones are cached.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn receipts(&self, height: Height) -> Result<Option<Arc<Vec<Receipt>>>, StateError> {
        let Some(hash) = self.base.block_hash(height)? else { return Ok(None) };
        if let Some(receipts) = self.base.caches.receipts(hash) {
            return Ok(Some(receipts));
        }
        let receipts = Arc::new(read_receipts(&self.base, height)?);
        self.base.caches.keep_receipts(hash, &receipts);
        Ok(Some(receipts))
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
    /// cheats made before it. `None` outside the chain and for its first block.
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn view_before(&self, height: Height) -> Result<Option<View>, StateError> {
        if height <= self.base.genesis || height > self.base.head {
            return Ok(None);
        }
        let parent = height.prev().expect("above the first block");
        let diffs = read_diffs(self.base.snapshot.as_ref(), parent)?;
        let after_parent = View::at(&self.base, parent);
        Ok(Some(diffs.into_iter().fold(after_parent, |view, changes| view.with(changes))))
    }

    /// The state after the block at `height`, without cheats; `None` outside the chain.
    ///
    /// # Errors
    ///
    /// None today; reserved for pruned heights.
    pub fn view_at(&self, height: Height) -> Result<Option<View>, StateError> {
        let is_inside = (self.base.genesis..=self.base.head).contains(&height);
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

/// The block at a height, if there is one, past the cache.
pub(crate) fn read_block(base: &Base, height: Height) -> Result<Option<SealedBlock>, StateError> {
    let Some(header) = read_header(base, height)? else { return Ok(None) };
    let key = rows::height_key(height);
    let row = base.snapshot.get(Family::Bodies, &key)?;
    let block = row.and_then(|row| blocks::decode_body(header, &row));
    block.map(Some).ok_or_else(|| corrupt(Family::Bodies, &key, "not a body"))
}

/// The receipts of a block that is there, past the cache.
pub(crate) fn read_receipts(base: &Base, height: Height) -> Result<Vec<Receipt>, StateError> {
    let key = rows::height_key(height);
    let row = base.snapshot.get(Family::Receipts, &key)?;
    let receipts = row.and_then(|row| blocks::decode_receipts(&row));
    receipts.ok_or_else(|| corrupt(Family::Receipts, &key, "not receipts"))
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
