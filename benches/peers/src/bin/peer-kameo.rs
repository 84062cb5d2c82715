//! The programs as kameo actors that `tell` each other through bounded mailboxes.

use std::convert::Infallible;

use evenkeel_peers::{
    Births, Counts, Done, Peer, Probe, Run, Sum, checksum, fill, keep, overrun,
    programs::{
        BLOCKS_ITEMS_MAX, CHILDREN, FAN, FAN_ITEMS_MAX, ITEMS_MAX, PLAYER_ITEMS_MAX, RING_ITEMS_MAX,
    },
    run_program,
};
use kameo::{mailbox, prelude::*};
use tokio::runtime::{Builder, Runtime};

/// Messages that a source sends before it takes the next of its own.
const BATCH: u64 = 128;

struct Kameo(Runtime);

impl Kameo {
    fn new(run: &Run) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(run.workers).enable_time().build();
        Self(runtime.expect("threads can be started"))
    }

    fn start<A: Actor<Args = A>>(&self, items_max: usize, actor: A) -> ActorRef<A> {
        let _on_this_runtime = self.0.enter();
        spawn(items_max, actor)
    }
}

fn spawn<A: Actor<Args = A>>(items_max: usize, actor: A) -> ActorRef<A> {
    A::spawn_with_mailbox(actor, mailbox::bounded(items_max))
}

/// Waits for room.
async fn send<A: Message<M>, M: Send + 'static>(to: &ActorRef<A>, message: M) {
    assert!(to.tell(message).await.is_ok(), "receivers live until the process ends");
}

/// The same from a thread that is no worker.
fn send_from_outside<A: Message<M>, M: Send + 'static>(to: &ActorRef<A>, message: M) {
    let is_sent = to.tell(message).blocking_send().is_ok();
    assert!(is_sent, "receivers live until the process ends");
}

type Turn<'a, A> = &'a mut Context<A, ()>;

/// A player of a pair, or a node of a ring: both send a number on.
#[derive(Actor)]
struct Player {
    other: Option<ActorRef<Player>>,
    done: Done,
}

struct Meet(ActorRef<Player>);
struct Throw(u64);

impl Message<Meet> for Player {
    type Reply = ();

    async fn handle(&mut self, meet: Meet, _turn: Turn<'_, Self>) {
        self.other = Some(meet.0);
    }
}

impl Message<Throw> for Player {
    type Reply = ();

    async fn handle(&mut self, throw: Throw, _turn: Turn<'_, Self>) {
        if throw.0 == 0 {
            self.done.send(()).expect("the main thread waits");
        } else {
            send(self.other.as_ref().expect("they meet first"), Throw(throw.0 - 1)).await;
        }
    }
}

#[derive(Actor)]
struct Sink {
    left: u64,
    done: Done,
}

struct Drip(u64);

impl Message<Drip> for Sink {
    type Reply = ();

    async fn handle(&mut self, drip: Drip, _turn: Turn<'_, Self>) {
        self.left -= drip.0;
        if self.left == 0 {
            self.done.send(()).expect("the main thread waits");
        }
    }
}

struct Go;

/// Sends to one sink or to many in turn, a batch per message to itself.
#[derive(Actor)]
struct Source {
    to: Vec<ActorRef<Sink>>,
    left: u64,
}

impl Message<Go> for Source {
    type Reply = ();

    async fn handle(&mut self, go: Go, turn: Turn<'_, Self>) {
        for _ in 0..BATCH.min(self.left) {
            let next = usize::try_from(self.left).expect("a count of messages") % self.to.len();
            send(&self.to[next], Drip(1)).await;
            self.left -= 1;
        }
        if self.left > 0 {
            send(turn.actor_ref(), go).await;
        }
    }
}

struct Total(u64);

enum Parent {
    Node(ActorRef<Node>),
    Main(Sum),
}

impl Parent {
    async fn tell(&self, total: u64) {
        match self {
            Self::Node(parent) => send(parent, Total(total)).await,
            Self::Main(main) => main.send(total).expect("the main thread waits"),
        }
    }
}

struct Node {
    parent: Parent,
    first: u64,
    leaves: u64,
    awaited: u64,
    total: u64,
}

impl Actor for Node {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(node: Self, me: ActorRef<Self>) -> Result<Self, Infallible> {
        if node.leaves == 1 {
            node.parent.tell(node.first).await;
            me.kill();
            return Ok(node);
        }
        let leaves = node.leaves / CHILDREN;
        for child in 0..CHILDREN {
            let first = node.first + child * leaves;
            let parent = Parent::Node(me.clone());
            spawn(ITEMS_MAX, Self { parent, first, leaves, awaited: CHILDREN, total: 0 });
        }
        Ok(node)
    }
}

impl Message<Total> for Node {
    type Reply = ();

    async fn handle(&mut self, total: Total, turn: Turn<'_, Self>) {
        self.total += total.0;
        self.awaited -= 1;
        if self.awaited == 0 {
            self.parent.tell(self.total).await;
            turn.stop();
        }
    }
}

struct Idle;

impl Actor for Idle {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(idle: Self, _me: ActorRef<Self>) -> Result<Self, Infallible> {
        Births::report();
        Ok(idle)
    }
}

