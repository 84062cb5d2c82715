//! How a system comes to its end, and who is told.

use std::{
    mem,
    sync::{PoisonError, atomic::Ordering},
};

use crate::{
    reply::{Answer, Reply, reply},
    status::StopReason,
    sync::coarse::{AtomicBool, Mutex, MutexGuard},
};

#[derive(Default)]
struct Stop {
    reason: Option<StopReason>,
    waiting: Vec<Reply<StopReason>>,
}

/// Set once: why the system stops.
#[derive(Default)]
pub(crate) struct StopSignal {
    stop: Mutex<Stop>,
    is_set: AtomicBool,
}

impl StopSignal {
    fn lock(&self) -> MutexGuard<'_, Stop> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// The first reason stands.
    pub(crate) fn set(&self, reason: &StopReason) {
        let mut stop = self.lock();
        if stop.reason.is_some() {
            return;
        }
        stop.reason = Some(reason.clone());
        self.is_set.store(true, Ordering::Release);
        let waiting = mem::take(&mut stop.waiting);
        drop(stop);
        for reply in waiting {
            reply.send(reason.clone());
        }
    }

    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.lock().reason.clone()
    }

    pub(crate) fn answer(&self) -> Answer<StopReason> {
        let (telling, answer) = reply();
        let mut stop = self.lock();
        if let Some(reason) = stop.reason.clone() {
            drop(stop);
            telling.send(reason);
        } else {
            stop.waiting.push(telling);
        }
        answer
    }
}
