//! The programs as ractor actors. Its mailboxes have no bound, so a sender that never waits
//! otherwise yields after a batch.

use evenkeel_peers::{
    Births, Counts, Done, Peer, Probe, Run, Sum, keep, overrun,
    programs::{CHILDREN, FAN},
    run_program,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::runtime::{Builder, Runtime};

/// Messages that a source sends before it yields.
const BATCH: u64 = 128;

struct Ractor(Runtime);

impl Ractor {
    fn new(run: &Run) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(run.workers).enable_time().build();
        Self(runtime.expect("threads can be started"))
    }

    fn start<A: Actor>(&self, actor: A, arguments: A::Arguments) -> ActorRef<A::Msg> {
        self.0.block_on(spawn(actor, arguments))
    }
}

async fn spawn<A: Actor>(actor: A, arguments: A::Arguments) -> ActorRef<A::Msg> {
    let (address, _join) =
        Actor::spawn(None, actor, arguments).await.expect("an actor without a name starts");
    address
}

fn send<M: ractor::Message>(to: &ActorRef<M>, message: M) {
    to.cast(message).expect("receivers live until the process ends");
}

type Turn = Result<(), ActorProcessingErr>;
type Start<S> = Result<S, ActorProcessingErr>;

/// A player of a pair, or a node of a ring: both send a number on.
struct Player;

enum Ball {
    Meet(ActorRef<Ball>),
    Throw(u64),
}

struct Game {
    other: Option<ActorRef<Ball>>,
    done: Done,
}

impl Actor for Player {
    type Msg = Ball;
    type State = Game;
    type Arguments = Done;

    async fn pre_start(&self, _me: ActorRef<Ball>, done: Done) -> Start<Game> {
        Ok(Game { other: None, done })
    }

    async fn handle(&self, _me: ActorRef<Ball>, ball: Ball, game: &mut Game) -> Turn {
        match ball {
            Ball::Meet(other) => game.other = Some(other),
            Ball::Throw(0) => game.done.send(())?,
            Ball::Throw(left) => {
                send(game.other.as_ref().expect("they meet first"), Ball::Throw(left - 1));
            }
        }
        Ok(())
    }
}

struct Drip(u64);

struct Sink;

impl Actor for Sink {
    type Msg = Drip;
    type State = (u64, Done);
    type Arguments = (u64, Done);

    async fn pre_start(&self, _me: ActorRef<Drip>, state: (u64, Done)) -> Start<(u64, Done)> {
        Ok(state)
    }

    async fn handle(&self, _me: ActorRef<Drip>, drip: Drip, state: &mut (u64, Done)) -> Turn {
        state.0 -= drip.0;
        if state.0 == 0 {
            state.1.send(())?;
        }
        Ok(())
    }
}

struct Go;

/// Sends to one sink or to many in turn, a batch per message to itself.
struct Source;

impl Actor for Source {
    type Msg = Go;
    type State = (Vec<ActorRef<Drip>>, u64);
    type Arguments = (Vec<ActorRef<Drip>>, u64);

    async fn pre_start(&self, me: ActorRef<Go>, state: Self::State) -> Start<Self::State> {
        send(&me, Go);
        Ok(state)
    }

    async fn handle(&self, me: ActorRef<Go>, _go: Go, (to, left): &mut Self::State) -> Turn {
        for _ in 0..BATCH.min(*left) {
            let next = usize::try_from(*left).expect("a count of messages") % to.len();
            send(&to[next], Drip(1));
            *left -= 1;
        }
        if *left > 0 {
            send(&me, Go);
        }
        tokio::task::yield_now().await;
        Ok(())
    }
}

struct Total(u64);

#[derive(Clone)]
enum Parent {
    Node(ActorRef<Total>),
    Main(Sum),
}

impl Parent {
    fn tell(&self, total: u64) -> Turn {
        match self {
            Self::Node(parent) => send(parent, Total(total)),
            Self::Main(main) => main.send(total)?,
        }
        Ok(())
    }
}

struct Node;

struct Subtree {
    parent: Parent,
    first: u64,
    leaves: u64,
    awaited: u64,
    total: u64,
}

impl Actor for Node {
    type Msg = Total;
    type State = Subtree;
    type Arguments = Subtree;

    async fn pre_start(&self, _me: ActorRef<Total>, tree: Subtree) -> Start<Subtree> {
        Ok(tree)
    }

