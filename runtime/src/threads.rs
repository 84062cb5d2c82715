//! The threads driver: workers, the reactor, the pools.
//!
//! tokio is only the reactor: one thread that waits for sockets and tokio's timers. Workers enter
//! its context, so that tokio's types can be made and polled in async processes, whose wakers are
//! ours.

#[cfg_attr(evenkeel_shuttle, path = "threads/no_reactor.rs")]
mod reactor;

use std::{io, sync::PoisonError, time::Duration};

use self::reactor::Reactor;
use crate::{
    compute::{BlockingPool, ComputePool},
    limits::WORKERS_MAX,
    scheduler::{Queues, Scheduler},
    sync::coarse::{Builder, Instant, JoinHandle, Mutex, is_finished, park_timeout},
    system::{Driver, StartError, System, ThreadsConfig},
};

/// How long the end of a thread that has nothing left to do is waited for at a time.
const JOIN_STEP: Duration = Duration::from_micros(100);

/// All threads of one system.
pub(crate) struct ThreadsDriver {
    pub(crate) scheduler: Scheduler,
    pub(crate) reactor: Reactor,
    pub(crate) compute: ComputePool,
    pub(crate) blocking: BlockingPool,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// What is left to start once the system exists that the workers hold.
pub(crate) struct Starting(Vec<Queues>);

impl ThreadsDriver {
    pub(crate) fn new(config: ThreadsConfig) -> Result<(Self, Starting), StartError> {
        if !(1..=WORKERS_MAX).contains(&config.workers) {
            return Err(StartError::Workers(config.workers));
        }
        let (scheduler, queues) = Scheduler::new(config.workers);
        let driver = Self {
            scheduler,
            reactor: Reactor::start().map_err(StartError::Reactor)?,
            compute: ComputePool::new(config.compute_threads)?,
            blocking: BlockingPool::new(config.blocking_threads).map_err(StartError::Thread)?,
            workers: Mutex::new(Vec::with_capacity(config.workers)),
        };
        Ok((driver, Starting(queues)))
    }

    /// Joins workers that have ended.
    pub(crate) fn join_workers(&self) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for worker in workers.drain(..) {
            // A worker that panicked has said so on stderr; there is nothing else to do with it.
            let _panicked = worker.join();
        }
    }

    /// Ends reactor and blocking pool.
    pub(crate) fn shut_down(&self, deadline: Instant) {
        #[cfg(evenkeel_shuttle)]
        for thread in self.compute.close() {
            join_until(thread, deadline);
        }
        self.blocking.close();
        for thread in self.blocking.take_threads() {
            join_until(thread, deadline);
        }
        self.reactor.shut_down(deadline);
    }
}

impl Starting {
    pub(crate) fn start(self, system: &System) -> io::Result<()> {
        let Driver::Threads(driver) = &system.core().driver else {
            return Ok(());
        };
        for (index, queues) in self.0.into_iter().enumerate() {
            let system = system.clone();
            let run = move || {
                let Driver::Threads(driver) = &system.core().driver else {
                    return;
                };
                let _context = driver.reactor.enter();
                driver.scheduler.work(index, queues, &system);
            };
            let worker = Builder::new().name(format!("worker-{index}")).spawn(run)?;
            driver.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
        Ok(())
    }
}

/// Joins a thread that is about to end, or leaves it behind at the deadline.
fn join_until(thread: JoinHandle<()>, deadline: Instant) {
    while !is_finished(&thread) {
        if Instant::now() >= deadline {
            return;
        }
        park_timeout(JOIN_STEP);
    }
    let _panicked = thread.join();
}
