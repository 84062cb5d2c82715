//! A network that delays, loses, doubles, reorders and splits.
//!
//! [`Links`] decides, and is pure; [`Network`] carries it out by the timers of the simulation.
//!
//! # Invariants
//!
//! - N1: nothing arrives at a node from which its sender is cut off, whenever it was sent.
//! - N2: what one node sends to another arrives in order, at most once, unless the faults say
//!   otherwise.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::node::Node;
use crate::{
    entropy::Entropy,
    limits::LINK_MESSAGES_MAX,
    single::EventHash,
    system::System,
    time::{Time, nanos},
};

/// What goes wrong between nodes. "One in n" is seeded; zero is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkFaults {
    /// The shortest time that a message is under way.
    pub delay_min: Duration,
    /// The longest, but for one that is reordered: that takes up to twice as long.
    pub delay_max: Duration,
    /// One message in so many is lost.
    pub loss_in: u64,
    /// One in so many arrives twice.
    pub duplicate_in: u64,
    /// One in so many may be overtaken, and may overtake.
    pub reorder_in: u64,
}

impl NetworkFaults {
    /// Everything arrives, in order, after 1 to 10 ms.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            delay_min: Duration::from_millis(1),
            delay_max: Duration::from_millis(10),
            loss_in: 0,
            duplicate_in: 0,
            reorder_in: 0,
        }
    }
}

/// What became of the messages so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Sent by anybody to anybody.
    pub sent: u64,
    /// Arrived, doubles included.
    pub delivered: u64,
    /// Lost by a fault, or because [`LINK_MESSAGES_MAX`] were under way.
    pub lost: u64,
    /// Sent twice by a fault.
    pub doubled: u64,
    /// Lost because the nodes were cut off, or the receiver was down.
    pub cut: u64,
}

type Name = &'static str;

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    under_way: usize,
    /// When the last message that keeps the order arrives.
    last: Time,
}

/// When messages arrive, and whether they may.
struct Links {
    entropy: Entropy,
    faults: NetworkFaults,
    by_ends: BTreeMap<(Name, Name), Link>,
    cut: BTreeSet<(Name, Name)>,
    status: NetworkStatus,
}

impl Links {
    const fn new(entropy: Entropy, faults: NetworkFaults) -> Self {
        let status = NetworkStatus { sent: 0, delivered: 0, lost: 0, doubled: 0, cut: 0 };
        Self { entropy, faults, by_ends: BTreeMap::new(), cut: BTreeSet::new(), status }
    }

    fn happens(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.entropy.once_in(one_in)
    }

    /// When a message that is sent now arrives; twice if it is doubled, never if it is lost.
    fn send(&mut self, now: Time, from: Name, to: Name) -> [Option<Time>; 2] {
        self.status.sent += 1;
        if self.cut.contains(&(from, to)) {
            self.status.cut += 1;
            return [None; 2];
        }
        if self.happens(self.faults.loss_in) {
            self.status.lost += 1;
            return [None; 2];
        }
        let first = self.put_on_its_way(now, from, to);
        if first.is_none() || !self.happens(self.faults.duplicate_in) {
            return [first, None];
        }
        self.status.doubled += 1;
        [first, self.put_on_its_way(now, from, to)]
    }

    fn put_on_its_way(&mut self, now: Time, from: Name, to: Name) -> Option<Time> {
        let is_reordered = self.happens(self.faults.reorder_in);
        let (least, most) = (nanos(self.faults.delay_min), nanos(self.faults.delay_max));
        let delay = least + self.entropy.below(most.saturating_sub(least) + 1);
        let extra = if is_reordered { self.entropy.below(most + 1) } else { 0 };
        let link = self.by_ends.entry((from, to)).or_default();
        if link.under_way >= LINK_MESSAGES_MAX {
            self.status.lost += 1;
            return None;
        }
        link.under_way += 1;
        let at = now + Duration::from_nanos(delay + extra);
        if is_reordered {
            return Some(at);
        }
        // N2. Timers of one time fire in the order they were set.
        link.last = link.last.max(at);
        Some(link.last)
    }

    /// A message has got there. False if it may not.
    fn arrives(&mut self, from: Name, to: Name) -> bool {
        if let Some(link) = self.by_ends.get_mut(&(from, to)) {
            link.under_way -= 1;
        }
        // N1: what was under way when the link was cut is lost too.
        let is_cut = self.cut.contains(&(from, to));
        self.status.cut += u64::from(is_cut);
        !is_cut
    }
}

