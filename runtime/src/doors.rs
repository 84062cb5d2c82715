//! The doors of a system: clock, entropy, and the pools for what cannot be sliced.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    budget,
    compute::{Job, JobHandle, Panicked, Yielder, guarded, run_fenced},
    entropy::Entropy,
    reply::reply,
    share::Share,
    single::Single,
    system::{Driver, System},
    time::Time,
    timers::TimerId,
};

impl System {
    /// Time since the system started; virtual when simulated.
    #[must_use]
    pub fn now(&self) -> Time {
        match self.core().driver {
            Driver::Threads(_) | Driver::Inline(_) => self.core().clock.now(),
            Driver::Simulated(_) => self.core().clock.now() + budget::elapsed_virtual(),
        }
    }

    /// Time since the Unix epoch; virtual when simulated.
    #[must_use]
    pub fn wall_clock(&self) -> Duration {
        self.core().clock.wall_clock()
    }

    /// The stream called `label`, from its beginning: derived from the system's seed.
    #[must_use]
    pub fn entropy(&self, label: &str) -> Entropy {
        self.core().seed.stream(label, 0)
    }

    pub(crate) fn actor_entropy(&self, id: u64) -> Entropy {
        self.core().seed.stream("actor", id)
    }

    /// Sleeps until `at`; virtual when simulated.
    pub async fn sleep_until(&self, at: Time) {
        struct Cancel<'a>(&'a System, TimerId);
        impl Drop for Cancel<'_> {
            fn drop(&mut self) {
                self.0.cancel_timer(self.1);
            }
        }
        if at <= self.now() {
            return;
        }
        let (telling, answer) = reply();
        let _cancel = Cancel(self, self.set_timer(at, Box::new(move || telling.send(()))));
        // Lost only when the system stops, and then this process with it.
        let _fired = answer.await;
    }

    /// Sleeps for `duration`; virtual when simulated.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Runs `job` on the compute pool. Dropping the future cancels the job.
    ///
    /// # Errors
    ///
    /// [`Panicked`] if the job panicked or was not run.
    pub async fn compute_async<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Yielder) -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (telling, answer) = reply();
        let _cancels = self.start_compute(None, job, move |result| telling.send(result));
        answer.await.unwrap_or(Err(Panicked::Cancelled))
    }

    /// Runs `job` on the blocking pool.
    ///
    /// # Errors
    ///
    /// [`Panicked`] if the job panicked or was not run.
    pub async fn blocking_async<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (telling, answer) = reply();
        self.start_blocking(job, move |result| telling.send(result));
        answer.await.unwrap_or(Err(Panicked::Cancelled))
    }

    /// Runs `job` on the blocking pool, where nobody waits for it; one that is refused, because
    /// there are too many or the system stops, is dropped before this returns.
    pub fn blocking_detached(&self, job: impl FnOnce() + Send + 'static) {
        self.start_blocking(job, drop);
    }

    pub(crate) fn start_compute<T: Send + 'static>(
        &self,
        share: Option<&Share>,
        job: impl FnOnce(&Yielder) -> T + Send + 'static,
        done: impl FnOnce(Result<T, Panicked>) + Send + 'static,
    ) -> JobHandle {
        let yielder = Yielder::new(Some(self.clone()));
        let handle = JobHandle::new(yielder.wish());
        let wish = yielder.wish();
        let run = move |refused: Option<Panicked>| match refused {
            None => done(guarded(&yielder, job)),
            Some(refused) => done(Err(refused)),
        };
        match (share, &self.core().driver) {
            (Some(share), _) => offer(run, |job| {
                if let Some(first) = share.queue_job(job, wish)? {
                    self.start_in_share(share.clone(), first);
                }
                Ok(())
            }),
            (None, Driver::Threads(driver)) => offer(run, |job| driver.compute.start(job)),
            (None, Driver::Simulated(_) | Driver::Inline(_)) => self.start_between_turns(run),
        }
        handle
    }

    /// Starts the one job of `share` that runs; it starts the next.
    fn start_in_share(&self, share: Share, job: Job) {
        let system = self.clone();
        let job: Job = Box::new(move || {
            run_fenced(job);
            if let Some(next) = share.next_job() {
                system.start_in_share(share, next);
            }
        });
        match &self.core().driver {
            Driver::Threads(driver) => driver.compute.start_always(job),
            Driver::Simulated(_) | Driver::Inline(_) => self.run_between_turns(|| {}, job),
        }
    }

    pub(crate) fn start_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
        done: impl FnOnce(Result<T, Panicked>) + Send + 'static,
    ) {
        let run = move |refused: Option<Panicked>| match refused {
            None => done(guarded(&Yielder::new(None), |_| job())),
            Some(refused) => done(Err(refused)),
        };
        match &self.core().driver {
            Driver::Threads(driver) => offer(run, |job| driver.blocking.start(job)),
            Driver::Simulated(_) | Driver::Inline(_) => self.start_between_turns(run),
        }
    }

    /// Runs a job on the calling thread, between two turns; or tells it that there are too many.
    fn start_between_turns(&self, run: impl FnOnce(Option<Panicked>) + Send + 'static) {
        let admitted = self.single().map_or(Ok(()), Single::admit_job);
        if let Err(jobs) = admitted {
            run(Some(Panicked::Full(jobs)));
            return;
        }
        let system = self.clone();
        let begins = move || {
            if let Some(single) = system.single() {
                single.job_begins();
            }
        };
        self.run_between_turns(begins, move || run(None));
    }

    fn run_between_turns(
        &self,
        begins: impl FnOnce() + Send + 'static,
        job: impl FnOnce() + Send + 'static,
    ) {
        let delay = match &self.core().driver {
            Driver::Simulated(driver) => driver.job_time(),
            Driver::Threads(_) | Driver::Inline(_) => Duration::ZERO,
        };
        let system = self.clone();
        let due = move || {
            begins();
            // A node that has crashed goes on with nothing.
            if !system.is_crashed() {
                job();
            }
        };
        self.set_timer(self.now() + delay, Box::new(due));
    }
}

/// Offers a job to a pool; if the pool is full the job is told so at once.
fn offer<R>(run: R, start: impl FnOnce(Job) -> Result<(), usize>)
where
    R: FnOnce(Option<Panicked>) + Send + 'static,
{
    // The pool drops the job that it refuses; this keeps the part that tells.
    let run = Arc::new(Mutex::new(Some(run)));
    let take = |run: &Mutex<Option<R>>| run.lock().unwrap_or_else(PoisonError::into_inner).take();
    let for_pool = Arc::clone(&run);
    let refused = start(Box::new(move || {
        if let Some(run) = take(&for_pool) {
            run(None);
        }
    }));
    if let Err(jobs) = refused
        && let Some(run) = take(&run)
    {
        run(Some(Panicked::Full(jobs)));
    }
}
