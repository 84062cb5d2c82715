//! What an operator of a dev chain made of its id (`anvil_setChainId`): the id by height.
//!
//! Blocks keep the id they were built with, so that a trace of an old one still runs; calls and new
//! transactions see the newest. Nothing of it is stored: a node with a database refuses the order.

use std::sync::{PoisonError, RwLock};

use crate::{ChainSpec, Height, limits::CHAIN_IDS_MAX};

/// Ids in the order of the heights they hold from; at most [`CHAIN_IDS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct ChainIds(RwLock<Vec<(Height, u64)>>);

/// The id was changed too often for all of its values to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chain id changed {CHAIN_IDS_MAX} times, which is the limit")]
pub struct TooManyChainIds;

impl ChainIds {
    fn read<T>(&self, look: impl FnOnce(&[(Height, u64)]) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Vec<(Height, u64)>) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Clone for ChainIds {
    fn clone(&self) -> Self {
        Self(RwLock::new(self.read(<[_]>::to_vec)))
    }
}

impl PartialEq for ChainIds {
    fn eq(&self, other: &Self) -> bool {
        self.read(<[_]>::to_vec) == other.read(<[_]>::to_vec)
    }
}

impl Eq for ChainIds {}

impl ChainSpec {
    /// The chain id that the block at `height` has; O(log n) in the changes.
    #[must_use]
    pub fn chain_id_at(&self, height: Height) -> u64 {
        self.ids.read(|ids| {
            let next = ids.partition_point(|(from, _)| *from <= height);
            next.checked_sub(1).map_or(self.chain_id, |newest| ids[newest].1)
        })
    }

    /// The chain id that new transactions have.
    #[must_use]
    pub fn chain_id_now(&self) -> u64 {
        self.ids.read(|ids| ids.last().map_or(self.chain_id, |(_, id)| *id))
    }

    /// Changes the chain id from the block after `head` on. A block that is being built meanwhile
    /// keeps the id it was begun with.
    ///
    /// # Errors
    ///
    /// [`TooManyChainIds`]; nothing is changed then.
    pub fn set_chain_id(&self, head: Height, id: u64) -> Result<(), TooManyChainIds> {
        if id == self.chain_id_now() {
            return Ok(());
        }
        self.ids.write(|ids| {
            ids.retain(|(from, _)| *from <= head);
            if ids.len() == CHAIN_IDS_MAX {
                return Err(TooManyChainIds);
            }
            ids.push((head.next(), id));
            Ok(())
        })
    }

    /// The chain went back to `head`: the id stays what it is now, from the next block on.
    pub fn keep_chain_id(&self, head: Height) {
        self.ids.write(|ids| {
            let Some(&(from, id)) = ids.last() else { return };
            if from > head.next() {
                ids.retain(|(from, _)| *from <= head);
                ids.push((head.next(), id));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DevOptions;

    /// Goal: each block keeps its id, the newest holds for what comes, also after a revert.
    #[test]
    fn ids_hold_from_their_height_on() {
        let spec = ChainSpec::dev(&DevOptions::default());
        let at = |height| spec.chain_id_at(Height::new(height));
        spec.set_chain_id(Height::new(4), 7).expect("room");
        spec.set_chain_id(Height::new(9), 8).expect("room");
        assert_eq!((at(0), at(4), at(5), at(9), at(10)), (31_337, 31_337, 7, 7, 8));
        assert_eq!(spec.chain_id_now(), 8);

        spec.keep_chain_id(Height::new(2));
        assert_eq!((at(2), at(3), spec.chain_id_now()), (31_337, 8, 8));
        spec.keep_chain_id(Height::new(5));
        assert_eq!((at(3), at(6)), (8, 8), "a change below the head stays where it is");

        spec.set_chain_id(Height::new(5), 31_337).expect("room");
        assert_eq!((at(5), at(6), spec.chain_id_now()), (8, 31_337, 31_337));
    }

    /// Goal: a client that changes the id for ever cannot fill the memory.
    #[test]
    fn changes_are_bounded() {
        let spec = ChainSpec::dev(&DevOptions::default());
        for n in 0..CHAIN_IDS_MAX as u64 {
            spec.set_chain_id(Height::new(n), n).expect("room");
        }
        assert_eq!(spec.set_chain_id(Height::new(9_999), 5), Err(TooManyChainIds));
        assert_eq!(spec.chain_id_now(), CHAIN_IDS_MAX as u64 - 1);
        spec.set_chain_id(Height::new(3), 5).expect("those above are gone");
    }
}