type Deliver<M> = Arc<dyn Fn(Name, M) + Send + Sync>;

struct Receiver<M> {
    deliver: Deliver<M>,
    /// The life of the node that joined.
    system: System,
}

struct State<M> {
    links: Links,
    receivers: BTreeMap<Name, Receiver<M>>,
}

/// A simulated network for messages of one type; they are moved, so bytes are as good as values.
pub struct Network<M> {
    simulation: System,
    state: Arc<Mutex<State<M>>>,
}

impl<M: Clone + Send + 'static> Network<M> {
    pub(super) fn new(simulation: System, entropy: Entropy, faults: NetworkFaults) -> Self {
        let state = State { links: Links::new(entropy, faults), receivers: BTreeMap::new() };
        Self { simulation, state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // Nothing of the user's runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a node send and receive. `deliver` is called between turns, with the sender's name;
    /// mostly it sends to an actor. A node that was restarted joins anew.
    pub fn join(
        &self,
        node: &Node,
        deliver: impl Fn(&'static str, M) + Send + Sync + 'static,
    ) -> Endpoint<M> {
        let system = node.system().clone();
        let receiver = Receiver { deliver: Arc::new(deliver), system: system.clone() };
        let before = self.lock().receivers.insert(node.name(), receiver);
        drop(before);
        Endpoint { network: self.clone(), name: node.name(), system }
    }

    /// Cuts the link between two nodes, in both directions.
    pub fn cut(&self, one: &'static str, other: &'static str) {
        self.lock().links.cut.extend([(one, other), (other, one)]);
    }

    /// Cuts every link from a node of one side to a node of the other.
    pub fn partition(&self, one_side: &[&'static str], other_side: &[&'static str]) {
        for &one in one_side {
            for &other in other_side {
                self.cut(one, other);
            }
        }
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.lock().links.cut.clear();
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn status(&self) -> NetworkStatus {
        self.lock().links.status
    }

    fn send(&self, from: &'static str, to: &'static str, message: M) {
        let at = self.lock().links.send(self.simulation.now(), from, to);
        let [first, second] = at;
        if let Some(at) = second {
            self.deliver_at(at, from, to, message.clone());
        }
        if let Some(at) = first {
            self.deliver_at(at, from, to, message);
        }
    }

    fn deliver_at(&self, at: Time, from: Name, to: Name, message: M) {
        let network = self.clone();
        let arrive = move || network.arrive(from, to, message);
        self.simulation.set_timer(at, Box::new(arrive));
    }

    fn arrive(&self, from: Name, to: Name, message: M) {
        let mut state = self.lock();
        if !state.links.arrives(from, to) {
            return;
        }
        let receiver = state.receivers.get(to).filter(|receiver| !receiver.system.is_crashed());
        let Some(deliver) = receiver.map(|receiver| Arc::clone(&receiver.deliver)) else {
            state.links.status.cut += 1;
            return;
        };
        state.links.status.delivered += 1;
        drop(state);
        if let Some(single) = self.simulation.single() {
            let now = self.simulation.now().as_nanos();
            single.note(&[
                now,
                EventHash::word("arrives"),
                EventHash::word(from),
                EventHash::word(to),
            ]);
        }
        deliver(from, message);
    }
}

impl<M> Clone for Network<M> {
    fn clone(&self) -> Self {
        Self { simulation: self.simulation.clone(), state: Arc::clone(&self.state) }
    }
}

impl<M> fmt::Debug for Network<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

/// A node's place in a network.
pub struct Endpoint<M> {
    network: Network<M>,
    name: &'static str,
    system: System,
}

impl<M: Clone + Send + 'static> Endpoint<M> {
    /// Sends a message, which may be lost: nobody says so. A node that has crashed sends nothing.
    pub fn send(&self, to: &'static str, message: M) {
        if !self.system.is_crashed() {
            self.network.send(self.name, to, message);
        }
    }

    /// Name of the node.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<M> Clone for Endpoint<M> {
    fn clone(&self) -> Self {
        Self { network: self.network.clone(), name: self.name, system: self.system.clone() }
    }
}

impl<M> fmt::Debug for Endpoint<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).finish_non_exhaustive()
    }
}
