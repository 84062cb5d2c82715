//! The programs on Evenkeel's own runtime, through its public interface only.

mod busy;
mod messages;
mod tree;

use std::{thread, time::Duration};

use evenkeel_peers::{
    Births, ClassShare, Counts, Done, Peer, Probe, Run, Sum, keep,
    programs::{BLOCKS_BYTES_MAX, FAN, FAN_ITEMS_MAX, ITEMS_MAX, PLAYER_ITEMS_MAX, RING_ITEMS_MAX},
    run_program,
};
use evenkeel_runtime::{
    Actor, Address, Class, MailboxSpec, Overflow, Spawn, System, ThreadsConfig,
};

use self::{
    busy::{Busy, Echo, Overrunner, Request},
    messages::{Ball, Block, Drip, Go, Player, Reader, Ring, Sink, Source, Spread, Step, Writer},
    tree::{Idle, Node, Nursery, Parent, Unstarted},
};

/// A mailbox that gives back what it has no room for.
const fn mailbox(items_max: usize, bytes_max: usize) -> MailboxSpec {
    MailboxSpec { name: "bench", items_max, bytes_max, overflow: Overflow::Reject }
}

const fn items(items_max: usize) -> MailboxSpec {
    mailbox(items_max, usize::MAX)
}

/// All classes are alike where only one is used. This is the class of endless work.
const CLASS: Class = Class::Call;

const fn spawn() -> Spawn {
    Spawn::new("bench", CLASS)
}

struct Ours(System);

impl Ours {
    fn new(run: &Run) -> Self {
        let workers = run.workers;
        let config = ThreadsConfig { workers, compute_threads: 1, blocking_threads: 1, seed: None };
        Self(System::threads(config).expect("threads can be started"))
    }

    fn start<A: Actor>(&self, items_max: usize, actor: A) -> Address<A::Message> {
        self.0.spawn_once(spawn(), items(items_max), actor)
    }

    /// A spinner of `class`, which goes on until the process ends.
    fn spin(&self, class: Class, actor: usize, counts: &Counts, units: u32) {
        let busy = Busy { actor, counts: counts.clone(), units };
        keep(self.0.spawn_once(Spawn::new("busy", class), items(ITEMS_MAX), busy));
    }
}

impl Peer for Ours {
    fn mailboxes(&self) -> &'static str {
        "bounded"
    }

    fn pairs(&self, pairs: u64, rounds: u64, done: &Done) {
        for _ in 0..pairs {
            let first = self.start(PLAYER_ITEMS_MAX, Player::new(done));
            let other = self.start(PLAYER_ITEMS_MAX, Player::new(done));
            first.send(Ball::Meet(other.clone())).expect("its mailbox is empty");
            other.send(Ball::Meet(first)).expect("its mailbox is empty");
            other.send(Ball::Throw(rounds * 2 - 1)).expect("its mailbox holds one");
        }
    }

    fn ring(&self, nodes: usize, done: &Done) -> impl Fn(u64) {
        let node = |_| self.start(RING_ITEMS_MAX, Ring::new(done));
        let ring: Vec<_> = (0..nodes).map(node).collect();
        for (node, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            node.send(Step::Join(next.clone())).expect("its mailbox is empty");
        }
        let first = ring[0].clone();
        move |hops| first.send(Step::Token(hops)).expect("all tokens have room")
    }

    fn fan_in(&self, each: u64, done: &Done) {
        let sink = self.start(FAN_ITEMS_MAX, Sink::new(each * FAN, done));
        for _ in 0..FAN {
            let source = Source { to: sink.clone(), left: each };
            self.start(ITEMS_MAX, source).send(Go::Now).expect("its mailbox is empty");
        }
    }

    fn fan_out(&self, each: u64, done: &Done) {
        let sink = |_| self.start(FAN_ITEMS_MAX, Sink::new(each, done));
        let spread = Spread { to: (0..FAN).map(sink).collect::<Vec<_>>(), left: each * FAN };
        self.start(ITEMS_MAX, spread).send(Go::Now).expect("its mailbox is empty");
    }

    fn skynet(&self, leaves: u64, sum: &Sum) {
        keep(self.start(ITEMS_MAX, Node::new(Parent::Main(sum.clone()), 0, leaves)));
    }

    fn idle(&self, count: u64) {
        let nursery = self.start(ITEMS_MAX, Nursery::new(count, || Idle));
        nursery.send(Go::Now).expect("its mailbox is empty");
        keep(nursery);
    }

    fn idle_unstarted(&self, count: u64) -> bool {
        let make = || {
            Births::report();
            Unstarted
        };
        let nursery = self.start(ITEMS_MAX, Nursery::new(count, make));
        nursery.send(Go::Now).expect("its mailbox is empty");
        keep(nursery);
        true
    }

    fn spinners(&self, counts: &Counts, units: u32) {
        for actor in 0..counts.actors() {
            self.spin(CLASS, actor, counts, units);
        }
    }

    fn overrunner(&self) {
        let address = self.start(ITEMS_MAX, Overrunner);
        address.send(Go::Now).expect("its mailbox is empty");
        keep(address);
    }

    fn echo(&self) -> impl Fn(Probe) {
        let echo = self.start(ITEMS_MAX, Echo);
        move |probe| echo.send(Request(probe)).expect("one probe at a time")
    }

    fn blocks(&self, count: u64, sum: &Sum) -> bool {
        let reader = Reader { left: count, total: 0, sum: sum.clone() };
        let spec = mailbox(usize::MAX, BLOCKS_BYTES_MAX);
        let to: Address<Block> = self.0.spawn_once(spawn(), spec, reader);
        let writer = Writer { to, next: 0, count, refused: None };
        self.start(ITEMS_MAX, writer).send(Go::Now).expect("its mailbox is empty");
        true
    }

    fn class_shares(&self, time: Duration) -> Vec<ClassShare> {
        /// Enough that every worker always has one of each class.
        const ACTORS_OF_CLASS: usize = 32;
        let weighted = |class: Class| class.weight().map(|weight| (class, f64::from(weight)));
        let classes: Vec<_> = Class::ALL.into_iter().filter_map(weighted).collect();
        let counts = Counts::new(classes.len() * ACTORS_OF_CLASS);
        for actor in 0..counts.actors() {
            self.spin(classes[actor / ACTORS_OF_CLASS].0, actor, &counts, 1);
        }
        thread::sleep(Duration::from_millis(300));
        let units = counts.during(time);
        let all = units.iter().sum::<u64>() as f64;
        let weights: f64 = classes.iter().map(|(_, weight)| weight).sum();
        let share = |(&(class, weight), units): (&(Class, f64), &[u64])| {
            let got = units.iter().sum::<u64>() as f64 / all;
            ClassShare { name: class.name(), due: weight / weights, got }
        };
        classes.iter().zip(units.chunks(ACTORS_OF_CLASS)).map(share).collect()
    }
}

/// A drip is what every sink takes.
fn drip(to: &Address<Drip>) -> bool {
    to.send(Drip(1)).is_ok()
}

fn main() {
    run_program(&["ours"], Ours::new);
}
