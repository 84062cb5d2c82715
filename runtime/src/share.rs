//! Fair share within a class, by shrinking quanta.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::limits::{QUANTUM_REDUCTIONS, SHARE_SPLIT_MAX};

/// Fair share within a class: n active processes of one share split one process's quantum, so a
/// client with 64 calls gets as much as a client with one. The floor is 1/64 of a quantum.
#[derive(Clone, Debug, Default)]
pub struct Share(Arc<AtomicU32>);

impl Share {
    /// A share that nobody uses yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Processes of this share that run or want to run.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// What one turn of one of its processes may spend now.
    pub(crate) fn quantum(&self) -> u32 {
        QUANTUM_REDUCTIONS / self.active().clamp(1, SHARE_SPLIT_MAX)
    }

    pub(crate) fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
