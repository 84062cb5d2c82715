//! The programs as actix actors. An actor stays on the thread it was started on (an arbiter), so
//! these are placed as an actix user would: players of a pair together, a ring in arcs, a subtree
//! on one thread, the rest in turn.
//!
//! An arbiter polls one actor until it has nothing to do: one that sends itself messages, or
//! retries, would never let another run. So what goes on for ever here yields after each step.

use std::sync::atomic::{AtomicUsize, Ordering};

use actix::prelude::*;
use evenkeel_peers::{
    Births, Counts, Done, Peer, Probe, Run, Sum, checksum, fill, keep, overrun,
    programs::{
        BLOCKS_ITEMS_MAX, CHILDREN, FAN, FAN_ITEMS_MAX, ITEMS_MAX, PLAYER_ITEMS_MAX, RING_ITEMS_MAX,
    },
    run_program,
};

/// Messages that a source sends before it yields.
const BATCH: u64 = 128;

struct Actix {
    arbiters: Vec<ArbiterHandle>,
    placed: AtomicUsize,
}

impl Actix {
    fn new(run: &Run) -> Self {
        keep(System::new());
        let arbiter = |_| {
            let arbiter = Arbiter::new();
            let handle = arbiter.handle();
            keep(arbiter);
            handle
        };
        Self { arbiters: (0..run.workers).map(arbiter).collect(), placed: AtomicUsize::new(0) }
    }

    /// The next thread in turn.
    fn next(&self) -> &ArbiterHandle {
        let number = self.placed.fetch_add(1, Ordering::Relaxed);
        &self.arbiters[number % self.arbiters.len()]
    }
}

fn start<A>(on: &ArbiterHandle, items_max: usize, actor: A) -> Addr<A>
where
    A: Actor<Context = Context<A>> + Send,
{
    A::start_in_arbiter(on, move |context| {
        context.set_mailbox_capacity(items_max);
        actor
    })
}

/// Sends past the bound, as `notify` and most actix code does.
fn send<A, M>(to: &Addr<A>, message: M)
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message<Result = ()> + Send + 'static,
{
    to.do_send(message);
}

/// Runs `step` until it says false, and lets all others of the thread run after each.
fn go_on<A: Actor<Context = Context<A>>>(
    actor: &mut A,
    context: &mut Context<A>,
    step: fn(&mut A) -> bool,
) {
    if !step(actor) {
        return;
    }
    let turn = tokio::task::yield_now().into_actor(actor);
    context.spawn(turn.map(move |(), actor, context| go_on(actor, context, step)));
}

/// A player of a pair, or a node of a ring: both send a number on.
struct Player {
    other: Option<Addr<Player>>,
    done: Done,
}

impl Actor for Player {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Meet(Addr<Player>);

#[derive(Message)]
#[rtype(result = "()")]
struct Throw(u64);

impl Handler<Meet> for Player {
    type Result = ();

    fn handle(&mut self, meet: Meet, _context: &mut Context<Self>) {
        self.other = Some(meet.0);
    }
}

impl Handler<Throw> for Player {
    type Result = ();

    fn handle(&mut self, throw: Throw, _context: &mut Context<Self>) {
        if throw.0 == 0 {
            self.done.send(()).expect("the main thread waits");
        } else {
            send(self.other.as_ref().expect("they meet first"), Throw(throw.0 - 1));
        }
    }
}

struct Sink {
    left: u64,
    done: Done,
}

impl Actor for Sink {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Drip(u64);

impl Handler<Drip> for Sink {
    type Result = ();

    fn handle(&mut self, drip: Drip, _context: &mut Context<Self>) {
        self.left -= drip.0;
        if self.left == 0 {
            self.done.send(()).expect("the main thread waits");
        }
    }
}

/// Sends to one sink or to many in turn; a full mailbox, or the end of a batch, ends a step.
struct Source {
    to: Vec<Addr<Sink>>,
    left: u64,
}

impl Source {
    fn step(&mut self) -> bool {
        for _ in 0..BATCH.min(self.left) {
            let next = usize::try_from(self.left).expect("a count of messages") % self.to.len();
            if self.to[next].try_send(Drip(1)).is_err() {
                return true;
            }
            self.left -= 1;
        }
        self.left > 0
    }
}

impl Actor for Source {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        go_on(self, context, Self::step);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Total(u64);

enum Parent {
    Node(Addr<Node>),
    Main(Sum),
}

impl Parent {
    fn tell(&self, total: u64) {
        match self {
            Self::Node(parent) => send(parent, Total(total)),
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
    /// Where the root's children go, in turn; all others stay with their parent.
    arbiters: Vec<ArbiterHandle>,
}

impl Actor for Node {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if self.leaves == 1 {
            self.parent.tell(self.first);
            context.stop();
            return;
        }
        let leaves = self.leaves / CHILDREN;
        let mut places = self.arbiters.iter().cycle();
        for child in 0..CHILDREN {
            let first = self.first + child * leaves;
            let parent = Parent::Node(context.address());
            let arbiters = Vec::new();
            let node = Self { parent, first, leaves, awaited: CHILDREN, total: 0, arbiters };
            match places.next() {
                Some(place) => Self::start_in_arbiter(place, move |_| node),
                None => node.start(),
            };
        }
    }
}

impl Handler<Total> for Node {
    type Result = ();

    fn handle(&mut self, total: Total, context: &mut Context<Self>) {
        self.total += total.0;
        self.awaited -= 1;
        if self.awaited == 0 {
            self.parent.tell(self.total);
            context.stop();
        }
    }
}

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;

