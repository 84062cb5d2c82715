//! A system: all processes of one node, on threads or simulated.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    actor::{Actor, ActorBody},
    address::Address,
    cell::{self, Identity, Run, Task, Terms},
    class::Class,
    dead_letters::{DeadLetter, DeadLetters},
    entropy::Seed,
    inline::{Inline, InlineDriver},
    mailbox::{Mailbox, MailboxSpec},
    message::{Message, Never},
    process::{ActorHandle, FutureBody, Inbox, TaskHandle},
    processes::Processes,
    registry::Registry,
    reply::{self, Answer},
    scheduler::{self, Scheduler},
    share::Share,
    simulated::{Faults, SimulatedDriver, Simulation, WallClock},
    single::Single,
    status::{Counters, StopReason, SystemStatus},
    stop::StopSignal,
    supervision::{Restart, names::Names},
    sync::coarse::Instant,
    threads::ThreadsDriver,
    time::{Clock, Time},
    timers::{TimerId, Timers},
};

/// How a system on threads is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadsConfig {
    /// Worker threads, 1 to 64.
    pub workers: usize,
    /// Threads of the compute pool.
    pub compute_threads: usize,
    /// Threads of the blocking pool.
    pub blocking_threads: usize,
    /// Seeds every entropy door; `None` takes a seed from the machine.
    pub seed: Option<u64>,
}

impl Default for ThreadsConfig {
    /// A worker and a compute thread per core, two blocking threads.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers: cores.min(crate::limits::WORKERS_MAX),
            compute_threads: cores,
            blocking_threads: 2,
            seed: None,
        }
    }
}

/// Why a system could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not a number of workers that a system can have.
    #[error("{0} workers: a system has 1 to {max}", max = crate::limits::WORKERS_MAX)]
    Workers(usize),
    /// The machine gave no seed.
    #[error("no seed from the machine: {0}")]
    Seed(io::Error),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
    /// The reactor could not be started.
    #[error("the reactor could not be started: {0}")]
    Reactor(io::Error),
    /// The compute pool could not be started.
    #[error("the compute pool could not be started: {0}")]
    Compute(#[from] rayon::ThreadPoolBuildError),
}

/// How a process is spawned.
#[derive(Clone, Debug)]
pub struct Spawn {
    /// Name for statistics.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// What happens after a panic.
    pub restart: Restart,
    /// Whom it shares its quantum with.
    pub share: Option<Share>,
    /// Until when it is of use.
    pub deadline: Option<Time>,
}

impl Spawn {
    /// A process that a panic stops, and that shares with nobody.
    #[must_use]
    pub const fn new(name: &'static str, class: Class) -> Self {
        Self { name, class, restart: Restart::Never, share: None, deadline: None }
    }

    /// The same with another restart rule.
    #[must_use]
    pub const fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// The same in a share.
    #[must_use]
    pub fn share(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// The same, of use until `deadline`: while it is fresh it goes before processes of its class
    /// with a later deadline, and before those without one for at most as long as they run
    /// themselves, and a quantum. Once it is late it waits like those.
    ///
    /// For a process that does one job, whose result nobody wants later. It lives on: whether it
    /// still goes to work is its own matter.
    #[must_use]
    pub const fn deadline(mut self, deadline: Time) -> Self {
        self.deadline = Some(deadline);
        self
    }
}

pub(crate) enum Driver {
    Threads(Box<ThreadsDriver>),
    /// Shared by the nodes of a simulation.
    Simulated(Arc<SimulatedDriver>),
    Inline(Box<InlineDriver>),
}

pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) seed: Seed,
    /// Number of the node within its simulation; 0 for a system by itself.
    pub(crate) node: u64,
    /// A simulated crash has ended it: nothing that it has begun goes on.
    pub(crate) is_crashed: AtomicBool,
    /// On one thread: no process runs any more, and what is made runnable is dropped.
    has_ended: AtomicBool,
    /// Shared by the nodes of a simulation.
    pub(crate) timers: Arc<Timers>,
    registry: Registry,
    counters: Counters,
    dead: DeadLetters,
    names: Names,
    pub(crate) stop: StopSignal,
    ids: AtomicU64,
    pub(crate) driver: Driver,
}

/// All processes of one node. Cloning it gives another handle to the same.
#[derive(Clone)]
pub struct System(Arc<Core>);

