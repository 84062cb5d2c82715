//! The tip as it was at an earlier height, found from the history some values at a time.
//!
//! Only the head has a trie. That of an earlier height is the head's trie with every value changed
//! since set back, so it costs as much as the blocks in between changed.

use std::{mem, sync::Arc};

use evenkeel_chain::Height;

use crate::{
    base::{Base, NOT_ACCOUNT, NOT_WORD, corrupt},
    change::ChangeSet,
    error::StateError,
    limits::{REWIND_VALUES_MAX, REWIND_VALUES_STEP},
    reader::{ChainReader, read_diffs},
    rows::{self, ChangedKeys},
    store::Family,
    tip::{Durable, Tip},
    trie::{Trie, TrieStep, TrieUpdate},
    view::View,
};

/// A former tip on its way. See [`Durable::rewind`].
pub struct Rewind {
    base: Arc<Base>,
    trie: Trie,
    target: Height,
    /// The cheats made on the target come with it.
    has_cheats: bool,
    phase: Phase,
}

enum Phase {
    /// Values are set back down to the block above `above`.
    Values {
        above: Height,
        block: Option<Block>,
        former: ChangeSet,
        count: usize,
    },
    Trie(TrieUpdate),
    Over,
}

/// A block whose values are being set back.
struct Block {
    keys: ChangedKeys,
    /// Keys done: accounts first.
    next: usize,
}

impl Rewind {
    pub(crate) fn new(base: &Arc<Base>, trie: &Trie, target: Height) -> Self {
        let phase =
            Phase::Values { above: base.head, block: None, former: ChangeSet::default(), count: 0 };
        Self { base: Arc::clone(base), trie: trie.clone(), target, has_cheats: false, phase }
    }

    /// The same, with the cheats made on the block on top: what the next block was executed on.
    #[must_use]
    pub fn with_cheats(self) -> Self {
        Self { has_cheats: true, ..self }
    }

    /// Sets back some values, or works on about `nodes` nodes of the trie; the tip, once it is
    /// known.
    ///
    /// # Errors
    ///
    /// [`StateError::TooFar`] if more than [`REWIND_VALUES_MAX`] values changed since;
    /// [`StateError::RootMismatch`] if the history does not lead back to the header; else the store
    /// failed.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub fn step(&mut self, nodes: usize) -> Result<Option<Tip>, StateError> {
        match mem::replace(&mut self.phase, Phase::Over) {
            Phase::Values { above, block: None, former, .. } if above == self.target => {
                self.phase = Phase::Trie(self.trie.update(&Arc::new(former)));
                Ok(None)
            }
            Phase::Values { above, block, mut former, mut count } => {
                let mut block = match block {
                    Some(block) => block,
                    None => self.open(above)?,
                };
                // Downwards, so that the oldest value is set last and stays.
                let is_done = block.set_back(&self.base, above, &mut former)?;
                count += if is_done { block.len() } else { 0 };
                if count > REWIND_VALUES_MAX {
                    return Err(StateError::TooFar { height: self.target });
                }
                self.phase = if is_done {
                    let above = above.prev().expect("above the target");
                    Phase::Values { above, block: None, former, count }
                } else {
                    Phase::Values { above, block: Some(block), former, count }
                };
                Ok(None)
            }
            Phase::Trie(mut update) => match update.step(nodes)? {
                TrieStep::More => {
                    self.phase = Phase::Trie(update);
                    Ok(None)
                }
                TrieStep::Done { root, trie, .. } => self.tip(root, trie).map(Some),
            },
            Phase::Over => panic!("a rewind was stepped after its end"),
        }
    }

    fn open(&self, height: Height) -> Result<Block, StateError> {
        Ok(Block { keys: changed_keys(&self.base, height)?, next: 0 })
    }

    fn tip(&self, root: alloy_primitives::B256, trie: Trie) -> Result<Tip, StateError> {
        let sealed = ChainReader::new(&self.base).header(self.target)?.ok_or_else(|| {
            corrupt(Family::Headers, &rows::height_key(self.target), "missing below the head")
        })?;
        let expected = self.base.state_root(&sealed.header);
        if root != expected {
            return Err(StateError::RootMismatch { height: self.target, found: root, expected });
        }
        let tip = Tip {
            header: Arc::new(sealed.header.clone()),
            hash: sealed.hash,
            view: View::at(&self.base, self.target),
            trie,
            diffs: Vec::new(),
        };
        if !self.has_cheats {
            return Ok(tip);
        }
        let diffs = read_diffs(self.base.snapshot.as_ref(), self.target)?;
        Ok(diffs.into_iter().fold(tip, |tip, changes| tip.with_diff(changes)))
    }
}

/// What the block at `height` changed, above the first one.
pub(crate) fn changed_keys(base: &Base, height: Height) -> Result<ChangedKeys, StateError> {
    let key = rows::height_key(height);
    let keys = base.snapshot.get(Family::Changes, &key)?;
    let keys = keys.and_then(|row| rows::decode_changed_keys(&row));
    keys.ok_or_else(|| corrupt(Family::Changes, &key, "not a list of keys"))
}

impl Block {
    fn len(&self) -> usize {
        self.keys.accounts.len() + self.keys.slots.len()
    }

    /// Sets back the next values to what they were before the block at `height`; true: all are.
    fn set_back(
        &mut self,
        base: &Base,
        height: Height,
        former: &mut ChangeSet,
    ) -> Result<bool, StateError> {
        let snapshot = base.snapshot.as_ref();
        let end = self.len().min(self.next + REWIND_VALUES_STEP);
        let accounts = self.keys.accounts.len();
        for at in self.next..end {
            if let Some(&address) = self.keys.accounts.get(at) {
                let key = rows::history_key(address.as_slice(), height);
                let row = snapshot.get(Family::AccountHistory, &key)?;
                let account = row.and_then(|row| rows::decode_former_account(&row));
                let account =
                    account.ok_or_else(|| corrupt(Family::AccountHistory, &key, NOT_ACCOUNT))?;
                former.accounts.insert(address, account.0);
                continue;
            }
            let (address, slot) = self.keys.slots[at - accounts];
            let key = rows::history_key(&rows::storage_key(address, slot), height);
            let row = snapshot.get(Family::StorageHistory, &key)?;
            let value = row.and_then(|row| rows::decode_value(&row));
            let value = value.ok_or_else(|| corrupt(Family::StorageHistory, &key, NOT_WORD))?;
            former.storage.entry(address).or_default().slots.insert(slot, value);
        }
        self.next = end;
        Ok(end == self.len())
    }
}

impl Durable {
    /// The head as an executor takes it, with the cheats made on it. O(cheats).
    #[must_use]
    pub fn tip(&self) -> Tip {
        Tip {
            header: Arc::clone(&self.header),
            hash: self.hash,
            view: self.view.clone(),
            trie: self.trie.clone(),
            diffs: self.view.diffs(),
        }
    }

    /// Starts to look for the tip after the block at `height`, without the cheats made on it
    /// unless they are asked for; `None` where there is no state.
    #[must_use]
    pub fn rewind(&self, height: Height) -> Option<Rewind> {
        let is_inside = (self.chain.oldest_state()..=self.chain.head()).contains(&height);
        is_inside.then(|| Rewind::new(self.chain.base(), &self.trie, height))
    }
}
