//! The actor that runs an engine: it feeds it events, carries its effects out, keeps replies.
//!
//! | message | what follows |
//! |---|---|
//! | `Event` | one step of the engine |
//! | `Command` | the same; the reply is kept under a ticket until the engine answers |
//! | `Deadline` | the same, if the engine's deadline has come |
//! | `Resend` | effects that found a full mailbox are tried again |
//! | `Begin` | a later life makes its engine, and looks for what the pool has; else none |
//!
//! No effect may be lost: one that finds the executor's mailbox full waits in the outbox, and all
//! later ones behind it. The outbox is bounded by what the engine may have under way: one build, a
//! barrier, and an effect for each ticket. An executor that is gone ends this actor.
//!
//! To be restarted together with the executor, its mailbox dropped: what was built for a former
//! engine is unknown to a new one. A later life has no engine until the executor says on which head
//! it stands; commands that come meanwhile are refused. Settings that commands had made are lost.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use alloy_primitives::B256;
use evenkeel_chain::{
    BlockAttributes, BlockPlan, Cheat, Command, CommandError, Height, Outcome, RevertTo,
};
use evenkeel_runtime::{
    Actor, Address, Answer, Class, Ctx, Flow, Message, Port, Reply, SendError, Spawn, Time,
    TimerId, Undelivered, reply,
};

use crate::{
    engine::{Effect, Engine, Event, Head, Now},
    limits::{COMMANDS_BYTES_MAX, COMMANDS_QUEUED_MAX, RESEND_DELAY, TICKETS_MAX},
};

/// What becomes of an order to the executor; an error has its reason for the log.
pub type OrderReply<T> = Reply<Result<T, String>>;

/// What the operator is told.
type CommandReply = Reply<Result<Outcome, CommandError>>;

/// What the actor takes.
pub enum ConsensusMessage {
    /// From the executor (`Built`, `Empty`, `BuildFailed`, `Verdict`), the writer (`Applied`, one
    /// for each block of a commit, none for a revert), or the pool (`PoolReady`).
    Event(Event),
    /// From the operator; through [`command_port`].
    Command {
        /// The order.
        command: Command,
        /// Told once.
        reply: CommandReply,
    },
    /// From the executor, which has begun: what an engine that has none yet is to start from.
    Begin(Head),
    /// To itself: the engine's deadline.
    Deadline {
        /// The deadline as it was.
        at: Time,
    },
    /// To itself: the outbox is to be tried again.
    Resend,
}

impl Message for ConsensusMessage {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Command { command, .. } => command.size_bytes(),
            Self::Event(_) | Self::Begin(_) | Self::Deadline { .. } | Self::Resend => 64,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Event(_) => "event",
            Self::Command { .. } => "command",
            Self::Begin(_) => "begin",
            Self::Deadline { .. } => "deadline",
            Self::Resend => "resend",
        }
    }
}

/// Where the effects of an engine go.
#[derive(Clone)]
pub struct ConsensusPorts {
    /// To the executor: id and attributes.
    pub build: Port<(u64, BlockAttributes)>,
    /// To the executor.
    pub finalize: Port<B256>,
    /// To the executor.
    pub discard: Port<B256>,
    /// To the executor; answered when durable.
    pub cheat: Port<(Cheat, OrderReply<()>)>,
    /// To the executor; answered when durable.
    pub mark: Port<OrderReply<u64>>,
    /// To the executor; answered when durable, None if there is no such mark or block.
    pub revert: Port<(RevertTo, OrderReply<Option<Head>>)>,
    /// To the executor: the block to begin on; None if there is none at this height.
    pub branch: Port<(Height, OrderReply<Option<Head>>)>,
    /// To the executor: the blocks on the branch; answered when durable.
    pub reorg: Port<(Vec<BlockPlan>, OrderReply<Head>)>,
    /// To the pool; may be lost, as the pool learns it with the block.
    pub next_base_fee: Port<u64>,
    /// To all admissions: the gas limit of blocks from the next on.
    pub gas_limit: Port<u64>,
}

