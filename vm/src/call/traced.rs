//! One transaction under its tracers, in slices. Pure.
//!
//! It may run several times, each time from the state before it, so that no tracer's text has to be
//! kept (`tracer/plan.rs`).

use std::{collections::VecDeque, sync::Arc};

use alloy_primitives::Address;
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
    limits::{
        ACCOUNT_FUEL, RENDER_INLINE_BYTES, TEXT_STEP_BYTES, TOUCHED_PER_STEP, TRACE_TEXT_BYTES_MAX,
        TX_FUEL,
    },
    long::Fault,
    overlay::Overlay,
    step::Step,
    suspended::{Setup, Suspended, Whereabouts},
    tracer::{
        Found, Items, Known, Made, Plan, Rendered, Run, Text, Touched, Traced, Tracer, Unrendered,
        Written,
    },
};

/// A traced transaction.
pub(crate) struct TracedTx {
    state: State,
    /// None while the transaction runs elsewhere.
    single: Option<Single>,
    is_stepping: bool,
    /// Where the transaction was when it went elsewhere.
    was_at: Whereabouts,
    plan: Arc<Plan>,
    /// Bytes that each run may record.
    bytes_max: usize,
    tx: TxEnv,
    block: BlockEnv,
    info: TransactionInfo,
    /// Whether its text is taken while it runs.
    is_streamed: bool,
    /// Runs that are still to come, and what each begins with.
    runs: VecDeque<Run>,
    again: Box<Again>,
    /// What a survey has found.
    found: Arc<Found>,
    /// What was counted in the runs before.
    before: Whereabouts,
    /// Text that was not taken, and calls that are not text.
    pieces: Vec<Vec<u8>>,
    items: Items,
    text_bytes: usize,
    /// Logs of its block before its own, and its own.
    logs_before: u64,
    logs: u64,
}

/// What an execution begins with.
struct Again {
    setup: Setup,
    facts: TxFacts,
}

/// A transaction that has run.
struct Ran {
    tracer: Tracer,
    /// The state before it.
    overlay: Overlay,
    ended: ResultAndState,
    fault: Option<Fault>,
    /// Who signed authorizations.
    authorities: Vec<Address>,
}

impl Ran {
    /// What is written of the state: the `nth` of it, after `text`.
    fn touched(&self, plan: &Plan, nth: usize, text: &mut Text) -> Option<Touched> {
        plan.touched(nth, (&self.ended.state, &self.authorities), text)
    }
}

enum State {
    Running(Suspended<Overlay, Tracer>),
    /// A piece of it runs on the compute pool, or has run there.
    Away,
    Back(Box<Piece>),
    /// The transaction is over, its text not yet written.
    Writing(Box<Ran>),
    /// It has run for the last time, and what it touched is written.
    Showing(Box<Ran>, Box<Showing>),
    Rendering,
    Rendered(Box<Rendered>),
    Over,
}

/// What is written of the state.
struct Showing {
    /// What is under way, and how many of it came before.
    touched: Option<Touched>,
    nth: usize,
    text: Text,
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
    pub(crate) plan: Arc<Plan>,
    /// Bytes it may record.
    pub(crate) bytes_max: usize,
    pub(crate) info: TransactionInfo,
    /// Whether [`TracedTx::take_text`] is asked while it runs.
    pub(crate) is_streamed: bool,
    /// How many logs of its block come before its own.
    pub(crate) logs_before: u64,
}

impl TracedTx {
    pub(crate) fn new(
        order: Order,
        setup: Setup,
        overlay: Overlay,
        (tx, facts): (TxEnv, &TxFacts),
    ) -> Self {
        let Order { plan, bytes_max, info, is_streamed, logs_before } = order;
        let (block, found) = (setup.block.clone(), Arc::default());
        let info = TransactionInfo { block_number: Some(block.number.saturating_to()), ..info };
        let mut runs = plan.runs();
        let first = runs.pop_front().expect("there is at least one");
        let tracer = plan.tracer(&first, &Known { bytes_max, found: &found, info, logs_before });
        let again = Box::new(Again { setup: setup.clone(), facts: facts.clone() });
        Self {
            state: State::Running(Suspended::new(setup, overlay, tracer)),
            single: Some(Single::new(tx.clone(), facts)),
            is_stepping: false,
            was_at: Whereabouts::default(),
            plan,
            bytes_max,
            tx,
            block,
            info,
            is_streamed,
            runs,
            again,
            found,
            before: Whereabouts::default(),
            logs_before,
            logs: 0,
            pieces: Vec::new(),
            items: Items::default(),
            text_bytes: 0,
        }
    }