    fn started(&mut self, _context: &mut Context<Self>) {
        Births::report();
    }
}

/// Spawns idle actors on its own thread.
struct Nursery {
    children: Vec<Addr<Idle>>,
    left: u64,
}

impl Nursery {
    fn step(&mut self) -> bool {
        let count = BATCH.min(self.left);
        self.children.extend((0..count).map(|_| Idle.start()));
        self.left -= count;
        self.left > 0
    }
}

impl Actor for Nursery {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        go_on(self, context, Self::step);
    }
}

struct Spinner {
    actor: usize,
    counts: Counts,
    units: u32,
}

impl Spinner {
    fn step(&mut self) -> bool {
        self.counts.work(self.actor, self.units);
        true
    }
}

impl Actor for Spinner {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        go_on(self, context, Self::step);
    }
}

struct Overrunner;

impl Actor for Overrunner {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        go_on(self, context, |_| {
            overrun();
            true
        });
    }
}

struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Request(Probe);

impl Handler<Request> for Echo {
    type Result = ();

    fn handle(&mut self, request: Request, _context: &mut Context<Self>) {
        request.0.answer();
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Block(Vec<u8>);

struct Reader {
    left: u64,
    total: u64,
    sum: Sum,
}

impl Actor for Reader {
    type Context = Context<Self>;
}

impl Handler<Block> for Reader {
    type Result = ();

    fn handle(&mut self, block: Block, _context: &mut Context<Self>) {
        self.total ^= checksum(&block.0);
        self.left -= 1;
        if self.left == 0 {
            self.sum.send(self.total).expect("the main thread waits");
        }
    }
}

/// Makes blocks; one that the mailbox gives back is offered again after a yield.
struct Writer {
    to: Addr<Reader>,
    next: u64,
    count: u64,
    refused: Option<Block>,
}

impl Writer {
    fn step(&mut self) -> bool {
        while self.next < self.count {
            let block = self.refused.take().unwrap_or_else(|| Block(fill(self.next)));
            if let Err(error) = self.to.try_send(block) {
                self.refused = Some(error.into_inner());
                return true;
            }
            self.next += 1;
        }
        false
    }
}

impl Actor for Writer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        go_on(self, context, Self::step);
    }
}

impl Peer for Actix {
    fn mailboxes(&self) -> &'static str {
        "bounded in fans and backpressure"
    }

    fn pairs(&self, pairs: u64, rounds: u64, done: &Done) {
        for _ in 0..pairs {
            let place = self.next();
            let player = || Player { other: None, done: done.clone() };
            let first = start(place, PLAYER_ITEMS_MAX, player());
            let other = start(place, PLAYER_ITEMS_MAX, player());
            send(&first, Meet(other.clone()));
            send(&other, Meet(first));
            send(&other, Throw(rounds * 2 - 1));
        }
    }

    fn ring(&self, nodes: usize, done: &Done) -> impl Fn(u64) {
        let node = |number: usize| {
            let place = &self.arbiters[number * self.arbiters.len() / nodes];
            start(place, RING_ITEMS_MAX, Player { other: None, done: done.clone() })
        };
        let ring: Vec<_> = (0..nodes).map(node).collect();
        for (node, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            send(node, Meet(next.clone()));
        }
        let first = ring[0].clone();
        move |hops| send(&first, Throw(hops))
    }

    fn fan_in(&self, each: u64, done: &Done) {
        let sink = Sink { left: each * FAN, done: done.clone() };
        let sink = start(self.next(), FAN_ITEMS_MAX, sink);
        for _ in 0..FAN {
            let source = Source { to: vec![sink.clone()], left: each };
            keep(start(self.next(), ITEMS_MAX, source));
        }
    }

    fn fan_out(&self, each: u64, done: &Done) {
        let sink = |_| start(self.next(), FAN_ITEMS_MAX, Sink { left: each, done: done.clone() });
        let source = Source { to: (0..FAN).map(sink).collect(), left: each * FAN };
        keep(start(self.next(), ITEMS_MAX, source));
    }

    fn skynet(&self, leaves: u64, sum: &Sum) {
        let (parent, arbiters) = (Parent::Main(sum.clone()), self.arbiters.clone());
        let root = Node { parent, first: 0, leaves, awaited: CHILDREN, total: 0, arbiters };
        keep(start(self.next(), ITEMS_MAX, root));
    }

    fn idle(&self, count: u64) {
        let places = self.arbiters.len() as u64;
        for (number, place) in (0..places).zip(&self.arbiters) {
            let left = count * (number + 1) / places - count * number / places;
            let capacity = usize::try_from(left).expect("a count of actors");
            let nursery = Nursery { children: Vec::with_capacity(capacity), left };
            keep(start(place, ITEMS_MAX, nursery));
        }
    }

    fn spinners(&self, counts: &Counts, units: u32) {
        for actor in 0..counts.actors() {
            let spinner = Spinner { actor, counts: counts.clone(), units };
            keep(start(self.next(), ITEMS_MAX, spinner));
        }
    }

    fn overrunner(&self) {
        keep(start(self.next(), ITEMS_MAX, Overrunner));
    }

    fn echo(&self) -> impl Fn(Probe) {
        let echo = start(self.next(), ITEMS_MAX, Echo);
        move |probe| send(&echo, Request(probe))
    }

    fn blocks(&self, count: u64, sum: &Sum) -> bool {
        let reader = Reader { left: count, total: 0, sum: sum.clone() };
        let to = start(self.next(), BLOCKS_ITEMS_MAX, reader);
        let writer = Writer { to, next: 0, count, refused: None };
        keep(start(self.next(), ITEMS_MAX, writer));
        true
    }
}

fn main() {
    run_program(&["actix"], Actix::new);
}
