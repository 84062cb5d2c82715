//! One transaction under a tracer, in slices. Pure.

use std::sync::Arc;

use alloy_rpc_types_eth::TransactionInfo;
use revm::context::{
    BlockEnv, TxEnv,
    result::{ExecutionResult, ResultAndState},
};

use super::Single;
use crate::{
    error::{CallError, TxFacts},
    heavy::{HeavyCall, HeavyResult},
    overlay::Overlay,
    step::Step,
    suspended::{Setup, Suspended, Whereabouts},
    tracer::{Recipe, Rendered, Traced, Tracer, Unrendered},
};

/// A traced transaction.
pub(crate) struct TracedTx {
    state: State,
    single: Single,
    recipe: Arc<Recipe>,
    tx: TxEnv,
    block: BlockEnv,
    info: TransactionInfo,
}

enum State {
    Running(Suspended<Overlay, Tracer>),
    Rendering,
    Rendered(Box<Rendered>),
    Over,
}

/// What a traced transaction leaves.
pub(crate) struct Left {
    pub(crate) traced: Traced,
    /// The state after it.
    pub(crate) overlay: Overlay,
    /// Bytes that were recorded.
    pub(crate) bytes: usize,
}

/// How a traced transaction is to be traced.
pub(crate) struct Order {
    pub(crate) recipe: Arc<Recipe>,
    /// Bytes it may record.
    pub(crate) bytes_max: usize,
    pub(crate) info: TransactionInfo,
}

impl TracedTx {
    pub(crate) fn new(
        order: Order,
        setup: Setup,
        overlay: Overlay,
        (tx, facts): (TxEnv, &TxFacts),
    ) -> Self {
        let Order { recipe, bytes_max, info } = order;
        let block = setup.block.clone();
        let evm = Suspended::new(setup, overlay, recipe.tracer(bytes_max));
        let single = Single::new(tx.clone(), facts);
        Self { state: State::Running(evm), single, recipe, tx, block, info }
    }

    /// Runs for about `fuel` gas.
    pub(crate) fn step(&mut self, fuel: u64) -> Step<Result<Left, CallError>> {
        match &mut self.state {
            State::Running(evm) => {
                let step = self.single.step(evm, fuel);
                if let Some(excess) = evm.inspector_mut().excess() {
                    self.state = State::Over;
                    return Step::Done(Err(CallError::Unsupported(excess)));
                }
                match step {
                    Step::More { used } => Step::More { used },
                    Step::Offload(call) => Step::Offload(call),
                    Step::Done(Ok(result)) => self.ended(result),
                    Step::Done(Err(error)) => {
                        self.state = State::Over;
                        Step::Done(Err(error))
                    }
                }
            }
            State::Rendered(_) => {
                let State::Rendered(rendered) = std::mem::replace(&mut self.state, State::Over)
                else {
                    unreachable!("it was rendered above")
                };
                Step::Done(left(*rendered))
            }
            State::Rendering => panic!("provide the rendered trace first"),
            State::Over => panic!("a trace was stepped after its end"),
        }
    }

    fn ended(&mut self, result: ExecutionResult) -> Step<Result<Left, CallError>> {
        let State::Running(mut evm) = std::mem::replace(&mut self.state, State::Over) else {
            unreachable!("it ran just now")
        };
        let fault = evm.fault();
        let ended = ResultAndState { result, state: evm.finalize() };
        let (overlay, tracer) = evm.into_parts();
        let unrendered = Unrendered {
            recipe: Arc::clone(&self.recipe),
            tracer,
            tx: std::mem::take(&mut self.tx),
            block: std::mem::take(&mut self.block),
            info: self.info,
            ended,
            fault,
            overlay,
        };
        if unrendered.is_heavy() {
            self.state = State::Rendering;
            return Step::Offload(HeavyCall::render(Box::new(unrendered)));
        }
        Step::Done(left(unrendered.render()))
    }

    /// Hands in the result of the offloaded work.
    pub(crate) fn provide(&mut self, result: HeavyResult) {
        match &mut self.state {
            State::Running(evm) => evm.provide(result),
            State::Rendering => self.state = State::Rendered(Box::new(result.into_rendered())),
            State::Rendered(_) | State::Over => panic!("nothing is offloaded"),
        }
    }

    /// Nothing to set once it has ended.
    pub(crate) fn set_stepping(&mut self, is_stepping: bool) {
        if let State::Running(evm) = &mut self.state {
            evm.set_stepping(is_stepping);
        }
    }

    pub(crate) fn whereabouts(&mut self) -> Whereabouts {
        match &mut self.state {
            State::Running(evm) => evm.whereabouts(),
            State::Rendering | State::Rendered(_) | State::Over => Whereabouts::default(),
        }
    }
}

fn left(rendered: Rendered) -> Result<Left, CallError> {
    let Rendered { traced, overlay, bytes } = rendered;
    traced.map(|traced| Left { traced, overlay, bytes })
}
