//! What the dev methods remember of this process. Others read of it only the base fee that was
//! ordered for the next block (`position::next_base_fee`).

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::B256;
use evenkeel_runtime::{Entropy, System};
use rand_core::RngCore;

use crate::{
    error::RpcError,
    methods::limits::SNAPSHOTS_LISTED_MAX,
    quota::{Quota, Taken},
};

/// State of the dev methods that belongs to the process, not to the chain.
pub struct Flags {
    remembered: Mutex<Remembered>,
    /// State files that are dumped or loaded by a request: one, for each may take 100 MB.
    state_files: Quota,
}

/// Snapshots that end together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Snapshots {
    /// The one of this number, and all later ones.
    From(u64),
    /// Those on blocks above this one.
    Above(u64),
}

struct Remembered {
    entropy: Entropy,
    instance: B256,
    /// A base fee that was ordered, and the head it was ordered on.
    base_fee: Option<(u64, u64)>,
    /// Number and hash of the head, by the snapshot's number.
    snapshots: BTreeMap<u64, (u64, B256)>,
}

impl Flags {
    /// Flags of a process that has just started.
    pub fn new(system: &System) -> Self {
        let entropy = system.entropy("rpc instance");
        let mut remembered = Remembered {
            entropy,
            instance: B256::ZERO,
            base_fee: None,
            snapshots: BTreeMap::new(),
        };
        remembered.renew_instance();
        Self { remembered: Mutex::new(remembered), state_files: Quota::new(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to dump or load a state file.
    ///
    /// # Errors
    ///
    /// -32005 if another request does.
    pub(crate) fn take_state_file(&self) -> Result<Taken, RpcError> {
        let busy = "another request dumps or loads a state file; try again when it is answered";
        self.state_files.take(1).ok_or_else(|| RpcError::limit(busy))
    }

    /// Identifies this run of the node in `anvil_metadata`, from its start or its last reset on.
    pub(crate) fn instance(&self) -> B256 {
        self.lock().instance
    }

    /// The chain began anew.
    pub(crate) fn renew_instance(&self) {
        self.lock().renew_instance();
    }

    /// Remembers the base fee ordered for the block after `head`, in wei.
    pub(crate) fn set_base_fee_after(&self, head: u64, wei: u64) {
        self.lock().base_fee = Some((head, wei));
    }

    /// The chain went back, and with it what was ordered for the next block.
    pub(crate) fn forget_base_fee(&self) {
        self.lock().base_fee = None;
    }

    /// The base fee ordered for the block after `head`.
    pub(crate) fn base_fee_after(&self, head: u64) -> Option<u64> {
        self.lock().base_fee.filter(|(on, _)| *on == head).map(|(_, wei)| wei)
    }

    /// A snapshot was taken on the block with this number and hash.
    pub(crate) fn add_snapshot(&self, id: u64, number: u64, hash: B256) {
        let mut remembered = self.lock();
        if remembered.snapshots.len() == SNAPSHOTS_LISTED_MAX {
            remembered.snapshots.pop_first();
        }
        remembered.snapshots.insert(id, (number, hash));
    }

    /// The chain went back, and with it these.
    pub(crate) fn forget_snapshots(&self, which: Snapshots) {
        let snapshots = &mut self.lock().snapshots;
        match which {
            Snapshots::From(id) => drop(snapshots.split_off(&id)),
            Snapshots::Above(number) => snapshots.retain(|_, (on, _)| *on <= number),
        }
    }

    /// Number and hash of the head by the snapshot's number in hex.
    pub(crate) fn snapshots(&self) -> BTreeMap<String, (u64, B256)> {
        self.lock().snapshots.iter().map(|(id, head)| (format!("{id:#x}"), *head)).collect()
    }
}

impl Remembered {
    fn renew_instance(&mut self) {
        self.entropy.fill_bytes(self.instance.as_mut_slice());
    }
}
