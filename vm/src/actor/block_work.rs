//! A block run that an actor drives: turn by turn, and parked while a pool runs a precompile.

use evenkeel_runtime::{Ctx, Flow, Message, System};

use super::{
    slot::{Fill, Slot, slot},
    turn::{Turn, slices},
};
use crate::{
    block::{BlockOutcome, BlockRun, ExecError},
    heavy::{HeavyCall, HeavyResult},
};

/// A run, what it is for, and the result that it waits for if it does.
pub(super) struct BlockWork<P> {
    run: Box<BlockRun>,
    purpose: P,
    waits: Option<Slot<HeavyResult>>,
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
        Self { run: Box::new(run), purpose, waits: None }
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
        match slices(ctx, |fuel| self.run.step(fuel), |_| None) {
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
