//! Filters of `eth_newFilter` and its sisters, and the cursors they and subscriptions read with.
//!
//! Nothing is queued for a reader. A `Cursor` remembers where it stands, and what it missed is
//! read from the durable chain when its owner asks. So a reader that sleeps costs nothing, and one
//! that wakes misses nothing.
//!
//! # Invariants
//!
//! - F1: a cursor passes each block of a generation once, in order; polls of one filter that race
//!   are worked one after the other in effect: only the one that saw the latest state answers.
//! - F2: after a revert a cursor goes back to the last block that was kept, and on its way meets
//!   every dropped block with logs that it had passed, or had been born above, lowest first as in
//!   geth and anvil; or it is told which of them are forgotten.
//! - F3: at most `FILTERS_MAX` filters live; one that is not polled for `FILTER_IDLE` does not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_chain::Height;
use evenkeel_runtime::{Entropy, System, Time};
use evenkeel_state::{DroppedBlock, Durable, Revert};
use rand_core::RngCore;

use crate::{
    error::RpcError,
    log_query::LogQuery,
    methods::limits::{FILTER_IDLE, FILTERS_MAX},
};

/// Where a reader stands in the durable chain.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    generation: u64,
    /// The block it reads next.
    next: u64,
    /// On its way back: the lowest block that it has not taken back yet.
    back: Option<u64>,
}

/// What a reader has passed and the chain has no longer.
pub(crate) enum Gone {
    /// A block with logs.
    Block(Arc<DroppedBlock>),
    /// Blocks that may have had logs, which are forgotten.
    Forgotten {
        /// The lowest one.
        first: u64,
        /// The highest one.
        last: u64,
    },
}

impl Cursor {
    /// A reader that has seen all of `durable` and reads on from `next`.
    pub(crate) fn new(durable: &Durable, next: u64) -> Self {
        Self { generation: durable.generation, next, back: None }
    }

    /// A reader of what comes after `durable`.
    pub(crate) fn after(durable: &Durable) -> Self {
        Self::new(durable, durable.header.number.saturating_add(1))
    }

    /// Follows `durable` through one revert or a part of it: the next that is gone; none when there
    /// is no more, and the reader may [`peek`](Self::peek).
    pub(crate) fn gone(&mut self, durable: &Durable) -> Option<Gone> {
        while let Some(revert) = durable.dropped.after(self.generation) {
            let from = self.back.unwrap_or(revert.kept.get().saturating_add(1));
            if let Some(gone) = gone_from(revert, from, self.next) {
                self.back = Some(match &gone {
                    Gone::Block(block) => block.height.get() + 1,
                    Gone::Forgotten { last, .. } => last + 1,
                });
                return Some(gone);
            }
            self.go_back(revert);
        }
        None
    }

    /// Follows `durable` as one who is not told what is gone.
    pub(crate) fn follow(&mut self, durable: &Durable) {
        while let Some(revert) = durable.dropped.after(self.generation) {
            self.go_back(revert);
        }
    }

    fn go_back(&mut self, revert: &Revert) {
        self.generation = revert.generation;
        self.next = self.next.min(revert.kept.get().saturating_add(1));
        self.back = None;
    }

    /// The next block to read, if `durable` has it.
    pub(crate) fn peek(&self, durable: &Durable) -> Option<Height> {
        assert_eq!(self.generation, durable.generation, "a reader goes back before it goes on");
        (self.next <= durable.header.number).then(|| Height::new(self.next))
    }

    /// There is nothing to deliver below `next`.
    pub(crate) fn skip_to(&mut self, next: Height) {
        self.next = self.next.max(next.get());
    }

    /// The block that [`peek`](Self::peek) named was read.
    pub(crate) fn passed(&mut self) {
        self.next += 1;
    }
}

/// The first of what `revert` took of the blocks in `from..end`.
fn gone_from(revert: &Revert, from: u64, end: u64) -> Option<Gone> {
    if from >= end {
        return None;
    }
    if let Some(lost) = revert.lost_to.map(Height::get).filter(|lost| from <= *lost) {
        return Some(Gone::Forgotten { first: from, last: lost.min(end - 1) });
    }
    let block = revert.block_from(Height::new(from))?;
    (block.height.get() < end).then(|| Gone::Block(Arc::clone(block)))
}

/// What one filter looks for, and where it stands.
#[derive(Clone)]
pub(crate) enum Filter {
    /// Hashes of new blocks.
    Blocks(Cursor),
    /// Logs of new blocks.
    Logs { query: Arc<LogQuery>, cursor: Cursor },
    /// New transactions in the pool: the next place in the feed, and whether they are shown whole.
    Pending { seq: u64, is_full: bool },
}

/// The filters of all clients.
pub struct Filters(Mutex<Table>);

struct Table {
    ids: Entropy,
    live: BTreeMap<u128, Live>,
}

struct Live {
    filter: Filter,
    /// Counts the polls that moved it.
    version: u64,
    touched: Time,
}

impl Filters {
    /// No filters.
    pub fn new(system: &System) -> Self {
        let ids = system.entropy("rpc filter ids");
        Self(Mutex::new(Table { ids, live: BTreeMap::new() }))
    }

    /// Adds a filter; its id.
    ///
    /// # Errors
    ///
    /// -32005 at [`FILTERS_MAX`].
    pub(crate) fn insert(&self, now: Time, filter: Filter) -> Result<u128, RpcError> {
        let mut table = self.lock();
        table.live.retain(|_, live| now.saturating_since(live.touched) < FILTER_IDLE);
        if table.live.len() >= FILTERS_MAX {
            return Err(RpcError::limit(format!("too many filters: limit {FILTERS_MAX}")));
        }
        let id = u128::from(table.ids.next_u64()) << 64 | u128::from(table.ids.next_u64());
        let live = Live { filter, version: 0, touched: now };
        let former = table.live.insert(id, live);
        assert!(former.is_none(), "128 random bits repeat");
        Ok(id)
    }

    /// The filter as it stands and its version; none if it is unknown or was idle for too long.
    pub(crate) fn get(&self, now: Time, id: u128) -> Option<(Filter, u64)> {
        let mut table = self.lock();
        let live = table.live.get_mut(&id)?;
        if now.saturating_since(live.touched) >= FILTER_IDLE {
            table.live.remove(&id);
            return None;
        }
        live.touched = now;
        Some((live.filter.clone(), live.version))
    }

    /// Moves a filter on. False if another poll has moved it meanwhile, or it is gone (F1).
    pub(crate) fn advance(&self, id: u128, version: u64, filter: Filter) -> bool {
        let mut table = self.lock();
        match table.live.get_mut(&id) {
            Some(live) if live.version == version => {
                live.filter = filter;
                live.version += 1;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Ends a filter; false if there was none.
    pub(crate) fn remove(&self, id: u128) -> bool {
        self.lock().live.remove(&id).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
