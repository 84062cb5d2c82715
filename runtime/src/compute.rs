//! Pools for what cannot be cut into slices: a compute pool and a blocking pool.
//!
//! Results come back as messages. Compute threads are niced, so that the kernel prefers the
//! workers; blocking threads are not: they carry the disk and a block's own precompiles.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use crate::{
    cell::said_by,
    limits::{BLOCKING_JOBS_MAX, COMPUTE_JOBS_MAX, GIVE_WAY_MAX, GIVE_WAY_STEP},
    scheduler::Scheduler,
    sync::coarse::{
        AtomicBool, AtomicUsize, Builder, Condvar, JoinHandle, Mutex, MutexGuard, park_timeout,
    },
    system::System,
};

/// Why a job gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Panicked {
    /// The job panicked with this text.
    #[error("the job panicked: {0}")]
    Panic(String),
    /// The job was cancelled before it began.
    #[error("the job was cancelled")]
    Cancelled,
    /// The pool holds as many jobs as it may.
    #[error("the pool already holds {0} jobs")]
    Full(usize),
}

/// What a running job sees of the system.
#[derive(Clone, Debug)]
pub struct Yielder {
    is_cancelled: Arc<AtomicBool>,
    /// Whose urgent actors the job gives way to; `None` on the blocking pool, which carries them.
    system: Option<System>,
}

impl Yielder {
    pub(crate) fn new(system: Option<System>) -> Self {
        Self { is_cancelled: Arc::new(AtomicBool::new(false)), system }
    }

    /// True if nobody wants the result any more. Jobs ask at least once a millisecond.
    ///
    /// This is also where a job of the compute pool gives its core back: while actors of class
    /// [`Net`](crate::Class::Net) or higher are queued behind busy workers it sleeps here, for
    /// [`GIVE_WAY_MAX`] at most, so that it still moves on a machine that is always busy.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        // What is cancelled goes at once: it may be a worker that ends it.
        if self.is_cancelled.load(Ordering::Relaxed) {
            return true;
        }
        if let Some(scheduler) = self.system.as_ref().and_then(System::scheduler) {
            give_way(scheduler);
        }
        self.is_cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn wish(&self) -> Wish {
        Wish(Arc::clone(&self.is_cancelled))
    }
}

/// Sleeps while actors above the pools' own class wait for a worker.
fn give_way(scheduler: &Scheduler) {
    let mut slept = Duration::ZERO;
    while slept < GIVE_WAY_MAX && scheduler.has_urgent() {
        park_timeout(GIVE_WAY_STEP);
        slept += GIVE_WAY_STEP;
    }
}

/// Whether anybody still wants what a job gives.
#[derive(Debug)]
pub(crate) struct Wish(Arc<AtomicBool>);

impl Wish {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A job that was started. Dropping it cancels the job: with whoever wanted it goes what runs for
/// it.
///
/// A job that was asked to stop still gives its message: what it returned when it saw
/// [`Yielder::should_stop`], or [`Panicked::Cancelled`] if it had not begun.
#[derive(Debug)]
#[must_use = "dropping it cancels the job; `detach` lets it run to its end"]
pub struct JobHandle(Option<Wish>);

impl JobHandle {
    pub(crate) const fn new(wish: Wish) -> Self {
        Self(Some(wish))
    }

    /// Asks the job to stop, as dropping this does.
    pub fn cancel(self) {
        drop(self);
    }

    /// Lets the job run to its end, whatever becomes of who started it.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        if let Some(Wish(is_cancelled)) = &self.0 {
            is_cancelled.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs a job behind the panic fence.
pub(crate) fn guarded<T>(
    yielder: &Yielder,
    job: impl FnOnce(&Yielder) -> T,
) -> Result<T, Panicked> {
    if yielder.should_stop() {
        return Err(Panicked::Cancelled);
    }
    catch_unwind(AssertUnwindSafe(|| job(yielder)))
        .map_err(|payload| Panicked::Panic(said_by(payload)))
}

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Runs a job whose own fence is inside it; what is left is code that hands over the result.
pub(crate) fn run_fenced(job: Job) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
        tracing::error!(reason = said_by(payload), "a job panicked while it gave its result");
    }
}

