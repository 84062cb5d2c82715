//! Traces one after another, on one execution: transactions of a block, or calls. Pure.
//!
//! A block is replayed once, up to the first transaction that is traced; each trace is rendered as
//! its transaction ends. What all of them record, and what they come to as JSON, is bounded
//! together; for each by itself if they are taken while they run.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use alloy_primitives::B256;
use alloy_rpc_types_eth::{
    BlockOverrides, TransactionInfo, TransactionRequest, state::StateOverride,
};
use evenkeel_chain::{ChainSpec, Header, RecoveredTx, SealedBlock};
use evenkeel_state::View;

use super::{
    replay::Replay,
    replayed::Within,
    request::{self, Prepared},
    streamed::{Streamed, TraceFrame, TracePiece},
    traced::{Left, Order, TracedTx},
};
use crate::{
    env,
    error::{CallError, InvalidCall, TxFacts, Unsupported},
    heavy::HeavyResult,
    limits::{Limits, SLICE_GAS, TRACE_BYTES_MAX, TRACE_TEXT_BYTES_MAX, TX_FUEL},
    overlay::Overlay,
    step::Step,
    suspended::{Setup, Whereabouts},
    tracer::{Plan, TraceKind, Traced},
};

/// Everything traces need.
pub struct TraceJob {
    /// What comes before them.
    pub start: TraceStart,
    /// What is traced, in order, each on what the one before it left.
    pub items: Vec<TraceItem>,
    /// What is wanted of each.
    pub kind: TraceKind,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// What they may use.
    pub limits: Limits,
}

/// What comes before the first trace.
pub enum TraceStart {
    /// This state, and the block whose environment it is.
    State {
        /// The state.
        view: View,
        /// The block.
        header: Arc<Header>,
    },
    /// A block, replayed up to one of its transactions.
    Block(Within),
    /// A state by itself, as tests have it.
    Alone {
        /// The state.
        view: View,
        /// The block that comes after it.
        header: Arc<Header>,
        /// What `BLOCKHASH` finds.
        block_hashes: BTreeMap<u64, B256>,
    },
}

/// Something to trace.
pub enum TraceItem {
    /// The next transaction of the block.
    Mined,
    /// A call.
    Call(Box<TraceCall>),
    /// A transaction that is no part of the block.
    Signed(Arc<RecoveredTx>),
}

/// A call to trace.
pub struct TraceCall {
    /// The call.
    pub request: TransactionRequest,
    /// Accounts to pretend, from this call on.
    pub state_overrides: Option<StateOverride>,
    /// Header fields to pretend, for this call; those of a bundle are shared by its calls.
    pub block_overrides: Option<Arc<BlockOverrides>>,
    /// What is wanted of it, if not the same as of all.
    pub kind: Option<TraceKind>,
}

impl TraceJob {
    /// The traces of some transactions of a block.
    #[must_use]
    pub fn of_block(
        (parent_view, block): (View, Arc<SealedBlock>),
        txs: Range<usize>,
        kind: TraceKind,
        (spec, limits): (Arc<ChainSpec>, Limits),
    ) -> Self {
        let items = txs.clone().map(|_| TraceItem::Mined).collect();
        let start = TraceStart::Block(Within { parent_view, block, replayed: txs.start });
        Self { start, items, kind, spec, limits }
    }
}

/// How far the traces came.
pub type TraceStep = Step<Result<Vec<Traced>, CallError>>;

/// Traces in the middle of their execution.
pub struct TraceRun {
    phase: Phase,
    items: VecDeque<TraceItem>,
    place: Place,
    plan: Arc<Plan>,
    spec: Arc<ChainSpec>,
    limits: Limits,
    traced: Vec<Traced>,
    /// How many logs of the block came before.
    logs: u64,
    /// Whether the trace under way is of a transaction of the block.
    is_mined: bool,
    bytes_left: usize,
    text_bytes: usize,
    /// What nobody took yet, if they are streamed.
    streamed: Option<Streamed>,
    /// What was counted before the trace under way.
    before: Whereabouts,
}

