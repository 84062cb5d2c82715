//! A call or a trace as an actor of its own, class call, gone when it has answered.
//!
//! | message | from | does |
//! |---|---|---|
//! | `Heavy` | compute pool | puts the result of a precompile back, goes on |
//! | `Look` | own timer | ends the call if its deadline passed or its caller left while it waited |
//! | `Wish` | its `Hold` | obeys what the hold says: pause, go on, step, cancel |
//!
//! Between slices deadline and caller are looked at directly, since an actor that goes on with
//! [`Flow::More`] gets no messages; likewise the hold. A paused call has no turns but for its
//! deadline. A streamed trace parks while its reader lags behind, which moves its deadline on;
//! meanwhile it is the reader's to give up: it ends when the stream is dropped.

use std::{collections::VecDeque, time::Duration};

use evenkeel_runtime::{
    Actor, Answer, Class, Ctx, Flow, JobHandle, MailboxSpec, Message, NoCredit, Overflow, Panicked,
    Reply, Share, Sink, Spawn, System, Time, reply,
};

use super::{
    hold::{Hold, HoldState, Order, Progress},
    run::{Extras, Run},
    turn::{Turn, slices},
};
use crate::{
    call::TracePiece,
    error::CallError,
    heavy::HeavyResult,
    limits::{GAS_PER_REDUCTION, LOOK_EVERY, Limits, SLICE_GAS, TURN_TIME_MAX},
    step::Step,
    suspended::Whereabouts,
};

/// A result of the pool and a timer; both come past the bound anyway.
const MAILBOX: MailboxSpec =
    MailboxSpec { name: "call", items_max: 4, bytes_max: 1_024, overflow: Overflow::Reject };

/// Starts `job` as an actor of class call in `share`.
pub(super) fn spawn<R: Run>(
    system: &System,
    share: &Share,
    job: R::Job,
    Extras { hold, sink }: Extras,
) -> Answer<Result<R::Outcome, CallError>> {
    let (reply, answer) = reply();
    let Limits { deadline, timeout, is_own_time, .. } = *R::limits(&job);
    let call = Call::<R> {
        work: Work::New(Box::new(job)),
        deadline,
        timeout,
        reply: Some(reply),
        offloaded: None,
        is_look_due: false,
        hold: hold.clone(),
        slices: 0,
        gas_used: 0,
        output: Output { sink, unsent: VecDeque::new(), end: None, waits_since: None },
    };
    let mut spawn = Spawn::new("call", Class::Call).share(share.clone());
    // The time that the node gives to all alike, so the older request goes first. A client that
    // sets its own, as of a held one, is not to buy a place in front with a short one.
    spawn.deadline = deadline.filter(|_| hold.is_none() && !is_own_time);
    let address = system.spawn_once(spawn, MAILBOX, call);
    if let Some(hold) = hold {
        hold.holds(address.port(|()| CallMessage::Wish));
    }
    answer
}

enum CallMessage {
    Heavy(Result<HeavyResult, Panicked>),
    Look,
    Wish,
}

impl Message for CallMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Heavy(_) => "heavy",
            Self::Look => "look",
            Self::Wish => "wish",
        }
    }
}

type Outcome<R> = Result<<R as Run>::Outcome, CallError>;

struct Call<R: Run> {
    work: Work<R>,
    deadline: Option<Time>,
    timeout: Duration,
    /// Taken with the answer.
    reply: Option<Reply<Outcome<R>>>,
    /// The job on the compute pool.
    offloaded: Option<JobHandle>,
    /// A `Look` is under way. There is one at most, however many jobs were offloaded meanwhile.
    is_look_due: bool,
    /// Who may pause it.
    hold: Option<Hold>,
    /// Turns that executed something.
    slices: u64,
    /// Gas used so far, if it is held.
    gas_used: u64,
    output: Output<Outcome<R>>,
}

/// The way out of what is streamed.
struct Output<O> {
    /// Nothing is streamed without it.
    sink: Option<Sink<TracePiece, CallError>>,
    /// What the reader lets us keep until it has read more: of one turn at most, or of a
    /// transaction whose trace is rendered whole.
    unsent: VecDeque<TracePiece>,
    /// The outcome, when nothing but the above is left to do.
    end: Option<O>,
    /// It is parked until the reader has read more.
    waits_since: Option<Time>,
}

