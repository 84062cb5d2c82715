//! Which blocks hold a log of an address or with a topic. Pure but for reads of a snapshot.
//!
//! A row per block and key, `key ++ height` without a value, written and removed with the block. So
//! a search costs with what it finds and not with the range it looks at: where several conditions
//! have to hold, each in turn skips to the first block at or above the one that the others want (a
//! leapfrog join, Veldhuizen, arXiv:1210.0481).
//!
//! # Invariants
//!
//! - L1: a block has the rows of its receipts' logs, no more and no fewer; `verify` looks.
//! - L2: a step makes [`LOG_INDEX_READS`] reads at most.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    ops::RangeInclusive,
    sync::Arc,
};

use alloy_primitives::{Address, B256};
use evenkeel_chain::{Height, Receipt};

use crate::{
    base::{Base, corrupt},
    error::StateError,
    limits::{LOG_INDEX_PAGE_ROWS, LOG_INDEX_READS},
    rows,
    store::{Batch, Family, Range},
};

/// What a log can be found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogKey {
    /// Being a log.
    Any,
    /// The contract that made it.
    Address(Address),
    /// A topic at a position, from 0.
    Topic(u8, B256),
}

impl LogKey {
    /// What all rows of this key begin with; no other key's rows do.
    fn prefix(self) -> Vec<u8> {
        match self {
            Self::Any => vec![0],
            Self::Address(address) => [&[1], address.as_slice()].concat(),
            Self::Topic(position, topic) => [&[2 + position], topic.as_slice()].concat(),
        }
    }
}

/// The keys of all logs of a block.
fn keys_of(receipts: &[Receipt]) -> BTreeSet<LogKey> {
    let mut keys = BTreeSet::new();
    for log in receipts.iter().flat_map(|receipt| &receipt.logs) {
        keys.insert(LogKey::Any);
        keys.insert(LogKey::Address(log.address));
        keys.extend((0..).zip(log.topics()).map(|(at, &topic)| LogKey::Topic(at, topic)));
    }
    keys
}

/// The rows of a block. O(log n) each in the keys of its logs.
pub(crate) fn index_rows(height: Height, receipts: &[Receipt]) -> impl Iterator<Item = Vec<u8>> {
    let key = rows::height_key(height);
    keys_of(receipts).into_iter().map(move |found_by| [&found_by.prefix()[..], &key].concat())
}

/// Writes the rows of a block.
pub(crate) fn put_logs(batch: &mut Batch, height: Height, receipts: &[Receipt]) {
    for row in index_rows(height, receipts) {
        batch.put(Family::LogIndex, row, []);
    }
}

/// How far a search came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogStep {
    /// This block may hold a log that meets all conditions: it has one for each. Blocks come in
    /// order.
    Block(Height),
    /// Nothing yet.
    More,
    /// There are no more.
    Done,
}

/// A search under way.
pub struct LogSearch {
    base: Arc<Base>,
    /// All have to hold.
    conditions: Vec<AnyOf>,
    /// The first block that may be found next; `None` at the end.
    next: Option<u64>,
    /// The last that may be found.
    last: u64,
    /// Conditions in a row that agree on `next`.
    agreed: usize,
    /// The condition that is asked next.
    turn: usize,
}

impl LogSearch {
    pub(crate) fn new(
        base: &Arc<Base>,
        conditions: Vec<Vec<LogKey>>,
        heights: RangeInclusive<Height>,
    ) -> Self {
        let (first, last) = (heights.start().get(), heights.end().get());
        let mut conditions: Vec<_> =
            conditions.into_iter().map(|keys| AnyOf::new(keys, first)).collect();
        if conditions.is_empty() {
            conditions.push(AnyOf::new(vec![LogKey::Any], first));
        }
        let next = (first <= last).then_some(first);
        Self { base: Arc::clone(base), conditions, next, last, agreed: 0, turn: 0 }
    }

    /// The first height that was not looked at yet: below it lies nothing more to be found. `None`
    /// at the end.
    #[must_use]
    pub fn reached(&self) -> Option<Height> {
        self.next.map(Height::new)
    }

    /// Goes on to the next block, or as far as [`LOG_INDEX_READS`] reads lead (L2).
    ///
    /// # Errors
    ///
    /// [`StateError`] if the store fails.
    pub fn step(&mut self) -> Result<LogStep, StateError> {
        let mut reads = LOG_INDEX_READS;
        while let Some(next) = self.next {
            let condition = &mut self.conditions[self.turn];
            let found = match condition.at_or_above(next, &self.base, &mut reads)? {
                Met::At(found) => Some(found).filter(|found| *found <= self.last),
                Met::Never => None,
                Met::Unknown => return Ok(LogStep::More),
            };
            self.turn = (self.turn + 1) % self.conditions.len();
            self.agreed = if found == Some(next) { self.agreed + 1 } else { 1 };
            self.next = found;
            if let Some(found) = found
                && self.agreed >= self.conditions.len()
            {
                self.agreed = 0;
                self.next = found.checked_add(1).filter(|next| *next <= self.last);
                return Ok(LogStep::Block(Height::new(found)));
            }
        }
        Ok(LogStep::Done)
    }
}

/// Where a condition holds next.
enum Met {
    At(u64),
    Never,
    /// It takes more reads to know.
    Unknown,
}

/// A condition: a log has one of these keys.
struct AnyOf {
    postings: Vec<Posting>,
    /// For each that has blocks left: the first of them, or one below it.
    heads: BinaryHeap<Reverse<(u64, usize)>>,
}

