//! A block run that an actor drives: turn by turn, and parked while a pool runs a precompile.

use evenkeel_runtime::{Class, Ctx, Flow, Message, Spawn, System};

use super::{
    slot::{Fill, Slot, slot},
    turn::{Turn, slices},
};
use crate::{
    block::{BlockOutcome, BlockRun, ExecError},
    heavy::{HeavyCall, HeavyResult},
    limits::SLICE_GAS,
};

/// A run, what it is for, and the result that it waits for if it does.
pub(super) struct BlockWork<P> {
    run: Box<BlockRun>,
    purpose: P,
    waits: Option<Slot<HeavyResult>>,
    /// Fuel of a slice at most.
    slice_gas: u64,
}

/// How a turn of it ended.
pub(super) enum Worked<P> {
    /// It goes on with the actor's next turn.
    Again(BlockWork<P>, Flow),
    /// It is over.
    Done(Box<BlockRun>, P, Result<BlockOutcome, ExecError>),
}

impl<P> BlockWork<P> {
    pub(super) fn new(run: BlockRun, purpose: P) -> Self {
        Self { run: Box::new(run), purpose, waits: None, slice_gas: SLICE_GAS }
    }

    /// The same in slices of at most `gas`, if that is less than they have anyway.
    pub(super) fn in_slices_of(mut self, gas: u64) -> Self {
        // Without fuel nothing would move.
        self.slice_gas = gas.clamp(1, SLICE_GAS);
        self
    }

    pub(super) const fn purpose(&self) -> &P {
        &self.purpose
    }

    /// Runs until the turn is spent. `offload` has a pool run a precompile: its result comes
    /// through the slot, as a parked actor gets no messages.
    pub(super) fn turn<M: Message>(
        mut self,
        ctx: &mut Ctx<'_, M>,
        offload: impl FnOnce(&System, HeavyCall, Fill<HeavyResult>),
    ) -> Worked<P> {
        if let Some(slot) = self.waits.take() {
            match slot.take() {
                Some(result) if !result.is_stopped() => self.run.provide(result),
                Some(_) | None => {
                    let error = ExecError::Internal("a precompile gave no result".to_owned());
                    return Worked::Done(self.run, self.purpose, Err(error));
                }
            }
        }
        match slices(ctx, self.slice_gas, |fuel| self.run.step(fuel), |_| None) {
            Turn::Spent => Worked::Again(self, Flow::More),
            Turn::Offload(call) => {
                let (ticket, completion) = ctx.ticket();
                let (slot, fill) = slot(completion);
                offload(ctx.system(), call, fill);
                self.waits = Some(slot);
                Worked::Again(self, Flow::Park(ticket))
            }
            Turn::Done(result) => Worked::Done(self.run, self.purpose, result),
        }
    }
}

/// Runs a precompile of a block on the blocking pool.
///
/// Not on the compute pool: a block would wait there behind clients' precompiles, each of which may
/// take seconds. The executor has one job at a time, so the writer keeps the other thread;
/// blocks by themselves run on the caller's thread.
pub(super) fn offload(system: &System, call: HeavyCall, fill: Fill<HeavyResult>) {
    let pool = system.clone();
    let job = move || fill.fill(call.run(&|| false));
    let run = async move {
        if let Err(error) = pool.blocking_async(job).await {
            tracing::error!(%error, "a precompile failed on the pool");
        }
    };
    drop(system.spawn_future(Spawn::new("block-offload", Class::Exec), run));
}
