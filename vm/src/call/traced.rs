//! One transaction under a tracer, in slices. Pure.

use std::sync::Arc;

use alloy_rpc_types_eth::TransactionInfo;
use revm::context::{
    BlockEnv, TxEnv,
    result::{ExecutionResult, ResultAndState},
};

use super::{
    Single,
    scripted::{Piece, Scripted},
};
use crate::{
    error::{CallError, TxFacts, Unsupported},
    heavy::{HeavyCall, HeavyResult},
    limits::{RENDER_INLINE_BYTES, TRACE_TEXT_BYTES_MAX, TX_FUEL},
    overlay::Overlay,
    step::Step,
    suspended::{Setup, Suspended, Whereabouts},
    tracer::{Recipe, Rendered, Traced, Tracer, Undone, Unrendered, Written},
};

/// A traced transaction.
pub(crate) struct TracedTx {
    state: State,
    /// None while the transaction runs elsewhere.
    single: Option<Single>,
    is_stepping: bool,
    /// Where the transaction was when it went elsewhere.
    was_at: Whereabouts,
    recipe: Arc<Recipe>,
    tx: TxEnv,
    block: BlockEnv,
    info: TransactionInfo,
    /// Whether its text is taken while it runs.
    is_streamed: bool,
    /// How to run the transaction once more, while it is only surveyed.
    surveyed: Option<Box<Again>>,
    /// Instructions stepped through in the survey.
    steps_before: u64,
    /// Text that was not taken.
    pieces: Vec<Vec<u8>>,
    text_bytes: usize,
}

/// What an execution begins with.
struct Again {
    setup: Setup,
    facts: TxFacts,
    bytes_max: usize,
}

enum State {
    Running(Suspended<Overlay, Tracer>),
    /// A piece of it runs on the compute pool, or has run there.
    Away,
    Back(Box<Piece>),
    /// The transaction is over, its text not yet written.
    Writing(Box<(Tracer, Overlay)>),
    Rendering,
    Rendered(Box<Rendered>),
    Over,
}

/// What a traced transaction leaves.
pub(crate) struct Left {
    /// Nothing if the trace was taken as text while it was made.
    pub(crate) traced: Option<Traced>,
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
    /// Whether [`TracedTx::take_text`] is asked while it runs.
    pub(crate) is_streamed: bool,
}

impl TracedTx {
    pub(crate) fn new(
        order: Order,
        setup: Setup,
        overlay: Overlay,
        (tx, facts): (TxEnv, &TxFacts),
    ) -> Self {
        let Order { recipe, bytes_max, info, is_streamed } = order;
        let block = setup.block.clone();
        let (tracer, surveyed) = match recipe.survey() {
            Some(survey) => {
                let again = Again { setup: setup.clone(), facts: facts.clone(), bytes_max };
                (survey, Some(Box::new(again)))
            }
            None => (recipe.tracer(bytes_max, Undone::default()), None),
        };
        Self {
            state: State::Running(Suspended::new(setup, overlay, tracer)),
            single: Some(Single::new(tx.clone(), facts)),
            is_stepping: false,
            was_at: Whereabouts::default(),
            recipe,
            tx,
            block,
            info,
            is_streamed,
            surveyed,
            steps_before: 0,
            pieces: Vec::new(),
            text_bytes: 0,
        }
    }

