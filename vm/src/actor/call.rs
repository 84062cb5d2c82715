//! A call or a trace as an actor of its own, class call, gone when it has answered.
//!
//! | message | from | does |
//! |---|---|---|
//! | `Heavy` | compute pool | puts the result of a precompile back, goes on |
//! | `Look` | own timer | ends the call if its deadline passed or its caller left while it waited |
//!
//! Between slices deadline and caller are looked at directly, since an actor that goes on with
//! [`Flow::More`] gets no messages.

use std::time::Duration;

use alloy_rpc_types_trace::geth::GethTrace;
use evenkeel_runtime::{
    Actor, Answer, Class, Ctx, Flow, JobHandle, MailboxSpec, Message, Overflow, Panicked, Reply,
    Share, Spawn, System, Time, reply,
};

use super::turn::{Turn, slices};
use crate::{
    call::{CallJob, CallOutcome, CallRun, TraceJob, TraceRun},
    error::CallError,
    heavy::HeavyResult,
    limits::{LOOK_EVERY, Limits},
    step::Step,
};

/// A result of the pool and a timer; both come past the bound anyway.
const MAILBOX: MailboxSpec =
    MailboxSpec { name: "call", items_max: 4, bytes_max: 1_024, overflow: Overflow::Reject };

/// Starts the call as an actor of class call in `share`.
///
/// Dropping the answer cancels it within one slice. The deadline is answered at once, even while a
/// precompile runs on the pool. Precompiles of one share run there one at a time.
pub fn spawn_call(
    system: &System,
    share: &Share,
    job: CallJob,
) -> Answer<Result<CallOutcome, CallError>> {
    spawn::<CallRun>(system, share, job)
}

/// The same for the trace of a transaction.
pub fn spawn_trace(
    system: &System,
    share: &Share,
    job: TraceJob,
) -> Answer<Result<GethTrace, CallError>> {
    spawn::<TraceRun>(system, share, job)
}

/// What the actor drives: a [`CallRun`] or a [`TraceRun`].
trait Run: Sized + Send + 'static {
    type Job: Send + 'static;
    type Outcome: Send + 'static;
    fn limits(job: &Self::Job) -> &Limits;
    fn new(job: Self::Job) -> Result<Self, CallError>;
    fn step(&mut self, fuel: u64) -> Step<Result<Self::Outcome, CallError>>;
    fn provide(&mut self, result: HeavyResult);
}

impl Run for CallRun {
    type Job = CallJob;
    type Outcome = CallOutcome;
    fn limits(job: &CallJob) -> &Limits {
        &job.limits
    }
    fn new(job: CallJob) -> Result<Self, CallError> {
        Self::new(job)
    }
    fn step(&mut self, fuel: u64) -> Step<Result<CallOutcome, CallError>> {
        self.step(fuel)
    }
    fn provide(&mut self, result: HeavyResult) {
        self.provide(result);
    }
}

impl Run for TraceRun {
    type Job = TraceJob;
    type Outcome = GethTrace;
    fn limits(job: &TraceJob) -> &Limits {
        &job.limits
    }
    fn new(job: TraceJob) -> Result<Self, CallError> {
        Self::new(job)
    }
    fn step(&mut self, fuel: u64) -> Step<Result<GethTrace, CallError>> {
        self.step(fuel)
    }
    fn provide(&mut self, result: HeavyResult) {
        self.provide(result);
    }
}

fn spawn<R: Run>(
    system: &System,
    share: &Share,
    job: R::Job,
) -> Answer<Result<R::Outcome, CallError>> {
    let (reply, answer) = reply();
    let Limits { deadline, timeout, .. } = *R::limits(&job);
    let call = Call::<R> {
        work: Work::New(Box::new(job)),
        deadline,
        timeout,
        reply: Some(reply),
        offloaded: None,
        is_look_due: false,
    };
    let spawn = Spawn::new("call", Class::Call).share(share.clone());
    let _address = system.spawn_once(spawn, MAILBOX, call);
    answer
}

enum CallMessage {
    Heavy(Result<HeavyResult, Panicked>),
    Look,
}

impl Message for CallMessage {
    fn kind(&self) -> &'static str {
        match self {
            Self::Heavy(_) => "heavy",
            Self::Look => "look",
        }
    }
}

struct Call<R: Run> {
    work: Work<R>,
    deadline: Option<Time>,
    timeout: Duration,
    /// Taken with the answer.
    reply: Option<Reply<Result<R::Outcome, CallError>>>,
    /// The job on the compute pool.
    offloaded: Option<JobHandle>,
    /// A `Look` is under way. There is one at most, however many jobs were offloaded meanwhile.
    is_look_due: bool,
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
        }
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, CallMessage>) -> Flow {
        let mut run = match std::mem::replace(&mut self.work, Work::Over) {
            Work::New(job) => match R::new(*job) {
                Ok(run) => Box::new(run),
                Err(error) => return self.answer(Err(error)),
            },
            Work::Running(run) => run,
            Work::Over => return Flow::Stop,
        };
        let turn = slices(ctx, |fuel| run.step(fuel), |ctx| self.interruption(ctx).map(Err));
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
            Turn::Done(result) => self.answer(result),
        }
    }
}

impl<R: Run> Call<R> {
    /// Why the call is to end now, if it is.
    fn interruption(&self, ctx: &Ctx<'_, CallMessage>) -> Option<CallError> {
        if self.reply.as_ref().is_none_or(Reply::is_cancelled) {
            return Some(CallError::Cancelled);
        }
        let is_late = self.deadline.is_some_and(|deadline| deadline <= ctx.now());
        is_late.then_some(CallError::Timeout(self.timeout))
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
        let Some(job) = &self.offloaded else { return Flow::Next };
        let Some(error) = self.interruption(ctx) else {
            self.look_again(ctx);
            return Flow::Next;
        };
        // What cannot be stopped runs to its end on the pool; nobody waits for it.
        job.cancel();
        self.answer(Err(error))
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
        if let Some(reply) = self.reply.take() {
            reply.send(result);
        }
        Flow::Stop
    }
}
