//! The threads driver: workers, the reactor, the pools.
//!
//! tokio is only the reactor: one thread that waits for sockets and tokio's timers. Workers enter
//! its context, so that tokio's types can be made and polled in async processes, whose wakers are
//! ours.

use std::{
    io,
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::{
    compute::{BlockingPool, ComputePool},
    limits::WORKERS_MAX,
    reply::{Reply, reply},
    scheduler::{Queues, Scheduler},
    system::{Driver, StartError, System, ThreadsConfig},
};

/// How long the end of a thread that has nothing left to do is waited for at a time.
const JOIN_STEP: Duration = Duration::from_micros(100);

/// The thread that waits for sockets.
pub(crate) struct Reactor {
    handle: Handle,
    /// Dropped to end it.
    end: Mutex<Option<Reply<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reactor {
    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = reply::<()>();
        let thread = thread::Builder::new().name("reactor".to_owned()).spawn(move || {
            // Either way the end of the reply is the end of the reactor.
            let _ended = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, end: Mutex::new(Some(end)), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn shut_down(&self, deadline: Instant) {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(end);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            join_until(thread, deadline);
        }
    }
}

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
                let _context = driver.reactor.handle.enter();
                driver.scheduler.work(index, queues, &system);
            };
            let worker = thread::Builder::new().name(format!("worker-{index}")).spawn(run)?;
            driver.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
        }
        Ok(())
    }
}

/// Joins a thread that is about to end, or leaves it behind at the deadline.
fn join_until(thread: JoinHandle<()>, deadline: Instant) {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return;
        }
        thread::park_timeout(JOIN_STEP);
    }
    let _panicked = thread.join();
}
