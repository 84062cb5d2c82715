//! The way back to a mark or a height, and on from there with other blocks: undoes blocks from the
//! history, in one batch. O(changes since, and those of the new blocks).

use std::sync::Arc;

use evenkeel_chain::{Height, RevertTo, limits::GENESIS_MARK};

use super::{
    Database, check_order,
    stage::{History, Stage},
};
use crate::{
    base::{Base, NOT_ACCOUNT, NOT_WORD, corrupt},
    change::ChangeSet,
    dropped::{Gathering, Revert},
    error::StateError,
    log_index::index_rows,
    reader::{ChainReader, read_diffs},
    rows::{self, ChangedKeys},
    store::{Batch, Family, for_each},
    tip::{Durable, ExecutedBlock, Tip},
};

/// Where a way back ends.
#[derive(Clone, Copy)]
struct Place {
    height: Height,
    /// Cheats on that block that are kept: the first so many.
    diffs: u64,
    /// The mark that is used up.
    mark: Option<u64>,
}

impl Database {
    /// Goes back to a mark (`evm_revert`) or a height (`anvil_rollback`): drops the blocks and
    /// cheats after it, and all marks made later, a mark itself too. [`GENESIS_MARK`] is always
    /// there. Views that are pinned stay as they are.
    ///
    /// # Errors
    ///
    /// `Ok(None)` if there is no such mark or block. [`StateError`] is fatal, above all
    /// [`StateError::RootMismatch`]: the history does not lead back to the header.
    pub fn revert(&mut self, to: RevertTo) -> Result<Option<(Durable, Tip)>, StateError> {
        self.place_of(to)?.map(|place| self.rewrite(place, &[])).transpose()
    }

    /// Puts `blocks` in the place of those above `kept` (`anvil_reorg`): one batch, so that a crash
    /// leaves the former chain or the new one. Else as [`Database::revert`].
    ///
    /// # Errors
    ///
    /// `Ok(None)` if there is no block at `kept`; [`StateError::OutOfOrder`] if the first is not
    /// its child, or one not that of the one before; nothing is written in both cases.
    pub fn reorg(
        &mut self,
        kept: Height,
        blocks: &[Arc<ExecutedBlock>],
    ) -> Result<Option<(Durable, Tip)>, StateError> {
        let place = self.place_of(RevertTo::Height(kept))?;
        place.map(|place| self.rewrite(place, blocks)).transpose()
    }

    /// Ends the chain at `place`, and goes on from there with `blocks`.
    fn rewrite(
        &mut self,
        place: Place,
        blocks: &[Arc<ExecutedBlock>],
    ) -> Result<(Durable, Tip), StateError> {
        let Place { height, .. } = place;
        let target = ChainReader::new(&self.base).header(height)?.ok_or_else(|| {
            corrupt(Family::Headers, &rows::height_key(height), "missing below the head")
        })?;
        check_order(blocks, height, target.hash)?;

        let base = Arc::clone(&self.base);
        let mut stage = Stage::new(&base);
        let (former, dropped) = self.undo(height, stage.batch())?;
        let former = Arc::new(former);
        stage.changes(&former, History::Skip)?;
        let (root, trie, nodes) = self.trie.update(&former).finish_now()?;
        let expected = base.state_root(&target.header);
        if root != expected {
            return Err(StateError::RootMismatch { height, found: root, expected });
        }
        stage.nodes(&nodes)?;
        self.drop_marks_and_diffs(place, stage.batch())?;
        for executed in blocks {
            stage.block(executed)?;
        }
        let (header, hash, trie) = match blocks.last() {
            Some(last) => (last.block.header.clone(), last.block.hash, last.trie.clone()),
            None => (target.header.clone(), target.hash, trie),
        };
        let head = Height::new(header.number);
        let batch = stage.batch();
        batch.put(Family::Meta, rows::META_GENERATION, dropped.generation.to_be_bytes());
        batch.put(Family::Meta, rows::META_HEAD, rows::encode_head(head, hash));
        let (batch, recent) = stage.finish();
        self.write(&batch)?;

        self.keep(blocks);
        self.generation = dropped.generation;
        self.dropped = self.dropped.with(dropped);
        self.header = Arc::new(header);
        self.hash = hash;
        self.trie = trie;
        self.move_to(head, recent);
        self.diffs = read_diffs(self.base.snapshot.as_ref(), head)?;
        Ok((self.durable(), self.tip()))
    }

    /// Where a mark was set, or the block at a height with all its cheats.
    fn place_of(&self, to: RevertTo) -> Result<Option<Place>, StateError> {
        let mark = match to {
            RevertTo::Height(height) => {
                let is_inside = (self.base.oldest()..=self.base.head).contains(&height);
                let place = Place { height, diffs: u64::MAX, mark: None };
                return Ok(is_inside.then_some(place));
            }
            RevertTo::Mark(GENESIS_MARK) => {
                // All others were set after it.
                let place = Place { height: self.base.oldest(), diffs: 0, mark: Some(0) };
                return Ok(Some(place));
            }
            RevertTo::Mark(mark) => mark,
        };
        let key = rows::mark_key(mark);
        let Some(row) = self.base.snapshot.get(Family::Meta, &key)? else { return Ok(None) };
        let place = rows::decode_pair(&row).filter(|place| place.0 <= self.base.head.get());
        let (height, diffs) = place.ok_or_else(|| corrupt(Family::Meta, &key, NOT_PLACE))?;
        Ok(Some(Place { height: Height::new(height), diffs, mark: Some(mark) }))
    }

    /// Deletes the rows of all blocks above `target`; returns the values to restore, and what
    /// readers are told of the blocks.
    fn undo(&self, target: Height, batch: &mut Batch) -> Result<(ChangeSet, Revert), StateError> {
        let base: &Base = &self.base;
        let reader = ChainReader::new(&self.base);
        let mut former = ChangeSet::default();
        let mut dropped = Gathering::new();
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
            if dropped.wants(&block.header) {
                let receipts = reader.receipts(height)?;
                let missing = || corrupt(Family::Receipts, &key, "missing");
                dropped.push(&block, &receipts.ok_or_else(missing)?);
            }
            for tx in &block.txs {
                batch.delete(Family::Transactions, tx.hash().as_slice());
            }
            let receipts = reader.receipts(height)?;
            let receipts = receipts.ok_or_else(|| corrupt(Family::Receipts, &key, "missing"))?;
            for row in index_rows(height, &receipts) {
                batch.delete(Family::LogIndex, row);
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
        Ok((former, dropped.finish(self.generation + 1, target)))
    }

    /// Deletes the mark that is used up, those made after it or above its place, and cheats that
    /// were made after the place.
    fn drop_marks_and_diffs(&self, place: Place, batch: &mut Batch) -> Result<(), StateError> {
        let snapshot = self.base.snapshot.as_ref();
        let first = place.mark.map(rows::mark_key);
        for_each(snapshot, Family::Meta, rows::META_MARK, |key, row| {
            let (height, _) =
                rows::decode_pair(row).ok_or_else(|| corrupt(Family::Meta, key, NOT_PLACE))?;
            let is_later = first.as_ref().is_some_and(|first| key >= first.as_slice());
            if is_later || height > place.height.get() {
                batch.delete(Family::Meta, key);
            }
            Ok::<(), StateError>(())
        })?;
        let mut height = place.height;
        let kept = rows::diff_key(place.height, place.diffs);
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

const NOT_PLACE: &str = "not the place of a mark";

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
