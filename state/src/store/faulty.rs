//! A store on a simulated disk, with seeded faults: writes that fail, unsynced batches that are
//! lost by a crash, a last record that is torn.
//!
//! The disk is a log of records with a checksum, as RocksDB's. A crash keeps all that was synced
//! and an arbitrary prefix, to the byte, of what was not; recovery replays whole records. That is
//! exactly what the invariants S1 and S3 allow.

use std::sync::{Arc, Mutex};

use alloy_primitives::keccak256;

use super::{Batch, Family, Memory, Snapshot, Store, Sync};
use crate::error::StoreError;

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Seed of all choices below.
    pub seed: u64,
    /// The write with this number (from 0) fails, and all after it, as on a full disk.
    pub fail_at_write: Option<u64>,
}

/// The simulated disk. See the module.
pub struct Faulty {
    live: Memory,
    disk: Mutex<Disk>,
}

struct Disk {
    log: Vec<u8>,
    synced_bytes: usize,
    writes: u64,
    faults: Faults,
}

impl Faulty {
    /// Makes a store with an empty disk.
    #[must_use]
    pub fn new(faults: Faults) -> Self {
        let disk = Disk { log: Vec::new(), synced_bytes: 0, writes: 0, faults };
        Self { live: Memory::new(), disk: Mutex::new(disk) }
    }

    /// Cuts the power and starts again with what is on the disk and new faults.
    ///
    /// # Panics
    ///
    /// If a synced record does not decode: S1 or S3 is broken by this very file.
    #[must_use]
    pub fn crash(&self, faults: Faults) -> Self {
        let disk = self.disk.lock().expect("no holder panics");
        let unsynced_bytes = disk.log.len() - disk.synced_bytes;
        let choice = mix(faults.seed ^ disk.writes);
        let kept = usize::try_from(choice % (unsynced_bytes as u64 + 1)).expect("at most a usize");
        let mut log = disk.log[..disk.synced_bytes + kept].to_vec();
        let live = Memory::new();
        let mut replayed_bytes = 0;
        while let Some((batch, record_bytes)) = decode(&log[replayed_bytes..]) {
            live.write(&batch, Sync::No).expect("memory does not fail");
            replayed_bytes += record_bytes;
        }
        assert!(replayed_bytes >= disk.synced_bytes);
        log.truncate(replayed_bytes);
        let disk = Disk { synced_bytes: log.len(), log, writes: 0, faults };
        Self { live, disk: Mutex::new(disk) }
    }

    /// Writes since the store was made.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.disk.lock().expect("no holder panics").writes
    }
}

impl Store for Faulty {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.live.snapshot()
    }

    fn write(&self, batch: &Batch, sync: Sync) -> Result<(), StoreError> {
        let mut disk = self.disk.lock().expect("no holder panics");
        let write = disk.writes;
        disk.writes += 1;
        let record = encode(batch);
        if disk.faults.fail_at_write.is_some_and(|at| write >= at) {
            // Any part may have reached the disk: a failed write says nothing.
            let seen = mix(disk.faults.seed.wrapping_add(write)) % (record.len() as u64 + 1);
            let seen = usize::try_from(seen).expect("at most a usize");
            disk.log.extend_from_slice(&record[..seen]);
            return Err(StoreError::Injected { write });
        }
        disk.log.extend_from_slice(&record);
        if sync == Sync::Yes {
            disk.synced_bytes = disk.log.len();
        }
        self.live.write(batch, sync)
    }
}

/// `SplitMix64`: enough to spread a seed over choices.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const CHECKSUM_BYTES: usize = 8;
const PREFIX_BYTES: usize = 4 + CHECKSUM_BYTES;

/// Length, checksum, operations.
fn encode(batch: &Batch) -> Vec<u8> {
    let mut body = Vec::with_capacity(batch.size_bytes() + 10 * batch.len());
    for op in batch.ops() {
        body.push(op.family as u8);
        put_bytes(&mut body, op.key);
        body.push(u8::from(op.value.is_some()));
        put_bytes(&mut body, op.value.unwrap_or_default());
    }
    let mut record = Vec::with_capacity(PREFIX_BYTES + body.len());
    let length = u32::try_from(body.len()).expect("test batches are below 4 GiB");
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(&keccak256(&body)[..CHECKSUM_BYTES]);
    record.extend_from_slice(&body);
    record
}

/// The first record of `log` with its length, or `None` if it is torn.
fn decode(log: &[u8]) -> Option<(Batch, usize)> {
    let (prefix, rest) = log.split_at_checked(PREFIX_BYTES)?;
    let length = u32::from_be_bytes(prefix[..4].try_into().ok()?) as usize;
    let mut body = rest.get(..length)?;
    if keccak256(body)[..CHECKSUM_BYTES] != prefix[4..] {
        return None;
    }
    let mut batch = Batch::default();
    while let Some((&number, rest)) = body.split_first() {
        let family = *Family::ALL.get(usize::from(number))?;
        body = rest;
        let key = take_bytes(&mut body)?.to_vec();
        let (&has_value, rest) = body.split_first()?;
        body = rest;
        let value = take_bytes(&mut body)?;
        if has_value == 1 {
            batch.put(family, key, value);
        } else {
            batch.delete(family, key);
        }
    }
    Some((batch, PREFIX_BYTES + length))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("test rows are below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = input.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    let (bytes, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}
