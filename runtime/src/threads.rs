//! The threads driver: workers, pools and the reactor of one real system.
//!
//! tokio is only the reactor: one thread that waits for sockets and wakes futures, which run on the
//! workers. Workers have its handle entered, so tokio's types can be made and polled there.

use std::{
    io,
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    compute::{BlockingPool, ComputePool},
    limits::WORKERS_MAX,
    reply::{Reply, reply},
    scheduler::Scheduler,
    system::{StartError, System, ThreadsConfig},
};

/// Everything a system on threads runs on.
pub(crate) struct ThreadsDriver {
    pub(crate) scheduler: Scheduler,
    pub(crate) compute: ComputePool,
    pub(crate) blocking: BlockingPool,
    pub(crate) reactor: Reactor,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// The workers of a driver whose system is not made yet.
pub(crate) struct Starting(Vec<crate::scheduler::Queues>);

impl ThreadsDriver {
    pub(crate) fn new(config: ThreadsConfig) -> Result<(Self, Starting), StartError> {
        if !(1..=WORKERS_MAX).contains(&config.workers) {
            return Err(StartError::Workers(config.workers));
        }
        let (scheduler, queues) = Scheduler::new(config.workers);
        let driver = Self {
            scheduler,
            compute: ComputePool::new(config.compute_threads)?,
            blocking: BlockingPool::new(config.blocking_threads).map_err(StartError::Thread)?,
            reactor: Reactor::new().map_err(StartError::Reactor)?,
            workers: Mutex::new(Vec::with_capacity(config.workers)),
        };
        Ok((driver, Starting(queues)))
    }

    /// Joins the workers, all of which have ended.
    pub(crate) fn join_workers(&self) {
        let workers = std::mem::take(&mut *lock(&self.workers));
        for worker in workers {
            join(worker);
        }
    }

    /// Ends pools and reactor. Threads that do not end by `deadline` are left behind.
    pub(crate) fn shut_down(&self, deadline: Instant) {
        for thread in self.blocking.take_threads() {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::yield_now();
                thread::park_timeout(Duration::from_micros(200));
            }
            if thread.is_finished() {
                join(thread);
            }
        }
        self.reactor.shut_down();
    }
}

impl Starting {
    /// Starts the workers, which hold `system` until it stops.
    pub(crate) fn start(self, system: &System) -> io::Result<()> {
        for (index, queues) in self.0.into_iter().enumerate() {
            let own = system.clone();
            let run = move || {
                let handle = own.reactor().expect("a system on threads has a reactor");
                let _entered = handle.enter();
                own.scheduler().expect("a system on threads has one").work(index, queues, &own);
            };
            let worker = thread::Builder::new().name(format!("worker-{index}")).spawn(run)?;
            lock(&system.threads_driver().workers).push(worker);
        }
        Ok(())
    }
}

/// One thread that waits for sockets, signals and tokio's timers.
pub(crate) struct Reactor {
    handle: tokio::runtime::Handle,
    running: Mutex<Option<(Reply<()>, JoinHandle<()>)>>,
}

impl Reactor {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ending, end) = reply();
        let run = move || {
            // Lost means that the driver is gone, which ends the reactor too.
            let _ended = runtime.block_on(end);
        };
        let thread = thread::Builder::new().name("reactor".to_owned()).spawn(run)?;
        Ok(Self { handle, running: Mutex::new(Some((ending, thread))) })
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.handle.clone()
    }

    fn shut_down(&self) {
        let running = lock(&self.running).take();
        if let Some((ending, thread)) = running {
            ending.send(());
            join(thread);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the runtime panicked");
    }
}