/// A door for commands that always leaves room in the mailbox for the pool's messages.
///
/// A command that finds no room is answered `Busy`, one that comes after the end `Stopped`; so the
/// port itself never refuses.
pub fn command_port(consensus: &Address<ConsensusMessage>) -> Port<(Command, CommandReply)> {
    let consensus = consensus.clone();
    Port::new(move |(command, reply): (Command, CommandReply)| {
        let has_room = consensus.queued() < COMMANDS_QUEUED_MAX
            && consensus.queued_bytes() < COMMANDS_BYTES_MAX;
        if !has_room {
            reply.send(Err(CommandError::Busy));
            return Ok(());
        }
        let (error, message) = match consensus.send(ConsensusMessage::Command { command, reply }) {
            Ok(()) => return Ok(()),
            Err(SendError::Full(message)) => (CommandError::Busy, message),
            Err(SendError::Closed(message)) => (CommandError::Stopped, message),
        };
        if let ConsensusMessage::Command { reply, .. } = message {
            reply.send(Err(error));
        }
        Ok(())
    })
}

/// Makes the engine of a later life.
type Make<E> = Box<dyn FnOnce(Head, Now) -> E + Send>;

enum Mind<E> {
    Engine(E),
    /// Taken when the head is there.
    Waits(Option<Make<E>>),
}

/// Runs an engine.
pub struct Consensus<E: Engine> {
    mind: Mind<E>,
    ports: ConsensusPorts,
    tickets: BTreeMap<u64, CommandReply>,
    next_ticket: u64,
    /// Effects of the present turn, and those that found a full mailbox.
    outbox: VecDeque<Effect>,
    is_resend_set: bool,
    deadline: Option<(Time, TimerId)>,
    /// Kept so that its room is not allocated in every turn.
    effects: Vec<Effect>,
}

impl<E: Engine> Consensus<E> {
    /// Runs `engine`, whose effects go to `ports`.
    pub const fn new(engine: E, ports: ConsensusPorts) -> Self {
        Self::with(Mind::Engine(engine), ports, 0)
    }

    /// Life number `life`, from 1: makes its engine when the executor has told the head. What was
    /// ordered by another life is answered to nobody.
    pub fn anew(
        life: u32,
        make: impl FnOnce(Head, Now) -> E + Send + 'static,
        ports: ConsensusPorts,
    ) -> Self {
        Self::with(Mind::Waits(Some(Box::new(make))), ports, u64::from(life) << u32::BITS)
    }

    const fn with(mind: Mind<E>, ports: ConsensusPorts, next_ticket: u64) -> Self {
        Self {
            mind,
            ports,
            tickets: BTreeMap::new(),
            next_ticket,
            outbox: VecDeque::new(),
            is_resend_set: false,
            deadline: None,
            effects: Vec::new(),
        }
    }

    fn step(&mut self, event: Event, ctx: &mut Ctx<'_, ConsensusMessage>) {
        // What comes before the head is of a former life, or asked again when the head is there.
        let Mind::Engine(engine) = &mut self.mind else { return };
        let now = Now { at: ctx.now(), wall: ctx.wall_clock() };
        let mut effects = mem::take(&mut self.effects);
        engine.step(now, event, &mut effects);
        self.outbox.extend(effects.drain(..));
        self.effects = effects;
    }

    /// The executor stands on `head`.
    fn begin(&mut self, head: Head, ctx: &mut Ctx<'_, ConsensusMessage>) {
        let Mind::Waits(make) = &mut self.mind else { return };
        let Some(make) = make.take() else { return };
        let now = Now { at: ctx.now(), wall: ctx.wall_clock() };
        self.mind = Mind::Engine(make(head, now));
        // What the pool told the former engine it does not tell again. If there is nothing, a
        // build that needs a transaction finds none.
        self.step(Event::PoolReady { pending: 1 }, ctx);
    }

