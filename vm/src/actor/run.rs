//! What a call's actor drives, and how each of them is started.

use evenkeel_runtime::{Answer, Credit, ReplyStream, Share, Sink, System, stream};
use evenkeel_state::View;

use super::{call::spawn, hold::Hold};
use crate::{
    call::{
        CallJob, CallOutcome, CallRun, ReplayJob, ReplayRun, TraceFrame, TraceJob, TracePiece,
        TraceRun, TraceStep,
    },
    error::CallError,
    heavy::HeavyResult,
    limits::{Limits, TEXT_AHEAD_BYTES, TEXT_AHEAD_PIECES},
    payload::{Payload, PayloadJob, PayloadRun},
    simulate::{SimulateJob, SimulateRun, SimulatedBlock},
    step::Step,
    suspended::Whereabouts,
    tracer::Traced,
    witness::{Witness, WitnessJob, WitnessRun},
};

/// Starts the call as an actor of class call in `share`.
///
/// Dropping the answer cancels it within one slice. The deadline is answered at once, even while a
/// precompile runs on the pool. Precompiles of one share run there one at a time. If there is a
/// hold, who has it can pause the call, step through it, watch and cancel it.
///
/// # Panics
///
/// If the hold is another call's.
pub fn spawn_call(
    system: &System,
    share: &Share,
    job: CallJob,
    hold: Option<&Hold>,
) -> Answer<Result<CallOutcome, CallError>> {
    spawn::<CallRun>(system, share, job, Extras { hold: hold.cloned(), sink: None })
}

/// The same for traces, one after another.
///
/// # Panics
///
/// If the hold is another call's.
pub fn spawn_trace(
    system: &System,
    share: &Share,
    job: TraceJob,
    hold: Option<&Hold>,
) -> Answer<Result<Vec<Traced>, CallError>> {
    spawn::<TraceRun>(system, share, job, Extras { hold: hold.cloned(), sink: None })
}

/// Traces that come in pieces.
pub struct StreamedTrace {
    /// The pieces, and how it ended. To be read until it ends.
    pub pieces: ReplyStream<TracePiece, CallError>,
    /// Dropping it cancels the traces like dropping the pieces does.
    pub running: Answer<Result<(), CallError>>,
}

/// The same for traces that are streamed: they are at most [`TEXT_AHEAD_BYTES`] and a turn, or the
/// trace of a transaction, ahead of their reader. While they wait for it their deadline moves on,
/// and a hold's orders wait.
///
/// # Panics
///
/// If the hold is another call's.
pub fn spawn_streamed_trace(
    system: &System,
    share: &Share,
    (job, frame): (TraceJob, TraceFrame),
    hold: Option<&Hold>,
) -> StreamedTrace {
    let (sink, pieces) = stream(Credit { items: TEXT_AHEAD_PIECES, bytes: TEXT_AHEAD_BYTES });
    let extras = Extras { hold: hold.cloned(), sink: Some(sink) };
    let running = spawn::<StreamedRun>(system, share, (job, frame), extras);
    StreamedTrace { pieces, running }
}

/// The same for a simulation.
pub fn spawn_simulation(
    system: &System,
    share: &Share,
    job: SimulateJob,
) -> Answer<Result<Vec<SimulatedBlock>, CallError>> {
    spawn::<SimulateRun>(system, share, job, Extras::default())
}

/// The same for a block beside the chain.
pub fn spawn_payload(
    system: &System,
    share: &Share,
    job: PayloadJob,
) -> Answer<Result<Payload, CallError>> {
    spawn::<PayloadRun>(system, share, job, Extras::default())
}

/// The same for the witness of a block.
pub fn spawn_witness(
    system: &System,
    share: &Share,
    job: WitnessJob,
) -> Answer<Result<Witness, CallError>> {
    spawn::<WitnessRun>(system, share, job, Extras::default())
}

/// The same for the state before a transaction.
pub fn spawn_replay(
    system: &System,
    share: &Share,
    job: ReplayJob,
) -> Answer<Result<View, CallError>> {
    spawn::<ReplayRun>(system, share, job, Extras::default())
}

/// What some calls have.
#[derive(Default)]
pub(super) struct Extras {
    /// Who may pause it.
    pub(super) hold: Option<Hold>,
    /// Where goes what is streamed.
    pub(super) sink: Option<Sink<TracePiece, CallError>>,
}

