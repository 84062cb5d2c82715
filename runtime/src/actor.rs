//! Sync actors: the trait, and the body that runs one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use crate::{
    budget,
    cell::{Body, Order, Turn, Verdict, said_by},
    ctx::Ctx,
    entropy::Entropy,
    message::Message,
    spans,
    status::Exit,
    supervision::{
        AtRestart, Restart,
        actor::{Blame, Signal},
        machine::{ChildId, Effect, Event, Machine},
    },
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
    /// The same, and its supervisor waits to be told.
    Anew,
    Ready,
    More,
    Parked(Ticket),
    /// Its life has ended; it is made anew at this time, or when its supervisor says so.
    Down(Option<Time>),
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

/// Who decides what comes after a life.
enum Keeper {
    /// The machine of a supervisor of which the actor is the only child.
    Own(Box<Machine>),
    Supervisor(AtRestart),
}

/// An actor with what it takes to make it again.
pub(crate) struct ActorBody<A: Actor, F> {
    actor: Option<A>,
    factory: F,
    phase: Phase,
    rare: Option<Box<Rare>>,
}

/// What many actors never need.
#[derive(Default)]
pub(crate) struct Rare {
    /// `None` for an actor with one life.
    keeper: Option<Keeper>,
    /// Made when it is first asked for.
    pub(crate) entropy: Option<Box<Entropy>>,
    is_suspended: bool,
}

impl<A: Actor> ActorBody<A, MadeOnce> {
    pub(crate) const fn once(actor: A) -> Self {
        Self { actor: Some(actor), factory: MadeOnce, phase: Phase::New, rare: None }
    }

    /// An actor whose first panic stops the system.
    pub(crate) fn indispensable(actor: A) -> Self {
        let rule = Restart::Always { max: 0, window: Duration::MAX, backoff: Duration::ZERO };
        Self { rare: own(rule), ..Self::once(actor) }
    }
}

fn own(rule: Restart) -> Option<Box<Rare>> {
    rule.rules().map(|rules| Box::new(kept(Keeper::Own(Box::new(Machine::alone(rules))))))
}

fn kept(keeper: Keeper) -> Rare {
    Rare { keeper: Some(keeper), ..Rare::default() }
}

impl<A: Actor, F: Make<A>> ActorBody<A, F> {
    pub(crate) fn new(factory: F, rule: Restart) -> Self {
        Self { actor: None, factory, phase: Phase::New, rare: own(rule) }
    }

    pub(crate) fn supervised(factory: F, at_restart: AtRestart) -> Self {
        let rare = Some(Box::new(kept(Keeper::Supervisor(at_restart))));
        Self { rare, ..Self::new(factory, Restart::Never) }
    }

    fn keeper(&self) -> Option<&Keeper> {
        self.rare.as_deref()?.keeper.as_ref()
    }