    /// Whether a command of this life waits for it, or nobody has to.
    fn is_awaited(&self, event: &Event) -> bool {
        match event {
            Event::CheatDone { ticket, .. }
            | Event::Marked { ticket, .. }
            | Event::Reverted { ticket, .. }
            | Event::Branched { ticket, .. }
            | Event::Reorged { ticket, .. } => self.tickets.contains_key(ticket),
            Event::PoolReady { .. }
            | Event::Built { .. }
            | Event::Empty { .. }
            | Event::BuildFailed { .. }
            | Event::Verdict { .. }
            | Event::Applied { .. }
            | Event::Deadline
            | Event::Command { .. } => true,
        }
    }

    /// Keeps the reply and returns its ticket; without room for it answers at once.
    fn issue(&mut self, reply: CommandReply) -> Option<u64> {
        if matches!(self.mind, Mind::Waits(_)) {
            let reason = "the engine begins anew after a failure; ask again".to_owned();
            reply.send(Err(CommandError::Failed { reason }));
            return None;
        }
        if self.tickets.len() >= TICKETS_MAX {
            reply.send(Err(CommandError::Busy));
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tickets.insert(ticket, reply);
        Some(ticket)
    }

    /// Carries effects out, in order, until one finds no room.
    fn flush(&mut self, ctx: &mut Ctx<'_, ConsensusMessage>) -> Flow {
        while let Some(effect) = self.outbox.pop_front() {
            match self.carry_out(&effect, ctx) {
                Ok(()) => {}
                Err(Undelivered::Full) => {
                    self.outbox.push_front(effect);
                    if !mem::replace(&mut self.is_resend_set, true) {
                        ctx.send_after(RESEND_DELAY, ConsensusMessage::Resend);
                    }
                    break;
                }
                Err(Undelivered::Closed) => return self.stop(),
            }
        }
        self.set_timer(ctx);
        Flow::Next
    }

    fn carry_out(
        &mut self,
        effect: &Effect,
        ctx: &Ctx<'_, ConsensusMessage>,
    ) -> Result<(), Undelivered> {
        match effect {
            Effect::Build { id, attributes } => self.ports.build.send((*id, attributes.clone())),
            Effect::Finalize { hash } => self.ports.finalize.send(*hash),
            Effect::Discard { hash } => self.ports.discard.send(*hash),
            Effect::Cheat { cheat, ticket } => {
                let (reply, answer) = reply();
                self.ports.cheat.send((cheat.clone(), reply))?;
                let ticket = *ticket;
                relay(ctx, answer, move |result| Event::CheatDone { ticket, result });
                Ok(())
            }
            Effect::Mark { ticket } => {
                let (reply, answer) = reply();
                self.ports.mark.send(reply)?;
                let ticket = *ticket;
                relay(ctx, answer, move |result| Event::Marked { ticket, result });
                Ok(())
            }
            Effect::Revert { to, ticket } => {
                let (reply, answer) = reply();
                self.ports.revert.send((*to, reply))?;
                let ticket = *ticket;
                relay(ctx, answer, move |result| Event::Reverted { ticket, result });
                Ok(())
            }
            Effect::Branch { kept, ticket } => {
                let (reply, answer) = reply();
                self.ports.branch.send((*kept, reply))?;
                let ticket = *ticket;
                relay(ctx, answer, move |result| Event::Branched { ticket, result });
                Ok(())
            }
            Effect::Reorg { blocks, ticket } => {
                let (reply, answer) = reply();
                self.ports.reorg.send((blocks.clone(), reply))?;
                let ticket = *ticket;
                relay(ctx, answer, move |result| Event::Reorged { ticket, result });
                Ok(())
            }
            Effect::Answer { ticket, outcome } => {
                let reply = self.tickets.remove(ticket).expect("an engine answers a command once");
                reply.send(outcome.clone());
                Ok(())
            }
            // Before the answer, so that who got it may send what needs so much.
            Effect::SetGasLimit(gas_limit) => self.ports.gas_limit.send(*gas_limit),
            Effect::SetNextBaseFee(base_fee) => {
                // Losable: the pool corrects itself with the next block.
                let _ = self.ports.next_base_fee.send(*base_fee);
                Ok(())
            }
        }
    }

    fn set_timer(&mut self, ctx: &mut Ctx<'_, ConsensusMessage>) {
        let Mind::Engine(engine) = &self.mind else { return };
        let wanted = engine.next_deadline();
        if self.deadline.as_ref().map(|(at, _)| *at) == wanted {
            return;
        }
        if let Some((_, timer)) = self.deadline.take() {
            ctx.cancel(timer);
        }
        self.deadline = wanted.map(|at| (at, ctx.send_at(at, ConsensusMessage::Deadline { at })));
    }

    /// The executor is gone: the node is going down.
    fn stop(&mut self) -> Flow {
        for (_, reply) in mem::take(&mut self.tickets) {
            reply.send(Err(CommandError::Stopped));
        }
        Flow::Stop
    }
}

/// Turns the executor's answer into an event.
fn relay<T: Send + 'static>(
    ctx: &Ctx<'_, ConsensusMessage>,
    answer: Answer<Result<T, String>>,
    into: impl FnOnce(Result<T, String>) -> Event + Send + 'static,
) {
    let consensus = ctx.me().clone();
    let wait = async move {
        let result = answer.await.unwrap_or_else(|lost| Err(lost.to_string()));
        // There is one for each ticket at most. An actor that has ended asks for nothing any more.
        let _has_come = consensus.insist(ConsensusMessage::Event(into(result)));
    };
    // Dropping the handle detaches the process.
    drop(ctx.system().spawn_future(Spawn::new("consensus answer", Class::Consensus), wait));
}