/// How long a system that stops by itself waits for its processes.
const STOP_WAIT: Duration = Duration::from_secs(5);

impl System {
    /// A system on worker threads.
    ///
    /// # Errors
    ///
    /// [`StartError`] if the machine refuses a thread, the reactor or a seed.
    pub fn threads(config: ThreadsConfig) -> Result<Self, StartError> {
        let seed = match config.seed {
            Some(seed) => Seed::from_number(seed),
            None => Seed::from_machine().map_err(StartError::Seed)?,
        };
        let (driver, starting) = ThreadsDriver::new(config)?;
        let system = Self::new(Clock::real(), seed, Driver::Threads(Box::new(driver)));
        starting.start(&system).map_err(StartError::Thread)?;
        Ok(system)
    }

    /// A system on the calling thread, with virtual time, that does the same for the same seed.
    #[must_use]
    pub fn simulated(seed: u64, faults: Faults) -> Simulation {
        let seed = Seed::from_number(seed);
        let driver = SimulatedDriver::new(seed.stream("scheduler", 0), faults);
        let driver = Driver::Simulated(Arc::new(driver));
        let clock = Clock::simulated(WallClock::new(seed, faults.clock));
        Simulation::new(Self::new(clock, seed, driver), seed)
    }

    /// A system on the calling thread, with the machine's clock and no other thread.
    ///
    /// # Errors
    ///
    /// [`StartError::Seed`] if the machine gives no seed.
    pub fn inline() -> Result<Inline, StartError> {
        let seed = Seed::from_machine().map_err(StartError::Seed)?;
        let driver = Driver::Inline(Box::new(InlineDriver::new()));
        Ok(Inline::new(Self::new(Clock::real(), seed, driver)))
    }

    fn new(clock: Clock, seed: Seed, driver: Driver) -> Self {
        let wheels = match &driver {
            Driver::Threads(driver) => driver.scheduler.workers(),
            Driver::Simulated(_) | Driver::Inline(_) => 1,
        };
        Self::of_node(clock, seed, driver, 0, Arc::new(Timers::new(wheels)))
    }

    /// A system that is node number `node` of a simulation.
    pub(crate) fn of_node(
        clock: Clock,
        seed: Seed,
        driver: Driver,
        node: u64,
        timers: Arc<Timers>,
    ) -> Self {
        Self(Arc::new(Core {
            clock,
            seed,
            node,
            is_crashed: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            timers,
            registry: Registry::new(),
            counters: Counters::default(),
            dead: DeadLetters::new(),
            names: Names::default(),
            stop: StopSignal::default(),
            ids: AtomicU64::new(0),
            driver,
        }))
    }

    // --- processes -------------------------------------------------------------------------

    /// A mailbox and its address. Messages may be sent before the process is spawned.
    #[must_use]
    pub fn mailbox<M: Message>(&self, spec: MailboxSpec) -> (Address<M>, Mailbox<M>) {
        let address = cell::vacant(self.clone(), &spec);
        (address.clone(), Mailbox::new(address))
    }

    /// Spawns an actor. `factory` makes its state, in its first turn and after every panic that
    /// `spec.restart` forgives.
    pub fn spawn<A: Actor>(
        &self,
        spec: Spawn,
        mailbox: Mailbox<A::Message>,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> ActorHandle {
        let body = ActorBody::new(factory, spec.restart);
        let address = cell::settle(mailbox, Box::new(body));
        self.give_birth(spec, address.task(), self.next_id());
        ActorHandle::new(address.task().clone())
    }

    /// Spawns an actor that lives for one job and has a private mailbox. A panic stops it.
    ///
    /// One allocation.
    pub fn spawn_once<A: Actor>(
        &self,
        spec: Spawn,
        mailbox_spec: MailboxSpec,
        actor: A,
    ) -> Address<A::Message> {
        let address = cell::occupied(self.clone(), &mailbox_spec, ActorBody::once(actor));
        self.give_birth(spec, address.task(), self.next_id());
        address
    }

    /// Spawns an async process: one future, polled under the class's budget.
    pub fn spawn_future<T: Send + 'static>(
        &self,
        spec: Spawn,
        future: impl Future<Output = T> + Send + 'static,
    ) -> TaskHandle<T> {
        let mailbox = MailboxSpec::none(spec.name);
        let (telling, answer) = TaskHandle::pair();
        let body = FutureBody::new(future, move |result| telling.send(result), false);
        let address = cell::occupied::<Never, _>(self.clone(), &mailbox, body);
        self.give_birth(spec, address.task(), self.next_id());
        TaskHandle::new(address.task().clone(), answer)
    }