    fn is_suspended(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.is_suspended)
    }

    /// A turn behind the panic fence; each message in its span if somebody listens. Compiled for
    /// either case, so that a turn which nobody traces has no trace of it: 4 of the 143 ns of a
    /// ping-pong's round trip (`docs/bench-runtime-notes.md`).
    #[inline]
    fn fenced<const IS_TRACED: bool>(&mut self, turn: &Turn<'_, A::Message>) -> Verdict {
        let mut exit = None;
        // What comes out of the fence goes through memory: a tag, since a verdict written in parts
        // and read as a whole is a stall of the processor in each turn.
        let step = AssertUnwindSafe(|| match self.step::<IS_TRACED>(turn) {
            Verdict::Idle => Tag::Idle,
            Verdict::Parked | Verdict::Pending { .. } => Tag::Parked,
            Verdict::Again => Tag::Again,
            Verdict::Done(with) => {
                exit = Some(with);
                Tag::Done
            }
        });
        match catch_unwind(step) {
            Ok(Tag::Idle) => Verdict::Idle,
            Ok(Tag::Parked) => Verdict::Parked,
            Ok(Tag::Again) => Verdict::Again,
            Ok(Tag::Done) => Verdict::Done(exit.unwrap_or(Exit::Stopped)),
            Err(payload) => self.crash(turn, said_by(payload)),
        }
    }

    fn step<const IS_TRACED: bool>(&mut self, turn: &Turn<'_, A::Message>) -> Verdict {
        if let Some(verdict) = self.obey(turn) {
            return verdict;
        }
        let header = turn.header();
        let is_stopping = header.is_stopping();
        if !is_stopping && self.is_suspended() {
            return Verdict::Parked;
        }
        if let Phase::Down(Some(until)) = self.phase
            && until <= header.system.now()
        {
            self.tell_own(turn, until, Event::Due);
            self.phase = Phase::New;
        }
        let mut ctx = Ctx::new(turn.me(), &mut self.rare);
        let flow = match &self.phase {
            Phase::Ready => Flow::Next,
            // What is asked to stop does not begin long work, nor wait for the end of it.
            Phase::More | Phase::Parked(_) | Phase::Down(_) if is_stopping => {
                return Verdict::Done(Exit::Stopped);
            }
            // It need not be made only to end, but what came before the stop is handled.
            Phase::New | Phase::Anew if is_stopping && !turn.has_letters() => {
                return Verdict::Done(Exit::Stopped);
            }
            Phase::Down(_) => return Verdict::Parked,
            Phase::New | Phase::Anew => {
                budget::consume(1);
                let factory = &mut self.factory;
                let flow = self.actor.get_or_insert_with(|| factory.make()).start(&mut ctx);
                if let Phase::Anew = self.phase {
                    header.report(|child| Signal::Begun { child });
                }
                flow
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
        if budget::left() == 0 {
            return Verdict::Again;
        }
        let mut next = turn.pop();
        while let Some(message) = next {
            budget::consume_message(message.cost());
            let flow = if IS_TRACED {
                spans::of_message(message.kind(), || actor.handle(message, &mut ctx))
            } else {
                actor.handle(message, &mut ctx)
            };
            if let Some(verdict) = enter(phase, flow, is_stopping) {
                return verdict;
            }
            if budget::left() == 0 {
                return Verdict::Again;
            }
            next = turn.next();
        }
        if is_stopping { Verdict::Done(Exit::Stopped) } else { Verdict::Idle }
    }

    /// Carries out what was ordered; `Some` ends the turn.
    fn obey(&mut self, turn: &Turn<'_, A::Message>) -> Option<Verdict> {
        while let Some(order) = turn.header().next_order() {
            match order {
                Order::Suspend => self.rare.get_or_insert_default().is_suspended = true,
                Order::Resume => {
                    if let Some(rare) = &mut self.rare {
                        rare.is_suspended = false;
                    }
                }
                Order::End => return Some(Verdict::Done(Exit::Killed)),
                // Of an actor with a rule of its own, only panics are forgiven.
                Order::Kill | Order::Broken(_) if !self.is_supervised() => {
                    let exit = if let Order::Broken(exit) = order { exit } else { Exit::Killed };
                    return Some(Verdict::Done(exit));
                }
                // It has no life that could end.
                Order::Kill | Order::Broken(_) | Order::Halt if self.is_down() => {}
                Order::Kill => self.fail(turn, &Exit::Killed),
                Order::Broken(exit) => self.fail(turn, &exit),
                Order::Halt => {
                    self.end_life(turn, &Exit::Killed);
                    turn.header().report(|child| Signal::Halted { child });
                }
                Order::Begin => self.begin(turn),
                Order::Visit(visit) => visit(self.actor.as_mut().map(|actor| actor as _)),
            }
        }
        None
    }

    fn is_supervised(&self) -> bool {
        matches!(self.keeper(), Some(Keeper::Supervisor(_)))
    }

    const fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Down(_))
    }

    fn begin(&mut self, turn: &Turn<'_, A::Message>) {
        if let Some(Keeper::Supervisor(AtRestart::Drop)) = self.keeper() {
            turn.bury_waiting();
        }
        self.phase = Phase::Anew;
    }

    /// Ends a life: drops the state, tells monitors and links.
    fn end_life(&mut self, turn: &Turn<'_, A::Message>, exit: &Exit) {
        self.phase = Phase::Down(None);
        let broken = self.actor.take();
        turn.header().end_life(|| drop(broken), exit);
    }

    /// Ends a life against the rules; the supervisor decides what comes next.
    fn fail(&mut self, turn: &Turn<'_, A::Message>, exit: &Exit) {
        self.end_life(turn, exit);
        turn.header().report_crash(exit);
    }

    /// A panic has ended the turn.
    fn crash(&mut self, turn: &Turn<'_, A::Message>, reason: String) -> Verdict {
        let header = turn.header();
        let name = header.identity().name;
        tracing::error!(name, reason, "an actor panicked");
        header.system.count_panic();
        match self.keeper() {
            None => Verdict::Done(Exit::Panicked(reason)),
            Some(_) if header.is_stopping() => Verdict::Done(Exit::Panicked(reason)),
            Some(Keeper::Supervisor(_)) => {
                self.fail(turn, &Exit::Panicked(reason));
                Verdict::Parked
            }
            Some(Keeper::Own(_)) => self.decide(turn, reason),
        }
    }

    /// What a supervisor with this one child does.
    fn decide(&mut self, turn: &Turn<'_, A::Message>, reason: String) -> Verdict {
        let header = turn.header();
        let system = &header.system;
        let effects = self.tell_own(turn, system.now(), Event::Crashed { child: ChildId::ALONE });
        let exit = Exit::Panicked(reason);
        for effect in effects {
            match effect {
                Effect::Wake(at) => {
                    system.count_restart();
                    self.end_life(turn, &exit);
                    self.phase = Phase::Down(Some(at));
                    let process = turn.me().task().clone();
                    system.set_timer(at, Box::new(move || process.wake_up()));
                    return Verdict::Parked;
                }
                Effect::Begin(_) => {
                    system.count_restart();
                    self.end_life(turn, &exit);
                    self.phase = Phase::New;
                    return Verdict::Again;
                }
                Effect::Escalate { crashes } => {
                    let Blame { name, reason, .. } = Blame::new(header.identity().name, &exit);
                    system.escalate(name, crashes, &reason);
                    return Verdict::Done(exit);
                }
                // It is the child, and ends at once.
                Effect::Halt(_)
                | Effect::Stop(_)
                | Effect::Kill(_)
                | Effect::Halted
                | Effect::Begun
                | Effect::End => {}
            }
        }
        Verdict::Done(exit)
    }

    /// Tells the machine in which this actor is the only child.
    fn tell_own(&mut self, turn: &Turn<'_, A::Message>, now: Time, event: Event) -> Vec<Effect> {
        let Some(Rare { keeper: Some(Keeper::Own(machine)), entropy, .. }) =
            self.rare.as_deref_mut()
        else {
            return Vec::new();
        };
        let entropy = entropy.get_or_insert_with(|| Box::new(turn.me().entropy()));
        machine.handle(now, event, entropy)
    }
}

