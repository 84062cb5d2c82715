//! Sorts more values than fit in memory: sorted runs in the store, merged as they are read.
//!
//! Values of one key keep the order in which they came. Memory: a run while it sorts, a piece of
//! each run while it merges. What is read is deleted from the store.

use std::{cmp::Reverse, collections::BinaryHeap, mem};

use crate::{
    error::StoreError,
    limits::SORT_PIECE_BYTES,
    rows,
    store::{Batch, Family, Store, Sync},
};

/// Pieces that are deleted in one batch.
const DELETED_AT_ONCE: usize = 256;
/// Bytes that say how long a key is; as many of its value.
const LENGTH_BYTES: usize = 2;

/// A key with its value, neither above 64 KiB.
pub(super) type Entry = (Vec<u8>, Vec<u8>);

/// Takes values in any order.
pub(super) struct Sorter<'a> {
    store: &'a dyn Store,
    run_bytes: usize,
    runs: u32,
    /// The run at hand: lengths, key and value of each entry.
    bytes: Vec<u8>,
    /// Where they begin.
    starts: Vec<usize>,
}

impl<'a> Sorter<'a> {
    /// Nothing may be in [`Family::Sorting`] yet.
    pub(super) fn new(store: &'a dyn Store, run_bytes: usize) -> Self {
        Self { store, run_bytes, runs: 0, bytes: Vec::new(), starts: Vec::new() }
    }

    /// Takes a value. O(log n), now and then a run is written.
    pub(super) fn push(&mut self, key: &[u8], value: &[&[u8]]) -> Result<(), StoreError> {
        let length = |bytes: usize| u16::try_from(bytes).expect("entries are short").to_be_bytes();
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(&length(key.len()));
        self.bytes.extend_from_slice(&length(value.iter().map(|part| part.len()).sum()));
        for part in [key].iter().chain(value) {
            self.bytes.extend_from_slice(part);
        }
        if self.bytes.len() < self.run_bytes { Ok(()) } else { self.write_run() }
    }

    fn write_run(&mut self) -> Result<(), StoreError> {
        let Self { bytes, starts, .. } = self;
        // Stable: of one key the first stays first.
        starts.sort_by_key(|&start| entry(&bytes[start..]).expect("it was pushed").0);
        let mut batch = Batch::default();
        let (mut piece, mut pieces) = (Vec::with_capacity(2 * SORT_PIECE_BYTES), 0);
        let mut put = |piece: &mut Vec<u8>| {
            batch.put(Family::Sorting, rows::encode_pair(self.runs.into(), pieces), &piece);
            pieces += 1;
            piece.clear();
        };
        for &start in starts.iter() {
            let (key, value, _) = entry(&bytes[start..]).expect("it was pushed");
            let end = start + 2 * LENGTH_BYTES + key.len() + value.len();
            piece.extend_from_slice(&bytes[start..end]);
            if piece.len() >= SORT_PIECE_BYTES {
                put(&mut piece);
            }
        }
        put(&mut piece);
        bytes.clear();
        starts.clear();
        self.runs += 1;
        self.store.write(&batch, Sync::No)
    }

    /// Ends the taking.
    pub(super) fn finish(mut self) -> Result<Sorted<'a>, StoreError> {
        self.write_run()?;
        let mut sorted = Sorted {
            store: self.store,
            runs: (0..self.runs).map(|_| Run::default()).collect(),
            first: BinaryHeap::new(),
            read: Batch::default(),
        };
        for number in 0..self.runs {
            sorted.advance(number)?;
        }
        Ok(sorted)
    }
}

/// The first entry of `bytes` as key and value, and what follows it.
fn entry(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    let (value, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
    let (key, rest) = rest.split_at_checked(u16::from_be_bytes(*key).into())?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*value).into())?;
    Some((key, value, rest))
}

/// Gives the values in the order of their keys.
pub(super) struct Sorted<'a> {
    store: &'a dyn Store,
    runs: Vec<Run>,
    /// The first entry of each run that has one, by key, then run, which is the order of arrival.
    first: BinaryHeap<Reverse<First>>,
    /// Deletes what was read.
    read: Batch,
}

/// Key, number of the run, value.
type First = (Vec<u8>, u32, Vec<u8>);

/// Where the reading of a run stands.
#[derive(Default)]
struct Run {
    next_piece: u64,
    /// The piece at hand, and how much of it was read.
    piece: Vec<u8>,
    read_bytes: usize,
}

impl Sorted<'_> {
    /// The next value with its key.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        let Some(Reverse((key, run, value))) = self.first.pop() else {
            self.store.write(&mem::take(&mut self.read), Sync::No)?;
            return Ok(None);
        };
        self.advance(run)?;
        Ok(Some((key, value)))
    }

    fn advance(&mut self, number: u32) -> Result<(), StoreError> {
        let run = &mut self.runs[number as usize];
        if run.read_bytes == run.piece.len() {
            let key = rows::encode_pair(number.into(), run.next_piece);
            // Not one snapshot for all: it would keep what is deleted.
            let piece = self.store.snapshot().get(Family::Sorting, &key)?;
            let Some(piece) = piece else { return Ok(()) };
            (run.piece, run.read_bytes) = (piece, 0);
            run.next_piece += 1;
            self.read.delete(Family::Sorting, key);
        }
        if let Some((key, value, rest)) = entry(&run.piece[run.read_bytes..]) {
            run.read_bytes = run.piece.len() - rest.len();
            self.first.push(Reverse((key.to_vec(), number, value.to_vec())));
        }
        if self.read.len() >= DELETED_AT_ONCE {
            self.store.write(&mem::take(&mut self.read), Sync::No)?;
        }
        Ok(())
    }
}