enum Work<R: Run> {
    New(Box<R::Job>),
    Running(Box<R>),
    Over,
}

impl<R: Run> Actor for Call<R> {
    type Message = CallMessage;

    fn start(&mut self, _ctx: &mut Ctx<'_, CallMessage>) -> Flow {
        Flow::More
    }

    fn handle(&mut self, message: CallMessage, ctx: &mut Ctx<'_, CallMessage>) -> Flow {
        match message {
            CallMessage::Heavy(result) => self.provided(result),
            CallMessage::Look => self.look(ctx),
            CallMessage::Wish => self.wish(),
        }
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, CallMessage>) -> Flow {
        if let Some(flow) = self.hand_over(ctx) {
            return flow;
        }
        let order = self.hold.as_ref().map_or(Order::Run, Hold::next);
        match order {
            Order::Run | Order::Step { .. } => {}
            Order::Pause => return self.pause(ctx),
            Order::Cancel => return self.answer(Err(CallError::Cancelled)),
        }
        let mut run = match std::mem::replace(&mut self.work, Work::Over) {
            Work::New(job) => match R::new(*job) {
                Ok(run) => Box::new(run),
                Err(error) => return self.answer(Err(error)),
            },
            Work::Running(run) => run,
            Work::Over => return Flow::Stop,
        };
        let turn = match order {
            Order::Step { until } => self.instructions(ctx, &mut run, until),
            Order::Run | Order::Pause | Order::Cancel => {
                let step = |fuel| run.step(fuel);
                slices(ctx, SLICE_GAS, step, |ctx| self.interruption(ctx).map(Err))
            }
        };
        self.slices += 1;
        if self.hold.is_some() {
            let here = run.whereabouts();
            self.gas_used = here.gas_used;
            self.tell(HoldState::Running, here);
        }
        self.output.unsent.extend(std::iter::from_fn(|| run.take_piece()));
        if matches!(turn, Turn::Done(_)) {
            run.over();
        }
        match turn {
            Turn::Spent => {
                self.work = Work::Running(run);
                Flow::More
            }
            Turn::Offload(call) => {
                self.work = Work::Running(run);
                let job = ctx.compute(
                    move |yielder| call.run(&|| yielder.should_stop()),
                    CallMessage::Heavy,
                );
                self.offloaded = Some(job);
                self.look_again(ctx);
                Flow::Next
            }
            Turn::Done(Ok(outcome)) if !self.output.unsent.is_empty() => {
                self.output.end = Some(Ok(outcome));
                Flow::More
            }
            Turn::Done(result) => self.answer(result),
        }
    }
}

impl<R: Run> Call<R> {
    /// Hands pieces on to the reader; says what to do if there is nothing to execute now.
    fn hand_over(&mut self, ctx: &mut Ctx<'_, CallMessage>) -> Option<Flow> {
        let output = &mut self.output;
        let sink = output.sink.as_mut()?;
        if let Some(since) = output.waits_since.take() {
            // What its reader takes its time for is not its own.
            let waited = ctx.now().saturating_since(since);
            self.deadline = self.deadline.map(|deadline| deadline.saturating_add(waited));
        }
        if sink.is_cancelled() {
            return Some(self.answer(Err(CallError::Cancelled)));
        }
        while let Some(piece) = output.unsent.pop_front() {
            let bytes = piece.size_bytes();
            if let Err(NoCredit(piece)) = sink.try_item_sized(piece, bytes) {
                output.unsent.push_front(piece);
                let (ticket, completion) = ctx.ticket();
                sink.when_credit(completion);
                output.waits_since = Some(ctx.now());
                return Some(Flow::Park(ticket));
            }
        }
        let end = output.end.take()?;
        Some(self.answer(end))
    }

    /// Why the call is to end now, if it is.
    fn interruption(&self, ctx: &Ctx<'_, CallMessage>) -> Option<CallError> {
        if self.reply.as_ref().is_none_or(Reply::is_cancelled) {
            return Some(CallError::Cancelled);
        }
        let is_late = self.deadline.is_some_and(|deadline| deadline <= ctx.now());
        is_late.then_some(CallError::Timeout(self.timeout))
    }