/// Enters the phase that `flow` asks for; `Some` ends the turn.
#[inline]
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

/// How an actor's turn ends, without what goes with it.
enum Tag {
    Idle,
    Parked,
    Again,
    Done,
}

impl<A: Actor, F: Make<A>> Body<A::Message> for ActorBody<A, F> {
    fn is_born_idle(&self) -> bool {
        !A::HAS_START
    }

    fn turn(&mut self, turn: &Turn<'_, A::Message>) -> Verdict {
        if spans::is_on() {
            return spans::of_turn(turn.header(), || self.fenced::<true>(turn));
        }
        self.fenced::<false>(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cell::{self, Front, WeakTask},
        mailbox::{MailboxSpec, Overflow},
        simulated::Faults,
        system::System,
    };

    struct Word;

    impl Message for Word {}

    struct Idler([u64; 2]);

    impl Actor for Idler {
        type Message = Word;

        fn handle(&mut self, _word: Word, _ctx: &mut Ctx<'_, Word>) -> Flow {
            self.0[0] += 1;
            Flow::Next
        }
    }

    /// Goal: looking for a process that nobody holds any more does not count it down once more, so
    /// that a second look does not find freed contents.
    #[test]
    fn a_gone_process_stays_gone_however_often_it_is_looked_for() {
        let simulation = System::simulated(1, Faults::none());
        let overflow = Overflow::Reject;
        let spec = MailboxSpec { name: "box", items_max: 1, bytes_max: 0, overflow };
        let address = cell::vacant::<Word>(simulation.system().clone(), &spec);
        let weak = address.task().downgrade();
        assert!(weak.upgrade().is_some());
        drop(address);
        for _ in 0..3 {
            assert!(weak.upgrade().is_none() && !weak.is_alive());
        }
    }

    /// What an actor with two words of state holds while it idles: its cell, and twice its place in
    /// the registry, whose vectors may be half empty.
    #[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
    const IDLE: usize = {
        let cell = size_of::<Front<Word>>() + size_of::<ActorBody<Idler, MadeOnce>>();
        // What supervision needs lies in the lazy parts.
        assert!(cell <= 224, "the slab has a size for it");
        cell + 2 * (size_of::<Option<WeakTask>>() + size_of::<u32>())
    };
    #[cfg(not(any(evenkeel_loom, evenkeel_shuttle)))]
    const _: () = assert!(IDLE <= 400, "an idle actor is small");
}
