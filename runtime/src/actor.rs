//! Sync actors: the trait, and the body that runs one.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
};

use crate::{
    address::Address,
    budget,
    cell::{Body, Process, Task, Verdict},
    ctx::Ctx,
    entropy::Entropy,
    mailbox::Letters,
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
pub trait Actor: Send + 'static {
    /// What it understands.
    type Message: Message;

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

/// An actor with what it takes to make it again.
pub(crate) struct ActorBody<A: Actor, F> {
    actor: Option<A>,
    factory: F,
    phase: Phase,
    restart: Restart,
    restarts: Option<Box<Restarts>>,
    entropy: Option<Box<Entropy>>,
}

impl<A: Actor, F: FnMut() -> A + Send> ActorBody<A, F> {
    pub(crate) const fn new(factory: F, restart: Restart) -> Self {
        Self { actor: None, factory, phase: Phase::New, restart, restarts: None, entropy: None }
    }

    fn step(&mut self, me: &Address<A::Message>, taken: &mut Letters<A::Message>) -> Verdict {
        let header = me.cell().header();
        let is_stopping = header.is_stopping();
        let mut ctx = Ctx::new(me, &mut self.entropy);
        let flow = match &self.phase {
            Phase::Ready => Flow::Next,
            // What is asked to stop does not begin long work, nor wait for the end of it.
            Phase::New | Phase::More | Phase::Parked(_) | Phase::Backoff(_) if is_stopping => {
                return Verdict::Done(Exit::Stopped);
            }
            Phase::Backoff(until) if *until > header.system.now() => {
                return Verdict::Idle { resumable: true };
            }
            Phase::New | Phase::Backoff(_) => {
                self.actor = Some((self.factory)());
                budget::consume(1);
                self.actor.as_mut().expect("made in the line above").start(&mut ctx)
            }
            Phase::Parked(ticket) if !ticket.is_done() => {
                return Verdict::Idle { resumable: true };
            }
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
        let mut is_drained = false;
        loop {
            if budget::left() == 0 {
                return Verdict::Again;
            }
            if taken.is_empty() && !is_drained {
                is_drained = me.cell().queue().take_batch(taken);
            }
            let Some(letter) = taken.pop_front() else {
                // An idle actor that had a burst does not keep its room.
                if taken.capacity() > crate::limits::BATCH_ITEMS_MAX * 2 {
                    *taken = Letters::new();
                }
                return if is_stopping {
                    Verdict::Done(Exit::Stopped)
                } else {
                    Verdict::Idle { resumable: true }
                };
            };
            budget::consume(letter.message.cost());
            let flow = actor.handle(letter.message, &mut ctx);
            if let Some(verdict) = enter(phase, flow, is_stopping) {
                return verdict;
            }
        }
    }

    /// Ends a life: drops the state, and decides what comes next.
    fn crash(&mut self, me: &Address<A::Message>, payload: &(dyn Any + Send)) -> Verdict {
        let header = me.cell().header();
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
        if header.is_stopping() {
            return Verdict::Done(Exit::Panicked(reason));
        }
        let restarts = self.restarts.get_or_insert_with(Default::default);
        let entropy = self.entropy.get_or_insert_with(|| Box::new(me.entropy()));
        match restarts.decide(self.restart, system.now(), entropy) {
            Decision::Stop => Verdict::Done(Exit::Panicked(reason)),
            Decision::Escalate { panics } => {
                system.escalate(name, panics, &reason);
                Verdict::Done(Exit::Panicked(reason))
            }
            Decision::Again { at } => {
                system.count_restart();
                self.phase = Phase::Backoff(at);
                let process = std::sync::Arc::clone(me.cell()) as Task;
                system.set_timer(at, Box::new(move || Process::wake_up(process)));
                Verdict::Idle { resumable: true }
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
            Some(Verdict::Idle { resumable: true })
        }
    }
}

impl<A: Actor, F: FnMut() -> A + Send> Body<A::Message> for ActorBody<A, F> {
    fn turn(&mut self, me: &Address<A::Message>, taken: &mut Letters<A::Message>) -> Verdict {
        match catch_unwind(AssertUnwindSafe(|| self.step(me, taken))) {
            Ok(verdict) => verdict,
            Err(payload) => self.crash(me, &*payload),
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