    /// Spawns an async actor: `while let Some(message) = inbox.recv().await`.
    ///
    /// When it is asked to stop it is polled once more, with its mailbox closed, and then dropped.
    pub fn spawn_async<M: Message, F>(
        &self,
        spec: Spawn,
        mailbox: Mailbox<M>,
        body: impl FnOnce(Inbox<M>) -> F + Send + 'static,
    ) -> ActorHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let body = FutureBody::new(body(Inbox::new(mailbox.address())), drop, true);
        let address = cell::settle(mailbox, Box::new(body));
        self.give_birth(spec, address.task(), self.next_id());
        ActorHandle::new(address.task().clone())
    }

    /// The next process's number.
    pub(crate) fn next_id(&self) -> u64 {
        self.0.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn give_birth(&self, spec: Spawn, process: &Task, id: u64) {
        assert!(process.system.is_same(self), "a mailbox belongs to the system that made it");
        let is_queued = !cell::is_born_idle(process);
        let spot = self.0.registry.enter(id, process.downgrade_before_birth());
        let Spawn { name, class, share, deadline, restart: _ } = spec;
        let terms = (share.is_some() || deadline.is_some())
            .then(|| Box::new(Terms { deadline: deadline.unwrap_or(Time::MAX), share }));
        cell::give_birth(process, is_queued, Identity { id, name, class, terms, spot });
        if self.0.stop.is_set() {
            process.stop_from_top();
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    // --- what it is ------------------------------------------------------------------------

    /// Worker threads; 1 on the calling thread.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.scheduler().map_or(1, Scheduler::workers)
    }

    /// The reactor behind sockets and tokio's timers; `None` if the system has no threads.
    #[must_use]
    pub fn reactor(&self) -> Option<tokio::runtime::Handle> {
        match &self.0.driver {
            Driver::Threads(driver) => Some(driver.reactor.handle()),
            Driver::Simulated(_) | Driver::Inline(_) => None,
        }
    }

    /// Statistics since the start. O(classes * workers).
    #[must_use]
    pub fn status(&self) -> SystemStatus {
        let counters = &self.0.counters;
        let dead_by_reason = self.0.dead.counts();
        let (slow_lately, slow_ever) = counters.slow(self.now());
        let class = |class| match &self.0.driver {
            Driver::Threads(driver) => driver.scheduler.class_status(class),
            Driver::Simulated(driver) => driver.single.class_status(class),
            Driver::Inline(driver) => driver.single.class_status(class),
        };
        SystemStatus {
            actors_live: self.0.registry.live(),
            classes: Class::ALL.map(class),
            turns_slow: counters.turns_slow.load(Ordering::Relaxed),
            turns_preempted: counters.turns_preempted.load(Ordering::Relaxed),
            slowest_turn: counters.slowest(),
            slow_lately,
            slow_ever,
            dead_letters: dead_by_reason.iter().sum(),
            dead_by_reason,
            panics: counters.panics.load(Ordering::Relaxed),
            restarts: counters.restarts.load(Ordering::Relaxed),
        }
    }

    /// The living processes, to be looked through in slices. Costs nothing until it is used.
    #[must_use]
    pub fn processes(&self) -> Processes {
        Processes::new(self.clone())
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The last messages that nobody handled, the oldest first; a sample when there are many.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.0.dead.last()
    }

    // --- the end ---------------------------------------------------------------------------

    /// Stops the system: processes handle what waits for them and end, threads are joined. After
    /// `deadline` whatever still runs is left behind.
    ///
    /// On a worker, and on the calling thread, it only asks; then [`System::wait_stopped`] or
    /// whoever runs the system does the rest.
    pub fn stop(&self, deadline: Duration) {
        self.request_stop(StopReason::Asked);
        if !scheduler::is_worker() {
            self.shut_down(deadline);
        }
    }

    /// Asks all processes to end, and says why. The first reason stands.
    ///
    /// What is under a supervisor is stopped by it: the youngest first, one after another, each
    /// killed after its own deadline.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the reason for this call")]
    pub fn request_stop(&self, reason: StopReason) {
        if self.0.stop.is_set() {
            return;
        }
        self.0.stop.set(&reason);
        for process in self.0.registry.all() {
            process.stop_from_top();
        }
    }

    /// Answers with the reason when the system is asked to stop, or stops by itself.
    pub fn on_stop(&self) -> Answer<StopReason> {
        self.0.stop.answer()
    }

    /// Why the system stops, if it does.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.0.stop.reason()
    }

    /// Blocks the calling thread until the system stops, and joins its threads. For `main`.
    #[must_use]
    pub fn wait_stopped(&self) -> StopReason {
        let reason = reply::block_on(self.on_stop());
        self.shut_down(STOP_WAIT);
        reason.expect("the signal outlives its answers")
    }

    fn shut_down(&self, wait: Duration) {
        let Driver::Threads(driver) = &self.0.driver else {
            return;
        };
        let deadline = Instant::now().checked_add(wait).unwrap_or_else(Instant::now);
        self.0.registry.wait_empty(deadline);
        driver.blocking.close();
        let has_ended = driver.scheduler.stop(deadline);
        if has_ended {
            // No thread runs a turn any more, so what has not ended can be dropped here.
            driver.scheduler.close();
            self.finish_all();
            driver.join_workers();
        } else {
            let slowest = self.0.counters.slowest();
            tracing::warn!(slowest.name, "a turn outlasts the deadline; its worker is left behind");
        }
        self.0.timers.clear();
        driver.scheduler.close();
        driver.shut_down(deadline);
    }

    // --- for the rest of the crate ---------------------------------------------------------

    /// Ends all processes that are left, when no thread runs turns any more.
    pub(crate) fn finish_all(&self) {
        for process in self.0.registry.all() {
            process.finish();
        }
    }

    /// Nothing is made runnable any more; said under the lock of the queues.
    pub(crate) fn set_ended(&self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }

    /// Asked under the lock of the queues.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn schedule(&self, run: Run) {
        match &self.0.driver {
            Driver::Threads(driver) => driver.scheduler.schedule(run),
            Driver::Simulated(driver) => driver.single.schedule(run, self.now()),
            Driver::Inline(driver) => driver.schedule(run, self.now()),
        }
    }

    #[inline]
    pub(crate) fn scheduler(&self) -> Option<&Scheduler> {
        match &self.0.driver {
            Driver::Threads(driver) => Some(&driver.scheduler),
            Driver::Simulated(_) | Driver::Inline(_) => None,
        }
    }

    /// The turns of a system on the calling thread.
    pub(crate) fn single(&self) -> Option<&Single> {
        match &self.0.driver {
            Driver::Threads(_) => None,
            Driver::Simulated(driver) => Some(&driver.single),
            Driver::Inline(driver) => Some(&driver.single),
        }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.0
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.0.timers
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    pub(crate) fn set_timer(&self, at: Time, due: Box<dyn FnOnce() + Send>) -> TimerId {
        let (timer, is_earlier) = self.0.timers.set(at, due);
        match &self.0.driver {
            Driver::Threads(driver) if is_earlier => driver.scheduler.timer_set(),
            Driver::Inline(driver) if is_earlier => driver.timer_set(),
            Driver::Threads(_) | Driver::Simulated(_) | Driver::Inline(_) => {}
        }
        timer
    }

    pub(crate) fn cancel_timer(&self, timer: TimerId) {
        self.0.timers.cancel(timer);
    }

    pub(crate) fn leave(&self, spot: u32) {
        self.0.registry.leave(spot);
    }

    pub(crate) fn dead(&self) -> &DeadLetters {
        &self.0.dead
    }

    pub(crate) fn names(&self) -> &Names {
        &self.0.names
    }

    pub(crate) fn count_panic(&self) {
        self.0.counters.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_restart(&self) {
        self.0.counters.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// An actor without which the node is not whole does not get up any more.
    pub(crate) fn escalate(&self, name: &'static str, panics: u32, reason: &str) {
        let reason = reason.to_owned();
        self.request_stop(StopReason::GaveUp { name, panics, reason });
    }
}

impl std::fmt::Debug for System {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("System").field("actors_live", &self.0.registry.live()).finish()
    }
}