    /// What was written since it was last asked.
    pub(crate) fn take_text(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.pieces)
    }

    /// Runs for about `fuel` gas.
    pub(crate) fn step(&mut self, fuel: u64) -> Step<Result<Left, CallError>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Running(evm) if self.recipe.has_script() => self.send_away(evm),
            State::Running(evm) => self.run(evm, fuel),
            State::Back(piece) => self.came_back(*piece),
            State::Writing(ending) => self.write_rest(ending),
            State::Rendered(rendered) => Step::Done(left(*rendered)),
            State::Rendering | State::Away => panic!("provide what was offloaded first"),
            State::Over => panic!("a trace was stepped after its end"),
        }
    }

    fn send_away(&mut self, mut evm: Suspended<Overlay, Tracer>) -> Step<Result<Left, CallError>> {
        self.was_at = evm.whereabouts();
        let single = self.single.take().expect("it is here unless it runs elsewhere");
        self.state = State::Away;
        let scripted = Scripted { evm, single, is_stepping: self.is_stepping };
        Step::Offload(HeavyCall::script(Box::new(scripted)))
    }

    fn came_back(&mut self, piece: Piece) -> Step<Result<Left, CallError>> {
        let Piece { rest: Scripted { evm, single, .. }, step } = piece;
        self.single = Some(single);
        let step = match step {
            Step::More { used } => Step::More { used },
            Step::Offload(call) => Step::Offload(call),
            Step::Done(Ok(result)) => return self.ended(evm, result),
            Step::Done(Err(error)) => return Step::Done(Err(error)),
        };
        self.state = State::Running(evm);
        step
    }

    fn run(
        &mut self,
        mut evm: Suspended<Overlay, Tracer>,
        fuel: u64,
    ) -> Step<Result<Left, CallError>> {
        // What was recorded is written before more is.
        let step = match evm.inspector_mut().write() {
            Some(bytes) => {
                if let Err(error) = self.gather(evm.inspector_mut()) {
                    return Step::Done(Err(error));
                }
                Step::More { used: bytes as u64 }
            }
            None => match self.single.as_mut().expect("it is here").step(&mut evm, fuel) {
                Step::More { used } => Step::More { used },
                Step::Offload(call) => Step::Offload(call),
                Step::Done(Ok(result)) => return self.ended(evm, result),
                Step::Done(Err(error)) => return Step::Done(Err(error)),
            },
        };
        if let Some(error) = evm.inspector_mut().failure() {
            return Step::Done(Err(error));
        }
        self.state = State::Running(evm);
        step
    }

    /// Takes over what is written; all of it together is bounded if nobody takes it.
    fn gather(&mut self, tracer: &mut Tracer) -> Result<(), CallError> {
        let text = tracer.take_text();
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        if !self.is_streamed && self.text_bytes > TRACE_TEXT_BYTES_MAX {
            return Err(CallError::Unsupported(Unsupported::TraceText(TRACE_TEXT_BYTES_MAX)));
        }
        self.pieces.push(text);
        Ok(())
    }

    fn ended(
        &mut self,
        mut evm: Suspended<Overlay, Tracer>,
        result: ExecutionResult,
    ) -> Step<Result<Left, CallError>> {
        if let Some(error) = evm.inspector_mut().failure() {
            return Step::Done(Err(error));
        }
        if let Some(again) = self.surveyed.take() {
            return self.run_again(evm, *again);
        }
        let fault = evm.fault();
        let ended = ResultAndState { result, state: evm.finalize() };
        let (mut overlay, mut tracer) = evm.into_parts();
        if tracer.end_text(&ended.result, &self.tx) {
            if let Err(error) = overlay.commit(ended.state) {
                return Step::Done(Err(CallError::State(error.0)));
            }
            self.state = State::Writing(Box::new((tracer, overlay)));
            return Step::More { used: TX_FUEL };
        }
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

    /// Runs the surveyed transaction once more, from where it began, under its tracer.
    fn run_again(
        &mut self,
        mut evm: Suspended<Overlay, Tracer>,
        again: Again,
    ) -> Step<Result<Left, CallError>> {
        let undone = evm.inspector_mut().take_survey().unwrap_or_default();
        self.steps_before = evm.whereabouts().steps;
        // What it did is not taken over.
        let _undone = evm.finalize();
        let (overlay, _) = evm.into_parts();
        let Again { setup, facts, bytes_max } = again;
        let mut evm = Suspended::new(setup, overlay, self.recipe.tracer(bytes_max, undone));
        evm.set_stepping(self.is_stepping);
        self.single = Some(Single::new(self.tx.clone(), &facts));
        self.state = State::Running(evm);
        Step::More { used: TX_FUEL }
    }

    fn write_rest(&mut self, mut ending: Box<(Tracer, Overlay)>) -> Step<Result<Left, CallError>> {
        let (tracer, _) = &mut *ending;
        if let Some(bytes) = tracer.write() {
            if let Err(error) = self.gather(tracer) {
                return Step::Done(Err(error));
            }
            self.state = State::Writing(ending);
            return Step::More { used: bytes as u64 };
        }
        let (tracer, overlay) = *ending;
        if self.is_streamed {
            return Step::Done(Ok(Left { traced: None, overlay, bytes: tracer.bytes() }));
        }
        let written = Written { pieces: std::mem::take(&mut self.pieces), overlay };
        if self.text_bytes > RENDER_INLINE_BYTES {
            self.state = State::Rendering;
            return Step::Offload(HeavyCall::join(Box::new(written)));
        }
        Step::Done(left(written.join()))
    }

    /// Hands in the result of the offloaded work.
    pub(crate) fn provide(&mut self, result: HeavyResult) {
        match &mut self.state {
            State::Running(evm) => evm.provide(result),
            State::Rendering => self.state = State::Rendered(Box::new(result.into_rendered())),
            State::Away => self.state = State::Back(Box::new(result.into_piece())),
            State::Writing(_) | State::Back(_) | State::Rendered(_) | State::Over => {
                panic!("nothing is offloaded")
            }
        }
    }

    /// Nothing to set once it has ended.
    pub(crate) fn set_stepping(&mut self, is_stepping: bool) {
        self.is_stepping = is_stepping;
        if let State::Running(evm) = &mut self.state {
            evm.set_stepping(is_stepping);
        }
    }

    pub(crate) fn whereabouts(&mut self) -> Whereabouts {
        let before = self.steps_before;
        let counted = |here: Whereabouts| Whereabouts { steps: here.steps + before, ..here };
        match &mut self.state {
            State::Running(evm) => counted(evm.whereabouts()),
            State::Back(piece) => counted(piece.rest.evm.whereabouts()),
            State::Away => self.was_at,
            State::Writing(_) | State::Rendering | State::Rendered(_) | State::Over => {
                Whereabouts::default()
            }
        }
    }
}

fn left(rendered: Rendered) -> Result<Left, CallError> {
    let Rendered { traced, overlay, bytes } = rendered;
    traced.map(|traced| Left { traced: Some(traced), overlay, bytes })
}
