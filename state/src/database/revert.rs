//! The way back to a mark: undoes blocks from the history, in one batch. O(changes since).

use std::sync::Arc;

use evenkeel_chain::{Height, limits::GENESIS_MARK};

use super::{
    Database,
    stage::{History, Stage},
};
use crate::{
    base::{Base, NOT_ACCOUNT, NOT_WORD, corrupt},
    change::ChangeSet,
    error::StateError,
    reader::{ChainReader, read_diffs},
    rows::{self, ChangedKeys},
    store::{Batch, Family, for_each},
    tip::{Durable, Tip},
};

impl Database {
    /// Goes back to a mark (`evm_revert`): drops the blocks and cheats after it, the mark itself
    /// and all marks made later. [`GENESIS_MARK`] is always there. Views that are pinned stay as
    /// they are.
    ///
    /// # Errors
    ///
    /// `Ok(None)` if there is no such mark. [`StateError`] is fatal, above all
    /// [`StateError::RootMismatch`]: the history does not lead back to the header.
    pub fn revert(&mut self, mark: u64) -> Result<Option<(Durable, Tip)>, StateError> {
        let Some((height, diffs)) = self.place_of(mark)? else { return Ok(None) };
        let target = ChainReader::new(&self.base).header(height)?.ok_or_else(|| {
            corrupt(Family::Headers, &rows::height_key(height), "missing below the head")
        })?;

        let base = Arc::clone(&self.base);
        let mut stage = Stage::new(&base);
        let former = Arc::new(self.undo(height, stage.batch())?);
        stage.changes(&former, History::Skip)?;
        let (root, trie, nodes) = self.trie.update(&former).finish_now()?;
        let expected = base.state_root(&target.header);
        if root != expected {
            return Err(StateError::RootMismatch { height, found: root, expected });
        }
        stage.nodes(&nodes)?;
        self.drop_marks_and_diffs(mark, (height, diffs), stage.batch())?;
        let generation = self.generation + 1;
        let batch = stage.batch();
        batch.put(Family::Meta, rows::META_GENERATION, generation.to_be_bytes());
        batch.put(Family::Meta, rows::META_HEAD, rows::encode_head(height, target.hash));
        let (batch, recent) = stage.finish();
        self.write(&batch)?;

        self.generation = generation;
        self.header = Arc::new(target.header.clone());
        self.hash = target.hash;
        self.trie = trie;
        self.move_to(height, recent);
        self.diffs = read_diffs(self.base.snapshot.as_ref(), height)?;
        Ok(Some((self.durable(), self.tip())))
    }

    /// Where a mark was set: the height and the number of cheats on it.
    fn place_of(&self, mark: u64) -> Result<Option<(Height, u64)>, StateError> {
        if mark == GENESIS_MARK {
            return Ok(Some((self.base.oldest(), 0)));
        }
        let key = rows::mark_key(mark);
        let Some(row) = self.base.snapshot.get(Family::Meta, &key)? else { return Ok(None) };
        let place = rows::decode_pair(&row).filter(|place| place.0 <= self.base.head.get());
        let (height, diffs) =
            place.ok_or_else(|| corrupt(Family::Meta, &key, "not the place of a mark"))?;
        Ok(Some((Height::new(height), diffs)))
    }

    /// Deletes the rows of all blocks above `target`; returns the values to restore.
    fn undo(&self, target: Height, batch: &mut Batch) -> Result<ChangeSet, StateError> {
        let base: &Base = &self.base;
        let reader = ChainReader::new(&self.base);
        let mut former = ChangeSet::default();
        let mut height = base.head;
        while height > target {
            let key = rows::height_key(height);
            // Downwards, so that the oldest value is set last and stays.
            let keys = former_values(base, height, &mut former)?;
            for address in keys.accounts {
                let key = rows::history_key(address.as_slice(), height);
                batch.delete(Family::AccountHistory, key);
            }
            for (address, slot) in keys.slots {
                let key = rows::history_key(&rows::storage_key(address, slot), height);
                batch.delete(Family::StorageHistory, key);
            }
            let block = reader.block(height)?;
            let block = block.ok_or_else(|| corrupt(Family::Headers, &key, "missing"))?;
            for tx in &block.txs {
                batch.delete(Family::Transactions, tx.hash().as_slice());
            }
            batch.delete(Family::Heights, block.hash.as_slice());
            batch.delete(Family::Headers, key);
            batch.delete(Family::Changes, key);
            for family in [Family::Bodies, Family::Receipts] {
                for_each(base.snapshot.as_ref(), family, &key, |key, _| {
                    batch.delete(family, key);
                    Ok::<(), StateError>(())
                })?;
            }
            height = height.prev().expect("above the target");
        }
        Ok(former)
    }

    /// Deletes marks from `mark` on, and cheats that were made after its place.
    fn drop_marks_and_diffs(
        &self,
        mark: u64,
        place: (Height, u64),
        batch: &mut Batch,
    ) -> Result<(), StateError> {
        let snapshot = self.base.snapshot.as_ref();
        // All others were set after the genesis.
        let first = rows::mark_key(if mark == GENESIS_MARK { 0 } else { mark });
        for_each(snapshot, Family::Meta, rows::META_MARK, |key, _| {
            if key >= first.as_slice() {
                batch.delete(Family::Meta, key);
            }
            Ok::<(), StateError>(())
        })?;
        let mut height = place.0;
        let kept = rows::diff_key(place.0, place.1);
        while height <= self.base.head {
            for_each(snapshot, Family::Diffs, &rows::height_key(height), |key, _| {
                if key >= kept.as_slice() {
                    batch.delete(Family::Diffs, key);
                }
                Ok::<(), StateError>(())
            })?;
            height = height.next();
        }
        Ok(())
    }
}

/// Adds to `former` what the state was before the block at `height`; returns the keys.
pub(super) fn former_values(
    base: &Base,
    height: Height,
    former: &mut ChangeSet,
) -> Result<ChangedKeys, StateError> {
    let snapshot = base.snapshot.as_ref();
    let key = rows::height_key(height);
    let keys = snapshot.get(Family::Changes, &key)?;
    let keys = keys.and_then(|row| rows::decode_changed_keys(&row));
    let keys = keys.ok_or_else(|| corrupt(Family::Changes, &key, "not a list of keys"))?;
    for &address in &keys.accounts {
        let key = rows::history_key(address.as_slice(), height);
        let row = snapshot.get(Family::AccountHistory, &key)?;
        let account = row.and_then(|row| rows::decode_former_account(&row));
        let account = account.ok_or_else(|| corrupt(Family::AccountHistory, &key, NOT_ACCOUNT))?;
        former.accounts.insert(address, account.0);
    }
    for &(address, slot) in &keys.slots {
        let key = rows::history_key(&rows::storage_key(address, slot), height);
        let row = snapshot.get(Family::StorageHistory, &key)?;
        let value = row.and_then(|row| rows::decode_value(&row));
        let value = value.ok_or_else(|| corrupt(Family::StorageHistory, &key, NOT_WORD))?;
        former.storage.entry(address).or_default().slots.insert(slot, value);
    }
    Ok(keys)
}
