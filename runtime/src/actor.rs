//! Sync actors: the trait, and the body that runs one.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};

use crate::{
    budget,
    cell::{Body, Order, Turn, Verdict},
    ctx::Ctx,
    entropy::Entropy,
    message::Message,
    restart::{Decision, Restart, Restarts},
    status::Exit,
    ticket::Ticket,
    time::Time,
};

/// How a turn of an actor ends.
#[derive(Debug)]
pub enum Flow {
    /// On to the next message.
    Next,
    /// Call `resume` again next turn, before any message.
    More,
    /// No messages until the ticket is done, then `resume`.
    Park(Ticket),
    /// The actor ends; what waits in its mailbox is dropped.
    Stop,
}

/// A process with state that handles one message at a time and never waits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an actor",
    label = "only what implements `Actor` can be spawned",
    note = "futures are spawned by `spawn_future` and `spawn_async`"
)]
pub trait Actor: Send + 'static {
    /// What it understands.
    type Message: Message;

    /// False for an actor whose `start` does nothing: it is born idle, and is made, if it has a
    /// factory, when its first message comes. Such a spawn costs no turn.
    const HAS_START: bool = true;

    /// Handles one message. Long work is cut into slices that return [`Flow::More`].
    fn handle(&mut self, message: Self::Message, ctx: &mut Ctx<'_, Self::Message>) -> Flow;

    /// Goes on after [`Flow::More`] or [`Flow::Park`].
    fn resume(&mut self, _ctx: &mut Ctx<'_, Self::Message>) -> Flow {
        Flow::Next
    }

    /// Called once after spawn and after every restart.
    fn start(&mut self, _ctx: &mut Ctx<'_, Self::Message>) -> Flow {
        Flow::Next
    }
}

/// What the actor does when it gets its turn.
enum Phase {
    /// It is made and started.
    New,
    Ready,
    More,
    Parked(Ticket),
    /// It has panicked, and is made anew at this time.
    Backoff(Time),
}

/// How an actor's state is made.
pub(crate) trait Make<A>: Send + 'static {
    /// The state for a first or a further life.
    fn make(&mut self) -> A;
}

impl<A, F: FnMut() -> A + Send + 'static> Make<A> for F {
    fn make(&mut self) -> A {
        self()
    }
}

/// Of an actor that was given whole and has one life.
pub(crate) struct MadeOnce;

impl<A> Make<A> for MadeOnce {
    fn make(&mut self) -> A {
        unreachable!("an actor that is given whole is never restarted")
    }
}

/// What is remembered of the panics of an actor that gets up again.
struct Lives {
    rule: Restart,
    restarts: Restarts,
}

/// An actor with what it takes to make it again.
pub(crate) struct ActorBody<A: Actor, F> {
    actor: Option<A>,
    factory: F,
    phase: Phase,
    is_suspended: bool,
    /// `None` for an actor that a panic stops.
    lives: Option<Box<Lives>>,
    entropy: Option<Box<Entropy>>,
}

impl<A: Actor> ActorBody<A, MadeOnce> {
    pub(crate) const fn once(actor: A) -> Self {
        Self {
            actor: Some(actor),
            factory: MadeOnce,
            phase: Phase::New,
            is_suspended: false,
            lives: None,
            entropy: None,
        }
    }
}

impl<A: Actor, F: Make<A>> ActorBody<A, F> {
    pub(crate) fn new(factory: F, rule: Restart) -> Self {
        let lives = match rule {
            Restart::Never => None,
            Restart::Always { .. } => Some(Box::new(Lives { rule, restarts: Restarts::default() })),
        };
        Self { actor: None, factory, phase: Phase::New, is_suspended: false, lives, entropy: None }
    }

