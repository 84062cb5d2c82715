//! The process of a supervisor: learns what becomes of its children, carries out what `machine`
//! decides.
//!
//! | message | from | what it does |
//! |---|---|---|
//! | `Added` | `Supervisor::spawn`, before the child is born | a child more |
//! | `Crashed`, `Halted`, `Begun`, `Exited` | the child, in its turn | see `machine` |
//! | `Halt`, `Begin`, `Stop`, `Kill` | parent, handle, system | see `machine` |
//! | `Broken` | the end of a process it is linked to | nothing if it has ordered that end itself |
//! | `Due` | its timer | time has passed |
//!
//! No code of the user's runs here, so nothing here can fail because of it. All messages come in
//! beyond the mailbox's bound: children report once per life and are bounded themselves.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::machine::{ChildId, Effect, Event, Machine, Rules};
use crate::{
    actor::{Actor, Flow},
    address::Address,
    cell::{Order, Task},
    ctx::Ctx,
    message::Message,
    status::Exit,
    timers::TimerId,
};

/// What a supervisor is told.
pub(crate) enum Signal {
    Added(Adoption),
    Crashed { child: ChildId, blame: Blame },
    Halted { child: ChildId },
    Begun { child: ChildId },
    Exited { child: ChildId },
    Halt,
    Begin,
    Stop,
    Kill,
    Broken { by: u64, blame: Blame },
    Due,
}

impl Message for Signal {
    fn kind(&self) -> &'static str {
        "supervision signal"
    }
}

impl Signal {
    /// Gives it to the supervisor whose process this is.
    pub(crate) fn give(self, supervisor: &Task) {
        // The process of a supervisor takes signals, and nothing else is a `Place::Root`.
        Address::<Self>::new(supervisor.clone()).deliver(FIRST_LIFE, self);
    }
}

/// A supervisor's process has one life: what is below it has the others.
const FIRST_LIFE: u32 = 0;

/// Whose life ended first, and why.
#[derive(Clone, Debug)]
pub(crate) struct Blame {
    /// Of a tree that failed as a whole, the actor whose failure was the last straw.
    pub(crate) name: &'static str,
    pub(crate) reason: String,
}

impl Blame {
    pub(crate) fn new(name: &'static str, exit: &Exit) -> Self {
        let reason = match exit {
            Exit::Panicked(reason) => reason.clone(),
            Exit::Killed => "killed".to_owned(),
            Exit::Linked { name, .. } => format!("linked process {name} ended"),
            Exit::Stopped | Exit::Unreachable | Exit::NoProcess => "ended".to_owned(),
        };
        Self { name, reason }
    }
}

/// How a child reaches its supervisor.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) supervisor: Address<Signal>,
    pub(crate) child: ChildId,
}

impl Reporter {
    pub(crate) fn report(&self, signal: impl FnOnce(ChildId) -> Signal) {
        // Refused by one that has ended, and then there is nobody to decide anything.
        self.supervisor.deliver(FIRST_LIFE, signal(self.child));
    }
}

/// How a supervisor reaches a child.
pub(crate) enum Link {
    Actor(Task),
    Supervisor(Address<Signal>),
}

impl Link {
    fn signal(&self, order: Order, signal: Signal) {
        match self {
            Self::Actor(process) => process.order(order),
            Self::Supervisor(address) => {
                address.deliver(FIRST_LIFE, signal);
            }
        }
    }

    fn process(&self) -> u64 {
        match self {
            Self::Actor(process) => process.identity().id,
            Self::Supervisor(address) => address.task().identity().id,
        }
    }

    fn stop(&self) {
        match self {
            Self::Actor(process) => process.stop(),
            Self::Supervisor(address) => Signal::Stop.give(address.task()),
        }
    }
}

/// A child on its way to its supervisor. It is ended if it never gets there.
pub(crate) struct Adoption {
    pub(crate) child: ChildId,
    pub(crate) name: &'static str,
    pub(crate) stop_wait: Duration,
    pub(crate) link: Option<Link>,
}

impl Drop for Adoption {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            link.signal(Order::End, Signal::Kill);
        }
    }
}

/// What handle and process of a supervisor both know.
#[derive(Default)]
pub(crate) struct Room {
    /// Children that were spawned and have not ended.
    pub(crate) children: AtomicU32,
}