#[derive(Actor)]
struct Spinner {
    actor: usize,
    counts: Counts,
    units: u32,
}

impl Message<Go> for Spinner {
    type Reply = ();

    async fn handle(&mut self, go: Go, turn: Turn<'_, Self>) {
        self.counts.work(self.actor, self.units);
        send(turn.actor_ref(), go).await;
    }
}

#[derive(Actor)]
struct Overrunner;

impl Message<Go> for Overrunner {
    type Reply = ();

    async fn handle(&mut self, go: Go, turn: Turn<'_, Self>) {
        overrun();
        send(turn.actor_ref(), go).await;
    }
}

#[derive(Actor)]
struct Echo;

impl Message<Probe> for Echo {
    type Reply = ();

    async fn handle(&mut self, probe: Probe, _turn: Turn<'_, Self>) {
        probe.answer();
    }
}

#[derive(Actor)]
struct Reader {
    left: u64,
    total: u64,
    sum: Sum,
}

impl Message<Vec<u8>> for Reader {
    type Reply = ();

    async fn handle(&mut self, block: Vec<u8>, _turn: Turn<'_, Self>) {
        self.total ^= checksum(&block);
        self.left -= 1;
        if self.left == 0 {
            self.sum.send(self.total).expect("the main thread waits");
        }
    }
}

#[derive(Actor)]
struct Writer {
    to: ActorRef<Reader>,
    count: u64,
}

impl Message<Go> for Writer {
    type Reply = ();

    async fn handle(&mut self, _go: Go, _turn: Turn<'_, Self>) {
        for number in 0..self.count {
            send(&self.to, fill(number)).await;
        }
    }
}

impl Peer for Kameo {
    fn mailboxes(&self) -> &'static str {
        "bounded"
    }

    fn pairs(&self, pairs: u64, rounds: u64, done: &Done) {
        let player = || self.start(PLAYER_ITEMS_MAX, Player { other: None, done: done.clone() });
        for _ in 0..pairs {
            let (first, other) = (player(), player());
            send_from_outside(&first, Meet(other.clone()));
            send_from_outside(&other, Meet(first));
            send_from_outside(&other, Throw(rounds * 2 - 1));
        }
    }

    fn ring(&self, nodes: usize, done: &Done) -> impl Fn(u64) {
        let player = |_| self.start(RING_ITEMS_MAX, Player { other: None, done: done.clone() });
        let ring: Vec<_> = (0..nodes).map(player).collect();
        for (node, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            send_from_outside(node, Meet(next.clone()));
        }
        let first = ring[0].clone();
        move |hops| send_from_outside(&first, Throw(hops))
    }

    fn fan_in(&self, each: u64, done: &Done) {
        let sink = self.start(FAN_ITEMS_MAX, Sink { left: each * FAN, done: done.clone() });
        for _ in 0..FAN {
            let source = Source { to: vec![sink.clone()], left: each };
            let source = self.start(ITEMS_MAX, source);
            send_from_outside(&source, Go);
            keep(source);
        }
    }

    fn fan_out(&self, each: u64, done: &Done) {
        let sink = |_| self.start(FAN_ITEMS_MAX, Sink { left: each, done: done.clone() });
        let source = Source { to: (0..FAN).map(sink).collect(), left: each * FAN };
        let source = self.start(ITEMS_MAX, source);
        send_from_outside(&source, Go);
        keep(source);
    }

    fn skynet(&self, leaves: u64, sum: &Sum) {
        let parent = Parent::Main(sum.clone());
        let root = Node { parent, first: 0, leaves, awaited: CHILDREN, total: 0 };
        keep(self.start(ITEMS_MAX, root));
    }

    fn idle(&self, count: u64) {
        self.0.spawn(async move {
            let mut children = Vec::with_capacity(usize::try_from(count).expect("a count"));
            for _ in 0..count {
                children.push(spawn(ITEMS_MAX, Idle));
                tokio::task::coop::consume_budget().await;
            }
            keep(children);
        });
    }

    fn spinners(&self, counts: &Counts, units: u32) {
        for actor in 0..counts.actors() {
            let spinner = self.start(ITEMS_MAX, Spinner { actor, counts: counts.clone(), units });
            send_from_outside(&spinner, Go);
            keep(spinner);
        }
    }

    fn overrunner(&self) {
        let overrunner = self.start(ITEMS_MAX, Overrunner);
        send_from_outside(&overrunner, Go);
        keep(overrunner);
    }

    fn echo(&self) -> impl Fn(Probe) {
        let echo = self.start(ITEMS_MAX, Echo);
        move |probe| send_from_outside(&echo, probe)
    }

    fn blocks(&self, count: u64, sum: &Sum) -> bool {
        let reader = Reader { left: count, total: 0, sum: sum.clone() };
        let to = self.start(BLOCKS_ITEMS_MAX, reader);
        let writer = self.start(ITEMS_MAX, Writer { to, count });
        send_from_outside(&writer, Go);
        keep(writer);
        true
    }
}

fn main() {
    run_program(&["kameo"], Kameo::new);
}