impl AnyOf {
    fn new(keys: Vec<LogKey>, first: u64) -> Self {
        let postings: Vec<_> = keys.into_iter().map(Posting::new).collect();
        let heads = (0..postings.len()).map(|index| Reverse((first, index))).collect();
        Self { postings, heads }
    }

    /// The first block at or above `height` with one of the keys.
    fn at_or_above(
        &mut self,
        height: u64,
        base: &Base,
        reads: &mut usize,
    ) -> Result<Met, StateError> {
        while let Some(&Reverse((head, index))) = self.heads.peek() {
            let posting = &mut self.postings[index];
            if head >= height && posting.is_at(head) {
                return Ok(Met::At(head));
            }
            let wanted = height.max(head);
            if posting.must_read(wanted) {
                let Some(left) = reads.checked_sub(1) else { return Ok(Met::Unknown) };
                *reads = left;
                posting.read(wanted, base)?;
            }
            self.heads.pop();
            let found = posting.skip_to(wanted);
            self.heads.extend(found.map(|found| Reverse((found, index))));
        }
        Ok(Met::Never)
    }
}

/// The blocks of one key, a page of them at a time.
struct Posting {
    prefix: Vec<u8>,
    /// In order.
    page: Vec<u64>,
    /// How many of the page were passed.
    passed: usize,
    /// Whether the page ends with the last of the key.
    is_last: bool,
}

impl Posting {
    fn new(key: LogKey) -> Self {
        Self { prefix: key.prefix(), page: Vec::new(), passed: 0, is_last: false }
    }

    fn is_at(&self, height: u64) -> bool {
        self.page.get(self.passed) == Some(&height)
    }

    /// Whether the page does not say what comes at or above `height`.
    fn must_read(&self, height: u64) -> bool {
        !self.is_last && self.page.last().is_none_or(|last| *last < height)
    }

    /// The first of the page at or above `height`.
    fn skip_to(&mut self, height: u64) -> Option<u64> {
        self.passed += self.page[self.passed..].partition_point(|at| *at < height);
        self.page.get(self.passed).copied()
    }

    /// Reads the page that begins at or above `height`.
    fn read(&mut self, height: u64, base: &Base) -> Result<(), StateError> {
        let from = [&self.prefix[..], &height.to_be_bytes()].concat();
        let range = Range { prefix: &self.prefix, from: &from, rows_max: LOG_INDEX_PAGE_ROWS };
        let rows = base.snapshot.scan(Family::LogIndex, range)?;
        self.is_last = rows.len() < LOG_INDEX_PAGE_ROWS;
        self.passed = 0;
        self.page.clear();
        for (key, _) in rows {
            let height = key.get(self.prefix.len()..).and_then(rows::decode_u64);
            let height = height.ok_or_else(|| corrupt(Family::LogIndex, &key, "not a height"))?;
            self.page.push(height);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        recent::Recent,
        store::{Memory, Store, Sync},
    };

    /// A few keys, of all kinds.
    fn key() -> impl Strategy<Value = LogKey> {
        let address = (0..3_u8).prop_map(|last| LogKey::Address(Address::with_last_byte(last)));
        let topic = (0..4_u8, 0..2_u8)
            .prop_map(|(position, last)| LogKey::Topic(position, B256::with_last_byte(last)));
        prop_oneof![Just(LogKey::Any), address, topic]
    }

    proptest! {
        /// Goal: a search finds the blocks that have a key for each condition, and no others, in
        /// order, over keys with many pages and keys with few blocks; after each step, it has found
        /// all that lies below where it says it is.
        /// Method: 300 blocks, each key in every so many of them; against the definition.
        #[test]
        fn finds_what_the_definition_says(
            density in proptest::collection::btree_map(key(), 1..40_u64, 1..8),
            conditions in proptest::collection::vec(proptest::collection::vec(key(), 1..4), 0..4),
            (first, last) in (0..310_u64, 0..310_u64),
        ) {
            let has = |key: &LogKey, height: u64| {
                density.get(key).is_some_and(|every| height % every == every / 2)
            };
            let mut batch = Batch::default();
            for (key, height) in density.keys().flat_map(|key| (0..300).map(move |at| (key, at))) {
                if has(key, height) {
                    let row = [key.prefix(), height.to_be_bytes().to_vec()].concat();
                    batch.put(Family::LogIndex, row, []);
                }
            }
            let store = Memory::new();
            store.write(&batch, Sync::No).expect("memory works");
            let base = Arc::new(Base {
                snapshot: store.snapshot(),
                head: Height::new(299),
                genesis: Height::GENESIS,
                restored: None,
                caches: Arc::default(),
                recent: Recent::default(),
            });
            let expected: Vec<_> = (first..=last.min(299))
                .filter(|&height| match conditions.as_slice() {
                    [] => has(&LogKey::Any, height),
                    all => all.iter().all(|any_of| any_of.iter().any(|key| has(key, height))),
                })
                .map(Height::new)
                .collect();
            let heights = Height::new(first)..=Height::new(last);
            let mut search = LogSearch::new(&base, conditions, heights);
            let mut found = Vec::new();
            loop {
                match search.step().expect("memory works") {
                    LogStep::Block(height) => found.push(height),
                    LogStep::More => {}
                    LogStep::Done => break,
                }
                let is_passed = |height: &&Height| search.reached().is_none_or(|it| **height < it);
                let passed: Vec<_> = expected.iter().filter(is_passed).copied().collect();
                prop_assert_eq!(&found, &passed);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
