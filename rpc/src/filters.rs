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
//! - F2: after a revert a cursor goes back to the last block both chains share, which `Lineage`
//!   finds, and takes back the logs it delivered above it, newest first, as far as it remembers
//!   them (`SENT_LOGS_MAX`).
//! - F3: at most `FILTERS_MAX` filters live; one that is not polled for `FILTER_IDLE` does not.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use alloy_rpc_types_eth::Log;
use evenkeel_chain::Height;
use evenkeel_runtime::{Class, Entropy, Published, Spawn, System, Time};
use evenkeel_state::{Durable, StateError};
use rand_core::RngCore;

use crate::{
    error::RpcError,
    log_query::LogQuery,
    methods::limits::{FILTER_IDLE, FILTERS_MAX, REVERTS_MAX, SENT_LOGS_MAX},
};

/// Where a reader stands in the durable chain.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    generation: u64,
    /// The block it reads next.
    next: u64,
    /// The newest logs it delivered, oldest first.
    sent: VecDeque<Arc<Log>>,
}

impl Cursor {
    /// A reader that has seen all of `durable` and reads on from `next`.
    pub(crate) fn new(durable: &Durable, next: u64) -> Self {
        Self { generation: durable.generation, next, sent: VecDeque::new() }
    }

    /// A reader of what comes after `durable`.
    pub(crate) fn after(durable: &Durable) -> Self {
        Self::new(durable, durable.header.number.saturating_add(1))
    }

    /// Follows `durable` through reverts; returns the logs that are no more.
    pub(crate) fn follow(&mut self, lineage: &Lineage, durable: &Durable) -> Vec<Log> {
        if self.generation == durable.generation {
            return Vec::new();
        }
        let shared = lineage.shared(self.generation, durable);
        self.generation = durable.generation;
        self.next = self.next.min(shared.saturating_add(1));
        let mut removed = Vec::new();
        while let Some(log) = self.sent.pop_back_if(|log| log.block_number >= Some(self.next)) {
            removed.push(Log { removed: true, ..Log::clone(&log) });
        }
        removed
    }

    /// The next block to read, if `durable` has it.
    pub(crate) fn peek(&self, durable: &Durable) -> Option<Height> {
        (self.next <= durable.header.number).then(|| Height::new(self.next))
    }

    /// There is nothing to deliver below `next`.
    pub(crate) fn skip_to(&mut self, next: Height) {
        self.next = self.next.max(next.get());
    }

    /// The block that [`peek`](Self::peek) named was read and `logs` of it are delivered.
    pub(crate) fn passed(&mut self, logs: &[Log]) {
        self.next += 1;
        let kept = logs.len().min(SENT_LOGS_MAX);
        let overflow = (self.sent.len() + kept).saturating_sub(SENT_LOGS_MAX);
        self.sent.drain(..overflow);
        self.sent.extend(logs[logs.len() - kept..].iter().cloned().map(Arc::new));
        assert!(self.sent.len() <= SENT_LOGS_MAX);
    }
}

/// Finds how far back reverts went, for readers that were asleep while they happened.
///
/// It keeps the last durable chain it saw: when the generation has changed since, the two are
/// compared by block hashes, and the last height they share is remembered for readers which still
/// stand in the old generation.
#[derive(Default)]
pub(crate) struct Lineage(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    last: Option<Arc<Durable>>,
    /// Oldest first, at most [`REVERTS_MAX`].
    reverts: VecDeque<Reverted>,
}

struct Reverted {
    /// Generation before.
    from: u64,
    /// Generation after; more than one later if reverts came faster than they were seen.
    to: u64,
    /// The last height both share.
    shared: u64,
}

impl Lineage {
    /// Takes note of `durable`. O(log height) reads after a revert, else O(1).
    pub(crate) fn observe(&self, durable: &Arc<Durable>) -> Result<(), StateError> {
        let mut seen = self.lock();
        let Some(last) = &seen.last else {
            seen.last = Some(Arc::clone(durable));
            return Ok(());
        };
        if durable.generation > last.generation {
            let shared = shared_height(last, durable)?;
            let from = last.generation;
            if seen.reverts.len() == REVERTS_MAX {
                seen.reverts.pop_front();
            }
            seen.reverts.push_back(Reverted { from, to: durable.generation, shared });
        }
        let is_newer = (durable.generation, durable.header.number)
            >= (last_generation(&seen), last_number(&seen));
        if is_newer {
            seen.last = Some(Arc::clone(durable));
        }
        Ok(())
    }

    /// The highest block a reader of `generation` surely shares with `durable`.
    fn shared(&self, generation: u64, durable: &Durable) -> u64 {
        let seen = self.lock();
        let between =
            |revert: &&Reverted| revert.to > generation && revert.from < durable.generation;
        seen.reverts
            .iter()
            .filter(between)
            .map(|revert| revert.shared)
            .fold(durable.header.number, u64::min)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Every change is one assignment or push, so a poisoned lock guards a whole value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last_generation(seen: &Seen) -> u64 {
    seen.last.as_ref().map_or(0, |last| last.generation)
}

fn last_number(seen: &Seen) -> u64 {
    seen.last.as_ref().map_or(0, |last| last.header.number)
}

/// The last height at which two chains with one genesis have the same block: a binary search.
fn shared_height(old: &Durable, new: &Durable) -> Result<u64, StateError> {
    let is_shared = |number: u64| -> Result<bool, StateError> {
        let height = Height::new(number);
        let (old, new) = (old.chain.header(height)?, new.chain.header(height)?);
        Ok(matches!((old, new), (Some(old), Some(new)) if old.hash == new.hash))
    };
    // All heights below `low` are shared (or before genesis), none from `high` on is.
    let mut low = 0;
    let mut high = old.header.number.min(new.header.number).saturating_add(1);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_shared(middle)? || old.chain.header(Height::new(middle))?.is_none() {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low.saturating_sub(1))
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
pub struct Filters {
    table: Mutex<Table>,
    pub(crate) lineage: Arc<Lineage>,
    is_watched: AtomicBool,
}

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
        Self {
            table: Mutex::new(Table { ids, live: BTreeMap::new() }),
            lineage: Arc::default(),
            is_watched: AtomicBool::new(false),
        }
    }

    /// Takes note of the chain from now on, so that a later revert is seen in full.
    pub(crate) fn watch(
        &self,
        system: &System,
        durable: &Published<Durable>,
    ) -> Result<(), StateError> {
        self.lineage.observe(&durable.get())?;
        if self.is_watched.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let (lineage, durable) = (Arc::clone(&self.lineage), durable.clone());
        // Lives as long as the system: the first reader will not be the last.
        let watch = async move {
            loop {
                let (newest, version) = durable.get_versioned();
                if let Err(error) = lineage.observe(&newest) {
                    tracing::warn!(%error, "a revert cannot be followed");
                }
                durable.changed_since(version).await;
            }
        };
        drop(system.spawn_future(Spawn::new("rpc.lineage", Class::Rpc), watch));
        Ok(())
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
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