    /// As [`slices`], one instruction after another until as many were stepped through.
    fn instructions(
        &self,
        ctx: &mut Ctx<'_, CallMessage>,
        run: &mut R,
        until: u64,
    ) -> Turn<Outcome<R>> {
        let end = ctx.now() + TURN_TIME_MAX;
        loop {
            if let Some(error) = self.interruption(ctx) {
                return Turn::Done(Err(error));
            }
            let is_spent = ctx.left() == 0 || ctx.now() >= end;
            if is_spent || run.whereabouts().has_stepped(until) {
                return Turn::Spent;
            }
            match run.step_instruction() {
                Step::More { used } => {
                    let reductions = u32::try_from(used / GAS_PER_REDUCTION).unwrap_or(u32::MAX);
                    // Stepping costs more than the instruction (about 50 ns, a guess).
                    ctx.consume(reductions.saturating_add(2));
                }
                Step::Offload(call) => return Turn::Offload(call),
                Step::Done(done) => return Turn::Done(done),
            }
        }
    }

    fn provided(&mut self, result: Result<HeavyResult, Panicked>) -> Flow {
        self.offloaded = None;
        match result {
            Ok(result) if result.is_stopped() => self.answer(Err(CallError::Cancelled)),
            Ok(result) => {
                let Work::Running(run) = &mut self.work else { return Flow::Stop };
                run.provide(result);
                Flow::More
            }
            Err(error) => self.answer(Err(CallError::Internal(error.to_string()))),
        }
    }

    fn look(&mut self, ctx: &mut Ctx<'_, CallMessage>) -> Flow {
        self.is_look_due = false;
        let Some(error) = self.interruption(ctx) else {
            if self.offloaded.is_some() {
                self.look_again(ctx);
            } else {
                self.look_at_deadline(ctx);
            }
            return Flow::Next;
        };
        self.answer(Err(error))
    }

    /// Goes on as the hold says, unless a precompile is under way: then after it.
    fn wish(&mut self) -> Flow {
        let is_cancelled = matches!(self.hold.as_ref().map(Hold::next), Some(Order::Cancel));
        if is_cancelled {
            return self.answer(Err(CallError::Cancelled));
        }
        if self.offloaded.is_some() { Flow::Next } else { Flow::More }
    }

    /// Waits for the hold's next order, or for the deadline.
    fn pause(&mut self, ctx: &mut Ctx<'_, CallMessage>) -> Flow {
        if let Some(error) = self.interruption(ctx) {
            return self.answer(Err(error));
        }
        self.look_at_deadline(ctx);
        let here = match &mut self.work {
            Work::Running(run) => run.whereabouts(),
            Work::New(_) | Work::Over => Whereabouts::default(),
        };
        self.tell(HoldState::Paused, here);
        Flow::Next
    }

    fn tell(&self, state: HoldState, here: Whereabouts) {
        if let Some(hold) = &self.hold {
            let (gas_used, slices) = (self.gas_used, self.slices);
            hold.tell(Progress { state, gas_used, slices, here });
        }
    }

    fn look_at_deadline(&mut self, ctx: &mut Ctx<'_, CallMessage>) {
        if let Some(deadline) = self.deadline.filter(|_| !self.is_look_due) {
            self.is_look_due = true;
            ctx.send_at(deadline, CallMessage::Look);
        }
    }

    fn look_again(&mut self, ctx: &mut Ctx<'_, CallMessage>) {
        // One that was set for an earlier job comes soon enough for this one.
        if std::mem::replace(&mut self.is_look_due, true) {
            return;
        }
        let soon = ctx.now() + LOOK_EVERY;
        ctx.send_at(self.deadline.map_or(soon, |deadline| deadline.min(soon)), CallMessage::Look);
    }

    fn answer(&mut self, result: Result<R::Outcome, CallError>) -> Flow {
        self.work = Work::Over;
        if let Some(job) = self.offloaded.take() {
            // What cannot be stopped runs to its end on the pool; nobody waits for it.
            job.cancel();
        }
        self.tell(HoldState::Over, Whereabouts::default());
        if let Some(sink) = self.output.sink.take() {
            match &result {
                Ok(_) => sink.finish(),
                Err(error) => sink.fail(error.clone()),
            }
        }
        if let Some(reply) = self.reply.take() {
            reply.send(result);
        }
        Flow::Stop
    }
}
