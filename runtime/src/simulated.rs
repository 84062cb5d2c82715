//! The simulated driver: one thread, virtual time, seeded order, seeded faults.
//!
//! The class that runs next follows from the same weighted virtual time as on threads; which
//! process of the class does is drawn by the seed, within rounds (`single::ready`). Time moves by
//! what turns consume, and jumps to the next timer when nothing is runnable. Every draw is checked
//! against the starvation bound (`single::bound`). The same seed does the same, and gives the same
//! hash of all that happened.
//!
//! A simulation may have nodes, each with its own processes, wall clock and disk, and networks
//! between them; a crash ends the processes of one node and what its disk has not synced.

mod clock;
mod disk;
mod network;
mod node;

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

pub(crate) use self::clock::WallClock;
use self::disk::Image;
pub use self::{
    clock::ClockFaults,
    disk::{DiskError, DiskFaults},
    network::{Endpoint, Network, NetworkFaults, NetworkStatus},
    node::{Disk, Node},
};
use crate::{
    entropy::{Entropy, Seed},
    limits::SIMULATED_JOB_NS_MAX,
    single::{EventHash, Pick, Priorities, Single},
    system::{Driver, System},
    time::{Time, nanos},
};

/// Virtual time after which `run_until_idle` says that a system never gets idle.
const IDLE_WAIT_MAX: Duration = Duration::from_hours(1);

/// In which order processes of one class run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Drawn by the seed within rounds, so nobody starves.
    #[default]
    Fair,
    /// Drawn by the seed alone: somebody may wait for long, as on a machine that is overloaded.
    Chaos,
    /// By priorities that the seed draws (PCT): a process may starve for `steps` turns of its class
    /// while others run. Finds bugs that need `changes + 1` events in one certain order.
    Priorities {
        /// Turns after which priorities are drawn anew.
        steps: u32,
        /// How often within them the process that would run next falls behind all others.
        changes: u32,
    },
}

/// What goes wrong in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The order within a class.
    pub order: Order,
    /// The longest a compute or blocking job takes.
    pub job_time_max: Duration,
    /// Of wall clocks.
    pub clock: ClockFaults,
    /// Of networks.
    pub network: NetworkFaults,
    /// Of disks.
    pub disk: DiskFaults,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            order: Order::Fair,
            job_time_max: Duration::from_nanos(SIMULATED_JOB_NS_MAX),
            clock: ClockFaults::none(),
            network: NetworkFaults::none(),
            disk: DiskFaults::none(),
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::none()
    }
}

/// What a simulated system has instead of threads.
pub(crate) struct SimulatedDriver {
    pub(crate) single: Single,
    job_entropy: Mutex<Entropy>,
    faults: Faults,
}

impl SimulatedDriver {
    pub(crate) fn new(mut entropy: Entropy, faults: Faults) -> Self {
        use rand_core::RngCore;
        // Two streams: a job more does not change the order of turns by itself.
        let job_entropy = Mutex::new(Entropy::from_seed(entropy.next_u64()));
        let pick = match faults.order {
            Order::Fair => Pick::Fair(entropy),
            Order::Chaos => Pick::Chaos(entropy),
            Order::Priorities { steps, changes } => {
                Pick::Priorities(Priorities::new(entropy, steps, changes))
            }
        };
        Self { single: Single::new(pick), job_entropy, faults }
    }

    /// How long the next job takes.
    pub(crate) fn job_time(&self) -> Duration {
        let longest = nanos(self.faults.job_time_max).max(1);
        let mut entropy = self.job_entropy.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_nanos(1 + entropy.below(longest))
    }
}

/// A node by its name: how often it was started, its life, its disk.
struct Place {
    number: u64,
    starts: u64,
    node: Option<Node>,
    image: Arc<Mutex<Image>>,
}

/// A simulated system, driven by the thread that holds this.
pub struct Simulation {
    system: System,
    seed: Seed,
    nodes: BTreeMap<&'static str, Place>,
    networks: u64,
}

impl Simulation {
    pub(crate) const fn new(system: System, seed: Seed) -> Self {
        Self { system, seed, nodes: BTreeMap::new(), networks: 0 }
    }

