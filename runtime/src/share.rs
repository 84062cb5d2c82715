//! Fair share within a class, by shrinking quanta; and of the compute pool, by one job at a time.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use crate::{
    compute::{Job, Wish, run_fenced},
    limits::{QUANTUM_REDUCTIONS, SHARE_JOBS_MAX, SHARE_SPLIT_MAX, SHARE_WEIGHT_ONE},
    sync::coarse::{AtomicU32, Mutex, MutexGuard},
};

/// Fair share within a class: n active processes of one share split one process's quantum, so a
/// client with 64 calls gets as much as a client with one. The floor is 1/64 of a quantum.
///
/// Compute jobs of one share run one after the other, first come, first served.
#[derive(Clone, Debug, Default)]
pub struct Share {
    shared: Arc<Shared>,
    /// What the processes of this part of the share get beside the others; `None`: the same.
    part: Option<Weight>,
}

#[derive(Default)]
struct Shared {
    active: AtomicU32,
    weight: Weight,
    jobs: Mutex<Jobs>,
}

/// A weight that may be set while it counts; 1 at first. Clones are the same weight.
#[derive(Clone, Debug)]
pub struct Weight(Arc<AtomicU32>);

impl Default for Weight {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(SHARE_WEIGHT_ONE)))
    }
}

impl Weight {
    /// The weight in 64ths.
    #[must_use]
    pub fn in_64ths(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets it in 64ths, from the next turns on.
    ///
    /// # Panics
    ///
    /// If the weight is not between 1 and [`SHARE_WEIGHT_MAX`](crate::limits::SHARE_WEIGHT_MAX).
    pub fn set_in_64ths(&self, weight: u32) {
        assert!((1..=crate::limits::SHARE_WEIGHT_MAX).contains(&weight), "no weight: {weight}");
        self.0.store(weight, Ordering::Relaxed);
    }
}

/// The share's compute jobs.
#[derive(Default)]
struct Jobs {
    is_running: bool,
    waiting: VecDeque<(Job, Wish)>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("active", &self.active).finish_non_exhaustive()
    }
}

impl Share {
    /// A share that nobody uses yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Processes of this share that run or want to run.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// The same share for processes that get `weight` times what its others get, within the same
    /// bounds. They are counted with the others: what a lighter one leaves goes to all shares.
    #[must_use]
    pub fn part(&self, weight: &Weight) -> Self {
        Self { shared: Arc::clone(&self.shared), part: Some(weight.clone()) }
    }

    /// True if there is another handle to it: a process of it lives, or somebody may start one.
    #[must_use]
    pub fn is_held_elsewhere(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// What one turn of one of its processes may spend now.
    pub(crate) fn quantum(&self) -> u32 {
        let active = self.active().clamp(1, SHARE_SPLIT_MAX);
        let part = self.part.as_ref().map_or(SHARE_WEIGHT_ONE, Weight::in_64ths);
        let weight = u64::from(self.weight_64ths()) * u64::from(part);
        let whole = u64::from(QUANTUM_REDUCTIONS) * weight / u64::from(SHARE_WEIGHT_ONE).pow(2);
        u32::try_from(whole / u64::from(active))
            .unwrap_or(QUANTUM_REDUCTIONS)
            .clamp(QUANTUM_REDUCTIONS / SHARE_SPLIT_MAX, QUANTUM_REDUCTIONS)
    }

    /// Its weight against other shares, in 64ths; 64 unless somebody has set it.
    #[must_use]
    pub fn weight_64ths(&self) -> u32 {
        self.shared.weight.in_64ths()
    }

    /// Scales what its processes get: together `weight / 64` of a quantum per round, but each no
    /// more than one quantum and no less than 1/64 of it. So a weight above 64 counts as far as the
    /// share has processes to use it, and no turn gets longer. From the next turns on.
    ///
    /// # Panics
    ///
    /// As [`Weight::set_in_64ths`].
    pub fn set_weight_64ths(&self, weight: u32) {
        self.shared.weight.set_in_64ths(weight);
    }

    pub(crate) fn enter(&self) {
        self.shared.active.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.shared.active.fetch_sub(1, Ordering::Relaxed);
    }

    /// Queues a job; gives it back if it is to start now. Gives the number of waiting jobs if there
    /// are too many.
    pub(crate) fn queue_job(&self, job: Job, wish: Wish) -> Result<Option<Job>, usize> {
        self.drop_cancelled();
        let mut jobs = self.jobs();
        if !jobs.is_running {
            jobs.is_running = true;
            return Ok(Some(job));
        }
        if jobs.waiting.len() >= SHARE_JOBS_MAX {
            return Err(jobs.waiting.len());
        }
        jobs.waiting.push_back((job, wish));
        Ok(None)
    }

    /// The job to start after one has ended, if any.
    pub(crate) fn next_job(&self) -> Option<Job> {
        let mut jobs = self.jobs();
        let next = jobs.waiting.pop_front().map(|(job, _)| job);
        jobs.is_running = next.is_some();
        next
    }

    /// Ends the waiting jobs that nobody wants any more, with what they hold.
    fn drop_cancelled(&self) {
        let mut cancelled = Vec::new();
        {
            let mut jobs = self.jobs();
            if !jobs.waiting.iter().any(|(_, wish)| wish.is_cancelled()) {
                return;
            }
            for (job, wish) in std::mem::take(&mut jobs.waiting) {
                if wish.is_cancelled() {
                    cancelled.push(job);
                } else {
                    jobs.waiting.push_back((job, wish));
                }
            }
        }
        // A cancelled job only says so; outside the lock, since it says it to an actor, and behind
        // a fence, since what it says is that actor's.
        for job in cancelled {
            run_fenced(job);
        }
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Jobs are only moved under the lock.
        self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