    /// What was written since it was last asked.
    pub(crate) fn take_text(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.pieces)
    }

    /// The same, if it is not text.
    pub(crate) fn take_items(&mut self) -> Items {
        std::mem::take(&mut self.items)
    }

    /// How many logs it has left, when it has ended.
    pub(crate) const fn logs(&self) -> u64 {
        self.logs
    }

    /// Runs for about `fuel` gas.
    pub(crate) fn step(&mut self, fuel: u64) -> Step<Result<Left, CallError>> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Running(evm) => self.run(evm, fuel),
            State::Back(piece) => self.came_back(*piece),
            State::Writing(ran) => self.write_rest(ran),
            State::Showing(ran, showing) => self.show_touched(ran, showing),
            State::Rendered(rendered) => self.made(*rendered),
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
            Step::Done(Err(error)) => return self.failed(evm, error),
        };
        self.state = State::Running(evm);
        step
    }

    fn run(
        &mut self,
        mut evm: Suspended<Overlay, Tracer>,
        fuel: u64,
    ) -> Step<Result<Left, CallError>> {
        if evm.inspector_mut().has_script() {
            return self.send_away(evm);
        }
        // What was recorded is written before more is.
        let step = match evm.inspector_mut().write() {
            Some(bytes) => {
                if let Err(error) = self.gather(evm.inspector_mut()) {
                    return self.failed(evm, error);
                }
                Step::More { used: bytes as u64 }
            }
            None => match self.single.as_mut().expect("it is here").step(&mut evm, fuel) {
                Step::More { used } => Step::More { used },
                Step::Offload(call) => Step::Offload(call),
                Step::Done(Ok(result)) => return self.ended(evm, result),
                Step::Done(Err(error)) => return self.failed(evm, error),
            },
        };
        if let Some(error) = evm.inspector_mut().failure() {
            return self.failed(evm, error);
        }
        self.state = State::Running(evm);
        step
    }

    /// The end before that of the transaction; what was counted stays counted.
    fn failed(
        &mut self,
        mut evm: Suspended<Overlay, Tracer>,
        error: CallError,
    ) -> Step<Result<Left, CallError>> {
        self.before = evm.whereabouts().after(self.before);
        Step::Done(Err(error))
    }

    /// Takes over what is written.
    fn gather(&mut self, tracer: &mut Tracer) -> Result<(), CallError> {
        let Items { mut traces, bytes } = tracer.take_items();
        self.items.traces.append(&mut traces);
        self.items.bytes += bytes;
        self.push(tracer.take_text())
    }

    /// Puts text behind what is there; all of it together is bounded if nobody takes it.
    fn push(&mut self, text: Vec<u8>) -> Result<(), CallError> {
        self.text_bytes = self.text_bytes.saturating_add(text.len());
        if !self.is_streamed && self.text_bytes > TRACE_TEXT_BYTES_MAX {
            return Err(CallError::Unsupported(Unsupported::TraceText(TRACE_TEXT_BYTES_MAX)));
        }
        self.pieces.extend((!text.is_empty()).then_some(text));
        Ok(())
    }

    fn ended(
        &mut self,
        mut evm: Suspended<Overlay, Tracer>,
        result: ExecutionResult,
    ) -> Step<Result<Left, CallError>> {
        if let Some(error) = evm.inspector_mut().failure() {
            return self.failed(evm, error);
        }
        self.before = evm.whereabouts().after(self.before);
        let (fault, authorities) = (evm.fault(), evm.authorities());
        self.logs = result.logs().len() as u64;
        let ended = ResultAndState { result, state: evm.finalize() };
        let (overlay, mut tracer) = evm.into_parts();
        tracer.end_text(&ended.result, &self.tx);
        self.state = State::Writing(Box::new(Ran { tracer, overlay, ended, fault, authorities }));
        Step::More { used: TX_FUEL }
    }

    fn write_rest(&mut self, mut ran: Box<Ran>) -> Step<Result<Left, CallError>> {
        if let Some(bytes) = ran.tracer.write() {
            if let Err(error) = self.gather(&mut ran.tracer) {
                return Step::Done(Err(error));
            }
            self.state = State::Writing(ran);
            return Step::More { used: bytes as u64 };
        }
        if let Some(run) = self.runs.pop_front() {
            return self.run_again(*ran, &run);
        }
        let mut text = Text::default();
        let touched = ran.touched(&self.plan, 0, &mut text);
        self.state = State::Showing(ran, Box::new(Showing { touched, nth: 0, text }));
        Step::More { used: TX_FUEL }
    }

    /// Writes some of the accounts that the transaction touched.
    fn show_touched(
        &mut self,
        ran: Box<Ran>,
        mut showing: Box<Showing>,
    ) -> Step<Result<Left, CallError>> {
        let Showing { touched, nth, text } = &mut *showing;
        let mut used = 0;
        if text.is_written() {
            for _ in 0..TOUCHED_PER_STEP {
                let Some(under_way) = touched else { return self.render(*ran) };
                used += ACCOUNT_FUEL;
                match under_way.write(&ran.ended.state, &ran.overlay, text) {
                    Ok(true) => {}
                    Ok(false) => {
                        *nth += 1;
                        *touched = ran.touched(&self.plan, *nth, text);
                        break;
                    }
                    Err(error) => return Step::Done(Err(CallError::State(error.0))),
                }
            }
        }
        used += text.write(TEXT_STEP_BYTES) as u64;
        if let Err(error) = self.push(text.take()) {
            return Step::Done(Err(error));
        }
        self.state = State::Showing(ran, showing);
        Step::More { used }
    }

    /// Runs the transaction once more, from where it began: what it did is not taken over.
    fn run_again(&mut self, ran: Ran, run: &Run) -> Step<Result<Left, CallError>> {
        let Ran { mut tracer, overlay, ended, .. } = ran;
        if let Some(found) = tracer.take_survey(ended.result.tx_gas_used()) {
            self.found = Arc::new(found);
        }
        let Again { setup, facts } = &*self.again;
        let (bytes_max, info, logs_before) = (self.bytes_max, self.info, self.logs_before);
        let known = Known { bytes_max, found: &self.found, info, logs_before };
        let tracer = self.plan.tracer(run, &known);
        let mut evm = Suspended::new(setup.clone(), overlay, tracer);
        evm.set_stepping(self.is_stepping);
        self.single = Some(Single::new(self.tx.clone(), facts));
        self.state = State::Running(evm);
        Step::More { used: TX_FUEL }
    }

    /// Has rendered what is still to be.
    fn render(&mut self, ran: Ran) -> Step<Result<Left, CallError>> {
        let Ran { tracer, overlay, ended, fault, .. } = ran;
        let unrendered = Unrendered {
            plan: Arc::clone(&self.plan),
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
        self.made(unrendered.render())
    }

    /// Puts behind the text what was rendered, which is the end.
    fn made(&mut self, rendered: Rendered) -> Step<Result<Left, CallError>> {
        let Rendered { made, overlay, bytes } = rendered;
        let rest = match made {
            Ok(Made::Rest(rest)) => rest,
            Ok(Made::Whole(traced)) => {
                return Step::Done(Ok(Left { traced: Some(traced), overlay, bytes }));
            }
            Err(error) => return Step::Done(Err(error)),
        };
        if let Err(error) = self.push(rest.into_bytes()) {
            return Step::Done(Err(error));
        }
        if self.is_streamed {
            return Step::Done(Ok(Left { traced: None, overlay, bytes }));
        }
        let written = Written { pieces: std::mem::take(&mut self.pieces), overlay };
        if self.text_bytes > RENDER_INLINE_BYTES {
            self.state = State::Rendering;
            return Step::Offload(HeavyCall::join(Box::new(written)));
        }
        self.made(written.join())
    }

    /// Hands in the result of the offloaded work.
    pub(crate) fn provide(&mut self, result: HeavyResult) {
        match &mut self.state {
            State::Running(evm) => evm.provide(result),
            State::Rendering => self.state = State::Rendered(Box::new(result.into_rendered())),
            State::Away => self.state = State::Back(Box::new(result.into_piece())),
            State::Writing(_)
            | State::Showing(..)
            | State::Back(_)
            | State::Rendered(_)
            | State::Over => {
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

    /// Where it is; steps and gas are those of all runs.
    pub(crate) fn whereabouts(&mut self) -> Whereabouts {
        let here = match &mut self.state {
            State::Running(evm) => evm.whereabouts(),
            State::Back(piece) => {
                let here = piece.rest.evm.whereabouts();
                let is_over = matches!(piece.step, Step::Done(_));
                if is_over { Whereabouts { pc: None, opcode: None, ..here } } else { here }
            }
            State::Away => self.was_at,
            State::Writing(_)
            | State::Showing(..)
            | State::Rendering
            | State::Rendered(_)
            | State::Over => Whereabouts::default(),
        };
        here.after(self.before)
    }
}