    fn step(&mut self, turn: &Turn<'_, A::Message>) -> Verdict {
        if let Some(verdict) = self.obey(turn) {
            return verdict;
        }
        let header = turn.header();
        let is_stopping = header.is_stopping();
        if self.is_suspended && !is_stopping {
            return Verdict::Parked;
        }
        let mut ctx = Ctx::new(turn.me(), &mut self.entropy);
        let flow = match &self.phase {
            Phase::Ready => Flow::Next,
            // What is asked to stop does not begin long work, nor wait for the end of it.
            Phase::New | Phase::More | Phase::Parked(_) | Phase::Backoff(_) if is_stopping => {
                return Verdict::Done(Exit::Stopped);
            }
            Phase::Backoff(until) if *until > header.system.now() => return Verdict::Parked,
            Phase::New | Phase::Backoff(_) => {
                budget::consume(1);
                let factory = &mut self.factory;
                self.actor.get_or_insert_with(|| factory.make()).start(&mut ctx)
            }
            Phase::Parked(ticket) if !ticket.is_done() => return Verdict::Parked,
            Phase::More | Phase::Parked(_) => {
                budget::consume(1);
                let actor = self.actor.as_mut().expect("a started actor is there");
                actor.resume(&mut ctx)
            }
        };
        let actor = self.actor.as_mut().expect("a started actor is there");
        let phase = &mut self.phase;
        if let Some(verdict) = enter(phase, flow, is_stopping) {
            return verdict;
        }
        loop {
            if budget::left() == 0 {
                return Verdict::Again;
            }
            let Some(message) = turn.pop() else {
                return if is_stopping { Verdict::Done(Exit::Stopped) } else { Verdict::Idle };
            };
            budget::consume(message.cost());
            let flow = actor.handle(message, &mut ctx);
            if let Some(verdict) = enter(phase, flow, is_stopping) {
                return verdict;
            }
        }
    }

    /// Carries out what was ordered; `Some` ends the turn.
    fn obey(&mut self, turn: &Turn<'_, A::Message>) -> Option<Verdict> {
        while let Some(order) = turn.header().next_order() {
            match order {
                Order::Suspend => self.is_suspended = true,
                Order::Resume => self.is_suspended = false,
                Order::Kill => return Some(Verdict::Done(Exit::Killed)),
            }
        }
        None
    }

    /// Ends a life: drops the state, and decides what comes next.
    fn crash(&mut self, turn: &Turn<'_, A::Message>, payload: &(dyn Any + Send)) -> Verdict {
        let header = turn.header();
        let system = &header.system;
        let name = header.identity().name;
        let reason = panic_text(payload);
        header.generation.fetch_add(1, Ordering::AcqRel);
        let broken = self.actor.take();
        if catch_unwind(AssertUnwindSafe(|| drop(broken))).is_err() {
            tracing::error!(name, "the state of a crashed actor panicked while it was dropped");
        }
        tracing::error!(name, reason, "an actor panicked");
        system.count_panic();
        let Some(lives) = self.lives.as_mut().filter(|_| !header.is_stopping()) else {
            return Verdict::Done(Exit::Panicked(reason));
        };
        let entropy = self.entropy.get_or_insert_with(|| Box::new(turn.me().entropy()));
        match lives.restarts.decide(lives.rule, system.now(), entropy) {
            Decision::Stop => Verdict::Done(Exit::Panicked(reason)),
            Decision::Escalate { panics } => {
                system.escalate(name, panics, &reason);
                Verdict::Done(Exit::Panicked(reason))
            }
            Decision::Again { at } => {
                system.count_restart();
                self.phase = Phase::Backoff(at);
                let process = turn.me().task().clone();
                system.set_timer(at, Box::new(move || process.wake_up()));
                Verdict::Parked
            }
        }
    }
}

/// Enters the phase that `flow` asks for; `Some` ends the turn.
fn enter(phase: &mut Phase, flow: Flow, is_stopping: bool) -> Option<Verdict> {
    match flow {
        Flow::Next => {
            *phase = Phase::Ready;
            None
        }
        Flow::Stop => Some(Verdict::Done(Exit::Stopped)),
        Flow::More | Flow::Park(_) if is_stopping => Some(Verdict::Done(Exit::Stopped)),
        Flow::More => {
            *phase = Phase::More;
            Some(Verdict::Again)
        }
        Flow::Park(ticket) => {
            *phase = Phase::Parked(ticket);
            Some(Verdict::Parked)
        }
    }
}

impl<A: Actor, F: Make<A>> Body<A::Message> for ActorBody<A, F> {
    fn is_born_idle(&self) -> bool {
        !A::HAS_START
    }

    fn turn(&mut self, turn: &Turn<'_, A::Message>) -> Verdict {
        match catch_unwind(AssertUnwindSafe(|| self.step(turn))) {
            Ok(verdict) => verdict,
            Err(payload) => self.crash(turn, &*payload),
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without text".to_owned()
    }
}
