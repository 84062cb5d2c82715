//! What the actor of a call drives, each of its kinds behind one interface.

use alloy_primitives::bytes::Bytes;

use crate::{
    call::{CallJob, CallOutcome, CallRun, TraceFrame, TraceJob, TraceRun},
    error::CallError,
    heavy::HeavyResult,
    limits::Limits,
    payload::{Payload, PayloadJob, PayloadRun},
    simulate::{SimulateJob, SimulateRun, SimulatedBlock},
    step::Step,
    suspended::Whereabouts,
    tracer::Traced,
};

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
        unreachable!("only calls are held")
    }
    fn whereabouts(&mut self) -> Whereabouts {
        Whereabouts::default()
    }
    /// The next piece of what is streamed, if there is one.
    fn take_text(&mut self) -> Option<Bytes> {
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
}

/// Traces whose text is streamed.
pub(super) struct StreamedRun(TraceRun);

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
        match self.0.step(fuel) {
            Step::More { used } => Step::More { used },
            Step::Offload(call) => Step::Offload(call),
            Step::Done(traces) => Step::Done(traces.map(|_none| ())),
        }
    }
    fn provide(&mut self, result: HeavyResult) {
        self.0.provide(result);
    }
    fn take_text(&mut self) -> Option<Bytes> {
        self.0.take_text()
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