    async fn post_start(&self, me: ActorRef<Total>, tree: &mut Subtree) -> Turn {
        if tree.leaves == 1 {
            tree.parent.tell(tree.first)?;
            me.stop(None);
            return Ok(());
        }
        let leaves = tree.leaves / CHILDREN;
        for child in 0..CHILDREN {
            let first = tree.first + child * leaves;
            let parent = Parent::Node(me.clone());
            let child = Subtree { parent, first, leaves, awaited: CHILDREN, total: 0 };
            // The spawn of the child waits for its start, which must not wait for its children's.
            spawn(Node, child).await;
        }
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Total>, total: Total, tree: &mut Subtree) -> Turn {
        tree.total += total.0;
        tree.awaited -= 1;
        if tree.awaited == 0 {
            tree.parent.tell(tree.total)?;
            me.stop(None);
        }
        Ok(())
    }
}

struct Idle;

impl Actor for Idle {
    type Msg = Total;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _me: ActorRef<Total>, (): ()) -> Start<()> {
        Births::report();
        Ok(())
    }
}

struct Spinner;

impl Actor for Spinner {
    type Msg = Go;
    type State = (usize, Counts, u32);
    type Arguments = (usize, Counts, u32);

    async fn pre_start(&self, me: ActorRef<Go>, state: Self::State) -> Start<Self::State> {
        send(&me, Go);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Go>,
        go: Go,
        (actor, counts, units): &mut Self::State,
    ) -> Turn {
        counts.work(*actor, *units);
        send(&me, go);
        Ok(())
    }
}

struct Overrunner;

impl Actor for Overrunner {
    type Msg = Go;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Go>, (): ()) -> Start<()> {
        send(&me, Go);
        Ok(())
    }

    async fn handle(&self, me: ActorRef<Go>, go: Go, _state: &mut ()) -> Turn {
        overrun();
        send(&me, go);
        Ok(())
    }
}

struct Request(Probe);

struct Echo;

impl Actor for Echo {
    type Msg = Request;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _me: ActorRef<Request>, (): ()) -> Start<()> {
        Ok(())
    }

    async fn handle(&self, _me: ActorRef<Request>, request: Request, _state: &mut ()) -> Turn {
        request.0.answer();
        Ok(())
    }
}

impl Peer for Ractor {
    fn mailboxes(&self) -> &'static str {
        "unbounded"
    }

    fn pairs(&self, pairs: u64, rounds: u64, done: &Done) {
        for _ in 0..pairs {
            let first = self.start(Player, done.clone());
            let other = self.start(Player, done.clone());
            send(&first, Ball::Meet(other.clone()));
            send(&other, Ball::Meet(first));
            send(&other, Ball::Throw(rounds * 2 - 1));
        }
    }

    fn ring(&self, nodes: usize, done: &Done) -> impl Fn(u64) {
        let ring: Vec<_> = (0..nodes).map(|_| self.start(Player, done.clone())).collect();
        for (node, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
            send(node, Ball::Meet(next.clone()));
        }
        let first = ring[0].clone();
        move |hops| send(&first, Ball::Throw(hops))
    }

    fn fan_in(&self, each: u64, done: &Done) {
        let sink = self.start(Sink, (each * FAN, done.clone()));
        for _ in 0..FAN {
            self.start(Source, (vec![sink.clone()], each));
        }
    }

    fn fan_out(&self, each: u64, done: &Done) {
        let sinks = (0..FAN).map(|_| self.start(Sink, (each, done.clone()))).collect();
        self.start(Source, (sinks, each * FAN));
    }

    fn skynet(&self, leaves: u64, sum: &Sum) {
        let parent = Parent::Main(sum.clone());
        self.start(Node, Subtree { parent, first: 0, leaves, awaited: CHILDREN, total: 0 });
    }

    fn idle(&self, count: u64) {
        self.0.spawn(async move {
            let mut children = Vec::with_capacity(usize::try_from(count).expect("a count"));
            for _ in 0..count {
                children.push(spawn(Idle, ()).await);
            }
            keep(children);
        });
    }

    fn spinners(&self, counts: &Counts, units: u32) {
        for actor in 0..counts.actors() {
            self.start(Spinner, (actor, counts.clone(), units));
        }
    }

    fn overrunner(&self) {
        self.start(Overrunner, ());
    }

    fn echo(&self) -> impl Fn(Probe) {
        let echo = self.start(Echo, ());
        move |probe| send(&echo, Request(probe))
    }
}

fn main() {
    run_program(&["ractor"], Ractor::new);
}