/// Where the traces are.
struct Place {
    header: Arc<Header>,
    /// Of the block itself, without overrides.
    setup: Setup,
    block: Option<Arc<SealedBlock>>,
    /// The next transaction of the block.
    next: usize,
}

enum Phase {
    Replay(Box<Replay>),
    Between(Box<Overlay>),
    Trace(Box<TracedTx>),
    Over,
}

impl TraceRun {
    /// Checks what is asked; executes nothing yet.
    ///
    /// # Errors
    ///
    /// There is no such transaction or tracer.
    ///
    /// # Panics
    ///
    /// If it is of a kind that is always streamed: [`TraceKind::Flat`], [`TraceKind::Lines`].
    pub fn new(job: TraceJob) -> Result<Self, CallError> {
        let is_streamed = matches!(job.kind, TraceKind::Flat | TraceKind::Lines(_));
        assert!(!is_streamed, "nobody asks for all of them at once");
        Self::start(job)
    }

    fn start(job: TraceJob) -> Result<Self, CallError> {
        let TraceJob { start, items, kind, spec, limits } = job;
        let plan = Arc::new(Plan::new(kind)?);
        let (phase, place) = match start {
            TraceStart::State { view, header } => {
                let setup = env::setup(&spec, &header, &limits);
                let phase = Phase::Between(Box::new(Overlay::new(view)));
                (phase, Place { header, setup, block: None, next: 0 })
            }
            TraceStart::Alone { view, header, block_hashes } => {
                let setup = env::setup(&spec, &header, &limits);
                let hashes =
                    BlockOverrides { block_hash: Some(block_hashes), ..Default::default() };
                let mut overlay = Overlay::new(view);
                overlay.override_block_hashes(Some(Arc::new(hashes)));
                let phase = Phase::Between(Box::new(overlay));
                (phase, Place { header, setup, block: None, next: 0 })
            }
            TraceStart::Block(within) => {
                let mined = items.iter().filter(|item| matches!(item, TraceItem::Mined)).count();
                let (block, replayed) = (Arc::clone(&within.block), within.replayed);
                let (index, count) = (replayed + mined, block.txs.len());
                if index > count {
                    let index = index - 1;
                    return Err(CallError::Invalid(InvalidCall::NoTransaction { index, count }));
                }
                let (replay, setup) = within.replay(&spec, &limits);
                let header = Arc::new(block.header.clone());
                let place = Place { header, setup, block: Some(block), next: replayed };
                (Phase::Replay(Box::new(replay)), place)
            }
        };
        Ok(Self {
            phase,
            items: items.into(),
            place,
            plan,
            spec,
            limits,
            traced: Vec::new(),
            logs: 0,
            is_mined: false,
            bytes_left: TRACE_BYTES_MAX,
            text_bytes: 0,
            streamed: None,
            before: Whereabouts::default(),
        })
    }

    /// The same, with what there is to be taken while the traces run: each time after a step. In
    /// the end there are no traces. So only one transaction's trace is there at a time, and the
    /// bounds hold for each of them.
    ///
    /// # Errors
    ///
    /// As [`TraceRun::new`].
    ///
    /// # Panics
    ///
    /// If it is of a kind that is not streamed: [`TraceKind::Operations`], [`TraceKind::Output`].
    pub fn streamed(job: TraceJob, frame: TraceFrame) -> Result<Self, CallError> {
        let is_flat = matches!(job.kind, TraceKind::Flat);
        assert!(
            !matches!(job.kind, TraceKind::Operations | TraceKind::Output),
            "nobody asks for many of them"
        );
        let streamed = Streamed::new(frame, is_flat);
        Ok(Self { streamed: Some(streamed), ..Self::start(job)? })
    }

    /// A piece of what is streamed, if there is one.
    pub fn take_piece(&mut self) -> Option<TracePiece> {
        self.gather();
        self.streamed.as_mut()?.take()
    }

    /// Puts what the trace under way has written behind what is there.
    fn gather(&mut self) {
        if let (Some(streamed), Phase::Trace(tracing)) = (&mut self.streamed, &mut self.phase) {
            streamed.extend(tracing);
        }
    }

