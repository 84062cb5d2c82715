//! One turn of an actor that drives a run: slices until the turn is spent.

use evenkeel_runtime::{Ctx, Message};

use crate::{
    heavy::HeavyCall,
    limits::{GAS_PER_REDUCTION, TURN_TIME_MAX},
    step::Step,
};

/// How a turn ended.
pub(super) enum Turn<T> {
    /// There is more to do.
    Spent,
    /// The run waits for this.
    Offload(HeavyCall),
    /// The run is over.
    Done(T),
}

/// Steps until the reductions or the time of the turn are used up, `slice_gas` of fuel at most at a
/// time. `check` is asked before each slice and can end the run.
pub(super) fn slices<M: Message, T>(
    ctx: &mut Ctx<'_, M>,
    slice_gas: u64,
    mut step: impl FnMut(u64) -> Step<T>,
    mut check: impl FnMut(&Ctx<'_, M>) -> Option<T>,
) -> Turn<T> {
    let end = ctx.now() + TURN_TIME_MAX;
    loop {
        if let Some(done) = check(ctx) {
            return Turn::Done(done);
        }
        if ctx.left() == 0 || ctx.now() >= end {
            return Turn::Spent;
        }
        let fuel = slice_gas.min(u64::from(ctx.left()) * GAS_PER_REDUCTION);
        match step(fuel) {
            Step::More { used } => {
                let reductions = u32::try_from(used / GAS_PER_REDUCTION).unwrap_or(u32::MAX);
                // A slice that used nothing still costs its call, and must not loop for ever.
                ctx.consume(reductions.max(1));
            }
            Step::Offload(call) => return Turn::Offload(call),
            Step::Done(done) => return Turn::Done(done),
        }
    }
}