/// Engines have no log, so the reasons that only a log wants are written here.
fn log_failure(event: &Event) {
    match event {
        Event::BuildFailed { id, reason } => tracing::warn!(id, reason, "build failed"),
        Event::CheatDone { result: Err(reason), .. } => tracing::warn!(reason, "cheat failed"),
        Event::Marked { result: Err(reason), .. } => tracing::warn!(reason, "snapshot failed"),
        Event::Reverted { result: Err(reason), .. } => tracing::warn!(reason, "revert failed"),
        Event::Branched { result: Err(reason), .. }
        | Event::Reorged { result: Err(reason), .. } => {
            tracing::warn!(reason, "reorg failed");
        }
        Event::PoolReady { .. }
        | Event::Built { .. }
        | Event::Empty { .. }
        | Event::Verdict { .. }
        | Event::Applied { .. }
        | Event::CheatDone { .. }
        | Event::Marked { .. }
        | Event::Reverted { .. }
        | Event::Branched { .. }
        | Event::Reorged { .. }
        | Event::Deadline
        | Event::Command { .. } => {}
    }
}

impl<E: Engine> Actor for Consensus<E> {
    type Message = ConsensusMessage;

    fn start(&mut self, ctx: &mut Ctx<'_, ConsensusMessage>) -> Flow {
        self.set_timer(ctx);
        Flow::Next
    }

    fn handle(&mut self, message: ConsensusMessage, ctx: &mut Ctx<'_, ConsensusMessage>) -> Flow {
        match message {
            ConsensusMessage::Event(event) => {
                log_failure(&event);
                if self.is_awaited(&event) {
                    self.step(event, ctx);
                }
            }
            ConsensusMessage::Begin(head) => self.begin(head, ctx),
            ConsensusMessage::Command { command, reply } => {
                if let Some(ticket) = self.issue(reply) {
                    self.step(Event::Command { command, ticket }, ctx);
                }
            }
            ConsensusMessage::Deadline { at } => {
                // One that was put off is on its way already when another is set.
                if self.deadline.as_ref().is_some_and(|(set, _)| *set == at) {
                    self.deadline = None;
                    self.step(Event::Deadline, ctx);
                }
            }
            ConsensusMessage::Resend => self.is_resend_set = false,
        }
        self.flush(ctx)
    }
}