    /// The system, to spawn into.
    #[must_use]
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.system.now()
    }

    /// Hash of all that happened so far: turns (who, when, for how long), arrivals of messages,
    /// operations of disks, starts and crashes of nodes.
    #[must_use]
    pub fn event_hash(&self) -> u64 {
        self.driver().single.hash()
    }

    // --- nodes -----------------------------------------------------------------------------

    /// Starts a node, with nobody in it, on the disk that an earlier node of that name left.
    ///
    /// # Panics
    ///
    /// If the node runs.
    pub fn start(&mut self, name: &'static str) -> Node {
        let (number, faults) = (self.nodes.len() as u64 + 1, self.driver().faults);
        let seed = self.seed;
        let place = self.nodes.entry(name).or_insert_with(|| {
            let image = Image::new(seed.stream("disk", number), faults.disk);
            Place { number, starts: 0, node: None, image: Arc::new(Mutex::new(image)) }
        });
        assert!(place.node.is_none(), "node {name} runs already");
        place.starts += 1;
        // The wall clock is the machine's: a restart does not set it right.
        let wall = WallClock::new(seed.derive("wall clock", place.number), faults.clock);
        let seed = seed.derive(name, place.starts);
        let system = self.system.simulated_node(place.number, seed, wall);
        let node = Node::new(name, system, Arc::clone(&place.image));
        place.node = Some(node.clone());
        self.note("start", name);
        node
    }

    /// Crashes a node: its processes end where they are, its jobs and messages to it are lost, and
    /// so is what its disk has not synced, as [`DiskFaults`] say. What its processes hold is
    /// dropped, but its handles to disk and network do nothing any more.
    ///
    /// # Panics
    ///
    /// If the node does not run.
    pub fn crash(&mut self, name: &'static str) {
        let node = self.nodes.get_mut(name).and_then(|place| place.node.take());
        let Some(node) = node else { panic!("node {name} does not run") };
        self.note("crash", name);
        node.system().crash();
        self.driver().single.end_all(node.system());
        node.crash_disk();
    }

    /// A network that nodes may join.
    pub fn network<M: Clone + Send + 'static>(&mut self) -> Network<M> {
        self.networks += 1;
        let entropy = self.seed.stream("network", self.networks);
        Network::new(self.system.clone(), entropy, self.driver().faults.network)
    }

    fn note(&self, event: &str, name: &str) {
        let now = self.now().as_nanos();
        self.driver().single.note(&[now, EventHash::word(event), EventHash::word(name)]);
    }

    // --- time ------------------------------------------------------------------------------

    /// Runs until nothing is runnable and no timer is set.
    ///
    /// # Panics
    ///
    /// If that does not come within an hour of virtual time: a system with a periodic timer never
    /// gets idle.
    pub fn run_until_idle(&mut self) {
        let limit = self.now() + IDLE_WAIT_MAX;
        while self.step(Time::MAX) {
            assert!(self.now() < limit, "not idle after {IDLE_WAIT_MAX:?} of virtual time");
        }
    }

    /// Runs for `duration` of virtual time; a turn that has begun is ended.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now() + duration;
        while self.now() < end && self.step(end) {}
        self.system.core().clock.advance_to(end);
    }

    /// Runs until `future`, for example an `Answer`, is ready; it is looked at after every turn.
    ///
    /// # Panics
    ///
    /// If nothing is left to do and the future still waits: it always will.
    pub fn run_until<F: Future>(&mut self, future: F) -> F::Output {
        let mut cx = Context::from_waker(Waker::noop());
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return output;
            }
            if !self.step(Time::MAX) {
                let reason = self.system.stop_reason();
                panic!("nothing is left to do, and the answer is not there; stopped: {reason:?}");
            }
        }
    }

    /// Fires what is due and runs one turn, or jumps to the next timer not after `end`. False if
    /// there is nothing to do until then.
    fn step(&self, end: Time) -> bool {
        let system = &self.system;
        if self.driver().single.step(system) {
            return true;
        }
        match system.timers().first() {
            Some(first) if first <= end => {
                system.core().clock.advance_to(first);
                true
            }
            Some(_) | None => false,
        }
    }

    fn driver(&self) -> &SimulatedDriver {
        match &self.system.core().driver {
            Driver::Simulated(driver) => driver,
            Driver::Threads(_) | Driver::Inline(_) => {
                unreachable!("a simulation is made with its driver")
            }
        }
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes: Vec<_> = self.nodes.keys().collect();
        f.debug_struct("Simulation")
            .field("system", &self.system)
            .field("nodes", &nodes)
            .finish_non_exhaustive()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Processes hold the system, and are queued in it: taken apart here, or never freed.
        let single = &self.driver().single;
        for node in self.nodes.values().filter_map(|place| place.node.as_ref()) {
            single.end_all(node.system());
        }
        single.end_all(&self.system);
        self.system.timers().clear();
    }
}
