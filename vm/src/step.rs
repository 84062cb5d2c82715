//! What every resumable run answers to a slice.

use crate::heavy::HeavyCall;

/// How far a run came in one slice.
#[derive(Debug)]
pub enum Step<T> {
    /// It goes on; this much fuel was used, in gas.
    More {
        /// Fuel used.
        used: u64,
    },
    /// Run this elsewhere and `provide` its result, then go on.
    Offload(HeavyCall),
    /// It is over.
    Done(T),
}