    /// Runs for about `fuel` gas.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub fn step(&mut self, fuel: u64) -> TraceStep {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Replay(mut replay) => match replay.step(fuel) {
                Step::Done(Ok(overlay)) => {
                    self.logs = replay.logs();
                    self.before.gas_used = replay.gas_used();
                    self.phase = Phase::Between(overlay);
                    Step::More { used: TX_FUEL }
                }
                Step::Done(Err(error)) => {
                    self.before.gas_used = replay.gas_used();
                    Step::Done(Err(error))
                }
                Step::More { used } => {
                    self.phase = Phase::Replay(replay);
                    Step::More { used }
                }
                Step::Offload(call) => {
                    self.phase = Phase::Replay(replay);
                    Step::Offload(call)
                }
            },
            Phase::Between(overlay) => self.next(*overlay),
            Phase::Trace(mut tracing) => match tracing.step(fuel) {
                Step::Done(left) => self.ended(left, &mut tracing),
                Step::More { used } => {
                    self.phase = Phase::Trace(tracing);
                    Step::More { used }
                }
                Step::Offload(call) => {
                    self.phase = Phase::Trace(tracing);
                    Step::Offload(call)
                }
            },
            Phase::Over => panic!("a trace was stepped after its end"),
        }
    }

    fn ended(&mut self, left: Result<Left, CallError>, tracing: &mut TracedTx) -> TraceStep {
        self.before = tracing.whereabouts().after(self.before);
        match left.and_then(|left| self.keep(left, tracing)) {
            Ok(overlay) => {
                // Calls are no part of a block: each begins where that ends.
                self.logs += if self.is_mined { tracing.logs() } else { 0 };
                self.phase = Phase::Between(Box::new(overlay));
                Step::More { used: TX_FUEL }
            }
            Err(error) => Step::Done(Err(error)),
        }
    }

    /// Runs one instruction of what is traced, as
    /// [`CallRun::step_instruction`](super::CallRun::step_instruction) does. What comes before the
    /// first trace is not stepped through: there it runs a slice.
    pub fn step_instruction(&mut self) -> TraceStep {
        if matches!(self.phase, Phase::Replay(_)) {
            return self.step(SLICE_GAS);
        }
        self.set_stepping(true);
        // Any fuel will do.
        let step = self.step(1);
        self.set_stepping(false);
        step
    }

    fn set_stepping(&mut self, is_stepping: bool) {
        if let Phase::Trace(tracing) = &mut self.phase {
            tracing.set_stepping(is_stepping);
        }
    }

    /// Where it is now: nowhere before the first trace. The steps are those of all traces, and so
    /// is the gas, with that of the transactions replayed before them.
    pub fn whereabouts(&mut self) -> Whereabouts {
        let here = match &mut self.phase {
            Phase::Trace(tracing) => tracing.whereabouts(),
            Phase::Replay(replay) => {
                Whereabouts { gas_used: replay.gas_used(), ..Whereabouts::default() }
            }
            Phase::Between(_) | Phase::Over => Whereabouts::default(),
        };
        here.after(self.before)
    }

    /// Begins the next trace.
    fn next(&mut self, overlay: Overlay) -> TraceStep {
        let Some(item) = self.items.pop_front() else {
            if let Some(streamed) = &mut self.streamed {
                streamed.end();
            }
            return Step::Done(Ok(std::mem::take(&mut self.traced)));
        };
        match self.begin(item, overlay) {
            Ok(tracing) => {
                self.phase = Phase::Trace(Box::new(tracing));
                Step::More { used: TX_FUEL }
            }
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn begin(&mut self, item: TraceItem, mut overlay: Overlay) -> Result<TracedTx, CallError> {
        if let Some(streamed) = &mut self.streamed {
            let hash = match (&item, &self.place.block) {
                (TraceItem::Mined, Some(block)) => Some(*block.txs[self.place.next].hash()),
                _ => None,
            };
            streamed.begin(hash);
        }
        self.is_mined = matches!(item, TraceItem::Mined);
        match item {
            TraceItem::Mined => {
                let block = self.place.block.as_ref().expect("it is the block's own transaction");
                let (index, hash) = (self.place.next, block.hash);
                let tx = Arc::clone(&block.txs[index]);
                self.place.next += 1;
                Ok(self.signed(&tx, overlay, Some((hash, index as u64))))
            }
            TraceItem::Signed(tx) => Ok(self.signed(&tx, overlay, None)),
            TraceItem::Call(call) => {
                let TraceCall { request, state_overrides, block_overrides, kind } = *call;
                let rules = (&*self.spec, &self.limits);
                let header = &self.place.header;
                let Prepared { mut setup, tx, facts, .. } =
                    request::prepare(request, block_overrides.as_deref(), header, rules)?;
                let state = (state_overrides, setup.cfg.spec);
                setup.precompiles = request::apply_overrides(&mut overlay, state, block_overrides)?;
                let plan = match kind {
                    Some(kind) => Arc::new(Plan::new(kind)?),
                    None => Arc::clone(&self.plan),
                };
                let order = Order { plan, ..self.order(TransactionInfo::default()) };
                Ok(TracedTx::new(order, setup, overlay, (tx, &facts)))
            }
        }
    }

    /// A transaction as it was signed; `mined` is the hash of its block and its index there.
    fn signed(&self, tx: &RecoveredTx, overlay: Overlay, mined: Option<(B256, u64)>) -> TracedTx {
        let mut setup = self.place.setup.clone();
        setup.cfg.disable_eip3607 = tx.is_impersonated();
        let info = TransactionInfo {
            hash: Some(*tx.hash()),
            index: mined.map(|(_, index)| index),
            block_hash: mined.map(|(hash, _)| hash),
            block_number: mined.map(|_| self.place.header.number),
            base_fee: self.place.header.base_fee_per_gas,
            ..TransactionInfo::default()
        };
        let tx = env::tx_env(tx);
        let facts = TxFacts::of(&tx, setup.block.basefee);
        TracedTx::new(self.order(info), setup, overlay, (tx, &facts))
    }

    fn order(&self, info: TransactionInfo) -> Order {
        let (plan, is_streamed) = (Arc::clone(&self.plan), self.streamed.is_some());
        let (bytes_max, logs_before) = (self.bytes_left, self.logs);
        Order { plan, bytes_max, info, is_streamed, logs_before }
    }

    /// Keeps a trace; returns the state after its transaction.
    fn keep(&mut self, left: Left, tracing: &mut TracedTx) -> Result<Overlay, CallError> {
        let Left { traced, overlay, bytes } = left;
        if let Some(streamed) = &mut self.streamed {
            streamed.extend(tracing);
            streamed.end_trace(traced);
            return Ok(overlay);
        }
        let traced = traced.expect("only what is streamed leaves nothing");
        let kept = match &traced {
            // Text is all that is left of what was recorded.
            Traced::Json(text) => {
                self.text_bytes = self.text_bytes.saturating_add(text.0.get().len());
                0
            }
            Traced::Output(output) => {
                // As hex.
                let bytes = output.as_ref().map_or(0, |output| 2 * output.len());
                self.text_bytes = self.text_bytes.saturating_add(bytes);
                0
            }
            Traced::Operations(_) => bytes,
        };
        self.bytes_left = self.bytes_left.saturating_sub(kept);
        if self.text_bytes > TRACE_TEXT_BYTES_MAX {
            return Err(CallError::Unsupported(Unsupported::TraceText(TRACE_TEXT_BYTES_MAX)));
        }
        self.traced.push(traced);
        Ok(overlay)
    }

    /// Hands in the result of the offloaded work.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the work was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        match &mut self.phase {
            Phase::Replay(replay) => replay.provide(result),
            Phase::Trace(tracing) => tracing.provide(result),
            Phase::Between(_) | Phase::Over => panic!("nothing is offloaded"),
        }
    }
}
