//! A place where a parked actor finds what it waited for.

use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_runtime::Completion;

/// Reader's end; empty if the helper died.
pub(super) struct Slot<T>(Arc<Mutex<Option<T>>>);

/// Writer's end; filling or dropping it lets the actor resume.
pub(super) struct Fill<T> {
    slot: Arc<Mutex<Option<T>>>,
    completion: Completion,
}

pub(super) fn slot<T>(completion: Completion) -> (Slot<T>, Fill<T>) {
    let slot = Arc::new(Mutex::new(None));
    (Slot(Arc::clone(&slot)), Fill { slot, completion })
}

impl<T> Slot<T> {
    pub(super) fn take(self) -> Option<T> {
        // Nobody panics while holding the lock: both ends only move a value.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Fill<T> {
    pub(super) fn fill(self, value: T) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.completion.complete();
    }
}
