//! What the dev methods remember of this process, and nothing else reads.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use alloy_primitives::B256;
use evenkeel_runtime::System;
use rand_core::RngCore;

/// State of the dev methods that belongs to the process, not to the chain.
pub struct Flags {
    /// Identifies this run of the node in `anvil_metadata`.
    pub instance: B256,
    is_logging: AtomicBool,
    /// A base fee that was ordered, and the head it was ordered on.
    base_fee: Mutex<Option<(u64, u64)>>,
}

impl Flags {
    /// Flags of a process that has just started.
    pub fn new(system: &System) -> Self {
        let mut instance = B256::ZERO;
        system.entropy("rpc instance").fill_bytes(instance.as_mut_slice());
        Self { instance, is_logging: AtomicBool::new(true), base_fee: Mutex::new(None) }
    }

    /// Whether requests are to be logged.
    pub fn is_logging(&self) -> bool {
        self.is_logging.load(Ordering::Relaxed)
    }

    /// Switches the logging of requests.
    pub fn set_logging(&self, is_logging: bool) {
        self.is_logging.store(is_logging, Ordering::Relaxed);
    }

    /// Remembers the base fee ordered for the block after `head`, in wei.
    pub(crate) fn set_base_fee_after(&self, head: u64, wei: u64) {
        *self.base_fee.lock().unwrap_or_else(PoisonError::into_inner) = Some((head, wei));
    }

    /// The chain went back, and with it what was ordered for the next block.
    pub(crate) fn forget_base_fee(&self) {
        *self.base_fee.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The base fee ordered for the block after `head`.
    pub(crate) fn base_fee_after(&self, head: u64) -> Option<u64> {
        let ordered = *self.base_fee.lock().unwrap_or_else(PoisonError::into_inner);
        ordered.filter(|(on, _)| *on == head).map(|(_, wei)| wei)
    }
}