#[cfg(not(evenkeel_shuttle))]
fn be_nice() {
    // On Linux niceness belongs to the thread. Refused in some sandboxes; nothing depends on it.
    if let Err(error) = rustix::process::nice(crate::limits::POOL_NICE) {
        tracing::debug!(%error, "a pool thread keeps its priority");
    }
}

/// The pool of threads for computation; jobs may use rayon inside.
pub(crate) struct ComputePool {
    #[cfg(not(evenkeel_shuttle))]
    pool: rayon::ThreadPool,
    /// rayon's threads are none that shuttle could draw.
    #[cfg(evenkeel_shuttle)]
    pool: BlockingPool,
    jobs: Arc<AtomicUsize>,
    /// First in, first out. rayon alone would run what a job starts before what waited longer.
    waiting: Arc<Mutex<VecDeque<Job>>>,
}

impl ComputePool {
    pub(crate) fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        #[cfg(evenkeel_shuttle)]
        let pool = BlockingPool::new(threads).expect("a model starts every thread");
        #[cfg(not(evenkeel_shuttle))]
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|index| format!("compute-{index}"))
            .start_handler(|_| be_nice())
            .build()?;
        Ok(Self { pool, jobs: Arc::default(), waiting: Arc::default() })
    }

    /// Starts a job, or gives it back with the number of jobs if there are too many.
    pub(crate) fn start(&self, job: Job) -> Result<(), usize> {
        let jobs = self.jobs.load(Ordering::Relaxed);
        if jobs >= COMPUTE_JOBS_MAX {
            return Err(jobs);
        }
        self.start_always(job);
        Ok(())
    }

    /// rayon's threads end with their pool; those that stand for them are told.
    #[cfg(evenkeel_shuttle)]
    pub(crate) fn close(&self) -> Vec<JoinHandle<()>> {
        self.pool.close();
        self.pool.take_threads()
    }

    /// Starts a job however many there are; for those that are bounded otherwise.
    pub(crate) fn start_always(&self, job: Job) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).push_back(job);
        let (count, waiting) = (Arc::clone(&self.jobs), Arc::clone(&self.waiting));
        let next = move || {
            let job = lock(&waiting).pop_front();
            run_fenced(job.expect("one was put in for each of these"));
            count.fetch_sub(1, Ordering::Relaxed);
        };
        #[cfg(not(evenkeel_shuttle))]
        self.pool.spawn(next);
        #[cfg(evenkeel_shuttle)]
        self.pool.start(Box::new(next)).expect("a model has few jobs");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Jobs are only moved under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Jobs {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

struct JobQueue {
    jobs: Mutex<Jobs>,
    is_changed: Condvar,
}

impl JobQueue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Nothing of the user's runs under the lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs jobs until the queue is closed and empty.
    fn work(&self) {
        let mut jobs = self.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                drop(jobs);
                run_fenced(job);
                jobs = self.lock();
            } else if jobs.is_closed {
                return;
            } else {
                jobs = self.is_changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// A few threads for calls that block in the kernel.
pub(crate) struct BlockingPool {
    queue: Arc<JobQueue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl BlockingPool {
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let jobs = Mutex::new(Jobs { waiting: VecDeque::new(), is_closed: false });
        let queue = Arc::new(JobQueue { jobs, is_changed: Condvar::new() });
        let started = (0..threads.max(1)).map(|index| {
            let queue = Arc::clone(&queue);
            Builder::new().name(format!("blocking-{index}")).spawn(move || {
                queue.work();
            })
        });
        let threads = Mutex::new(started.collect::<io::Result<_>>()?);
        Ok(Self { queue, threads })
    }

    /// Queues a job, or gives the number of waiting jobs if there are too many.
    pub(crate) fn start(&self, job: Job) -> Result<(), usize> {
        let mut jobs = self.queue.lock();
        if jobs.is_closed || jobs.waiting.len() >= BLOCKING_JOBS_MAX {
            return Err(jobs.waiting.len());
        }
        jobs.waiting.push_back(job);
        drop(jobs);
        self.queue.is_changed.notify_one();
        Ok(())
    }

    /// Takes no more jobs; what waits is still done.
    pub(crate) fn close(&self) {
        self.queue.lock().is_closed = true;
        self.queue.is_changed.notify_all();
    }

    pub(crate) fn take_threads(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