/// What the actor drives.
pub(super) trait Run: Sized + Send + 'static {
    type Job: Send + 'static;
    type Outcome: Send + 'static;
    fn limits(job: &Self::Job) -> &Limits;
    fn new(job: Self::Job) -> Result<Self, CallError>;
    fn step(&mut self, fuel: u64) -> Step<Result<Self::Outcome, CallError>>;
    fn provide(&mut self, result: HeavyResult);
    /// One instruction, or a part of it; asked of what is held only.
    fn step_instruction(&mut self) -> Step<Result<Self::Outcome, CallError>> {
        unreachable!("only calls and traces are held")
    }
    fn whereabouts(&mut self) -> Whereabouts {
        Whereabouts::default()
    }
    /// It has ended, or was broken off.
    fn over(&mut self) {}
    /// The next piece of what is streamed, if there is one.
    fn take_piece(&mut self) -> Option<TracePiece> {
        None
    }
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
    fn step_instruction(&mut self) -> Step<Result<CallOutcome, CallError>> {
        self.step_instruction()
    }
    fn whereabouts(&mut self) -> Whereabouts {
        self.whereabouts()
    }
    fn over(&mut self) {
        self.tell_notes();
    }
}

impl Run for TraceRun {
    type Job = TraceJob;
    type Outcome = Vec<Traced>;
    fn limits(job: &TraceJob) -> &Limits {
        &job.limits
    }
    fn new(job: TraceJob) -> Result<Self, CallError> {
        Self::new(job)
    }
    fn step(&mut self, fuel: u64) -> Step<Result<Vec<Traced>, CallError>> {
        self.step(fuel)
    }
    fn provide(&mut self, result: HeavyResult) {
        self.provide(result);
    }
    fn step_instruction(&mut self) -> Step<Result<Vec<Traced>, CallError>> {
        self.step_instruction()
    }
    fn whereabouts(&mut self) -> Whereabouts {
        self.whereabouts()
    }
}

/// Traces that are streamed.
struct StreamedRun(TraceRun);

impl Run for StreamedRun {
    type Job = (TraceJob, TraceFrame);
    type Outcome = ();
    fn limits((job, _): &Self::Job) -> &Limits {
        &job.limits
    }
    fn new((job, frame): Self::Job) -> Result<Self, CallError> {
        TraceRun::streamed(job, frame).map(Self)
    }
    fn step(&mut self, fuel: u64) -> Step<Result<(), CallError>> {
        without_traces(self.0.step(fuel))
    }
    fn provide(&mut self, result: HeavyResult) {
        self.0.provide(result);
    }
    fn step_instruction(&mut self) -> Step<Result<(), CallError>> {
        without_traces(self.0.step_instruction())
    }
    fn whereabouts(&mut self) -> Whereabouts {
        self.0.whereabouts()
    }
    fn take_piece(&mut self) -> Option<TracePiece> {
        self.0.take_piece()
    }
}

fn without_traces(step: TraceStep) -> Step<Result<(), CallError>> {
    match step {
        Step::More { used } => Step::More { used },
        Step::Offload(call) => Step::Offload(call),
        Step::Done(traces) => Step::Done(traces.map(|_none| ())),
    }
}

impl Run for SimulateRun {
    type Job = SimulateJob;
    type Outcome = Vec<SimulatedBlock>;
    fn limits(job: &SimulateJob) -> &Limits {
        &job.limits
    }
    fn new(job: SimulateJob) -> Result<Self, CallError> {
        Self::new(job)
    }
    fn step(&mut self, fuel: u64) -> Step<Result<Vec<SimulatedBlock>, CallError>> {
        self.step(fuel)
    }
    fn provide(&mut self, result: HeavyResult) {
        self.provide(result);
    }
}

impl Run for PayloadRun {
    type Job = PayloadJob;
    type Outcome = Payload;
    fn limits(job: &PayloadJob) -> &Limits {
        &job.limits
    }
    fn new(job: PayloadJob) -> Result<Self, CallError> {
        Ok(Self::new(job))
    }
    fn step(&mut self, fuel: u64) -> Step<Result<Payload, CallError>> {
        self.step(fuel)
    }
    fn provide(&mut self, result: HeavyResult) {
        self.provide(result);
    }
}

impl Run for WitnessRun {
    type Job = WitnessJob;
    type Outcome = Witness;
    fn limits(job: &WitnessJob) -> &Limits {
        &job.limits
    }
    fn new(job: WitnessJob) -> Result<Self, CallError> {
        Ok(Self::new(job))
    }
    fn step(&mut self, fuel: u64) -> Step<Result<Witness, CallError>> {
        self.step(fuel)
    }
    fn provide(&mut self, result: HeavyResult) {
        self.provide(result);
    }
}

impl Run for ReplayRun {
    type Job = ReplayJob;
    type Outcome = View;
    fn limits(job: &ReplayJob) -> &Limits {
        &job.limits
    }
    fn new(job: ReplayJob) -> Result<Self, CallError> {
        Self::new(job)
    }
    fn step(&mut self, fuel: u64) -> Step<Result<View, CallError>> {
        self.step(fuel)
    }
    fn provide(&mut self, result: HeavyResult) {
        self.provide(result);
    }
}