pub(crate) struct SupervisorActor {
    name: &'static str,
    machine: Machine,
    children: BTreeMap<ChildId, Link>,
    room: Arc<Room>,
    /// Of the failure that is being decided, for whom it may concern.
    blame: Option<Blame>,
    timer: Option<TimerId>,
    is_root: bool,
}

impl SupervisorActor {
    pub(crate) const fn new(name: &'static str, rules: Rules, room: Arc<Room>) -> Self {
        Self {
            name,
            machine: Machine::new(rules),
            children: BTreeMap::new(),
            room,
            blame: None,
            timer: None,
            is_root: rules.is_root,
        }
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Ctx<'_, Signal>) -> Flow {
        match effect {
            Effect::Halt(child) => self.child(child).signal(Order::Halt, Signal::Halt),
            Effect::Begin(child) => {
                ctx.system().count_restart();
                self.child(child).signal(Order::Begin, Signal::Begin);
            }
            Effect::Stop(child) => self.child(child).stop(),
            Effect::Kill(child) => self.child(child).signal(Order::End, Signal::Kill),
            Effect::Wake(at) => self.timer = Some(ctx.send_at(at, Signal::Due)),
            Effect::Begun => ctx.me().task().report(|child| Signal::Begun { child }),
            Effect::Halted => ctx.me().task().report(|child| Signal::Halted { child }),
            Effect::Escalate { crashes } => self.escalate(crashes, ctx),
            Effect::End => return Flow::Stop,
        }
        Flow::Next
    }

    fn child(&self, child: ChildId) -> &Link {
        self.children.get(&child).expect("the machine orders only of those it was told of")
    }

    fn escalate(&mut self, crashes: u32, ctx: &Ctx<'_, Signal>) {
        let blame = self.blame.take().expect("what escalates has crashed");
        let Blame { name, ref reason, .. } = blame;
        tracing::error!(supervisor = self.name, name, crashes, reason, "a supervisor gives up");
        if self.is_root {
            ctx.system().escalate(name, crashes, reason);
        } else {
            ctx.me().task().report(|child| Signal::Crashed { child, blame });
        }
    }

    /// None if what came asks for nothing.
    fn event(&mut self, signal: Signal) -> Option<Event> {
        Some(match signal {
            Signal::Added(mut adoption) => {
                let child = adoption.child;
                let link = adoption.link.take().expect("an adoption comes with its child");
                tracing::debug!(supervisor = self.name, name = adoption.name, "a child");
                self.children.insert(child, link);
                Event::Added { child, stop_wait: adoption.stop_wait }
            }
            Signal::Crashed { child, blame } => {
                self.blame = Some(blame);
                Event::Crashed { child }
            }
            Signal::Begun { child } => Event::Begun { child },
            Signal::Halted { child } => Event::Halted { child },
            Signal::Exited { child } => {
                if self.children.remove(&child).is_some() {
                    self.room.children.fetch_sub(1, Ordering::AcqRel);
                }
                Event::Exited { child }
            }
            Signal::Halt => Event::Halt,
            Signal::Begin => Event::Begin,
            Signal::Stop => Event::Stop,
            Signal::Kill => Event::Kill,
            Signal::Broken { by, blame } => {
                let linked = self.children.iter().find(|(_, link)| link.process() == by);
                if !self.machine.fails_with(linked.map(|(&child, _)| child)) {
                    return None;
                }
                self.blame = Some(blame);
                Event::Broken
            }
            Signal::Due => Event::Due,
        })
    }
}

impl Actor for SupervisorActor {
    type Message = Signal;

    const HAS_START: bool = false;

    fn handle(&mut self, signal: Signal, ctx: &mut Ctx<'_, Signal>) -> Flow {
        let Some(event) = self.event(signal) else { return Flow::Next };
        let now = ctx.now();
        let effects = self.machine.handle(now, event, ctx.entropy());
        // Every answer says anew when to be woken.
        if let Some(timer) = self.timer.take() {
            ctx.cancel(timer);
        }
        for effect in effects {
            if let Flow::Stop = self.carry_out(effect, ctx) {
                return Flow::Stop;
            }
        }
        Flow::Next
    }
}
