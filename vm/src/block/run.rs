//! One block, built from candidates or validated, in slices.
//!
//! Pure. Building and validating differ in where the transactions come from, in what happens when
//! one cannot be applied, and in what is done with the header at the end; all else is one path.
//!
//! # Invariants
//!
//! - B1: a block that was built validates to the same hash on the same tip.
//! - B2: a candidate that cannot be applied leaves no trace in the state.

use std::sync::Arc;

use alloy_eips::eip7685::Requests;
use alloy_primitives::{B256, Bloom, U256};
use alloy_rpc_types_eth::BlockOverrides;
use evenkeel_chain::{
    BlockAttributes, ChainSpec, Fork, Header, Height, Receipt, RecoveredTx, SealedBlock,
    Withdrawal, check_header,
};
use evenkeel_state::{ChangeSet, ExecutedBlock, Tip, Trie, TrieNodes, TrieStep, TrieUpdate};
use revm::context::{TxEnv, result::EVMError};

use super::{
    BlockOutcome, BlockStep, BuildJob, Candidates, ExecError, SingleJob,
    changes::Changes,
    header::{self, Executed},
    notes::TxNote,
    observer::Observer,
    post_state::PostState,
    roots::OrderedRoot,
    system,
    txs::Current,
};
use crate::{
    env,
    heavy::{HeavyCall, HeavyResult},
    limits::{Limits, TRIE_FUEL_PER_NODE, TRIE_NODES_PER_SLICE},
    overlay::{Overlay, ReadError, Reads},
    overrides::Overrides,
    simulate::Calls,
    slice::{Frames, Machine, Slice},
    step::Step,
    suspended::{Setup, Suspended},
};

/// Fuel charged per account of the change set, per item of an ordered root: about a microsecond.
const ITEM_FUEL: u64 = 1_000;
/// Wei in the unit of withdrawals.
const GWEI: u64 = 1_000_000_000;

/// A block in the middle of its execution; `I` observes it.
pub struct BlockRun<I = ()> {
    pub(super) tip: Tip,
    pub(super) spec: Arc<ChainSpec>,
    pub(super) fork: Fork,
    /// Whether EIP-7825 holds, where the fork has it.
    pub(super) has_tx_gas_cap: bool,
    pub(super) source: Source,
    pub(super) header: Header,
    /// Taken when all that executes has executed.
    pub(super) evm: Option<Suspended<Overlay, I>>,
    /// Before Byzantium only.
    pub(super) post_state: Option<PostState>,
    pub(super) phase: Phase,
    pub(super) body: Body,
    /// Candidates that no later block can use either, with the reason.
    pub(super) unexecutable: Vec<(B256, String)>,
    /// What the block requests, once it is over.
    requests: Requests,
    /// What it read; None: nobody asks.
    pub(super) reads: Option<Reads>,
    /// What transactions say beside their receipts; None: nobody asks.
    pub(super) notes: Option<Vec<TxNote>>,
}

pub(super) enum Source {
    Build {
        attributes: Box<BlockAttributes>,
        candidates: Box<dyn Candidates + Send>,
        /// Candidates taken so far.
        tried: usize,
    },
    Validate {
        block: Arc<SealedBlock>,
    },
    /// Until it is begun.
    Single {
        tx: Option<Arc<RecoveredTx>>,
    },
    Simulate(Box<Calls>),
}

impl Source {
    fn take_withdrawals(&mut self) -> Vec<Withdrawal> {
        match self {
            Self::Build { attributes, .. } => std::mem::take(&mut attributes.withdrawals),
            Self::Simulate(calls) => std::mem::take(&mut calls.withdrawals),
            Self::Validate { .. } | Self::Single { .. } => Vec::new(),
        }
    }
}

/// What the transactions so far gave.
#[derive(Default)]
pub(super) struct Body {
    pub(super) txs: Vec<Arc<RecoveredTx>>,
    pub(super) receipts: Vec<Receipt>,
    pub(super) bloom: Bloom,
    pub(super) gas_used: u64,
    pub(super) blob_gas_used: u64,
    pub(super) txs_bytes: usize,
    pub(super) requests: Requests,
    pub(super) changes: Arc<ChangeSet>,
    pub(super) state_root: B256,
    pub(super) trie: Option<(Trie, TrieNodes)>,
    pub(super) transactions_root: B256,
}

pub(super) enum Phase {
    /// What the caller of a simulation pretends.
    Overrides(Overrides),
    Before(std::vec::IntoIter<TxEnv>),
    Txs(Option<Current>),
    /// The root of the state after the last transaction.
    PostState(TrieUpdate),
    After {
        calls: std::vec::IntoIter<(u8, TxEnv)>,
        current: Option<(u8, TxEnv)>,
    },
    Changes(Changes),
    Trie(TrieUpdate),
    TxRoot(OrderedRoot),
    ReceiptRoot(OrderedRoot),
    Over,
}

/// What a phase did with its fuel.
pub(super) enum Progress {
    Phase(Phase),
    Offload(Phase, HeavyCall),
    Done(BlockOutcome),
}

impl BlockRun {
    /// A block to be built; executes nothing yet.
    ///
    /// # Errors
    ///
    /// The attributes do not fit the chain.
    pub fn build(job: BuildJob) -> Result<Self, ExecError> {
        let BuildJob { tip, spec, attributes, limits, candidates } = job;
        let header = header::child(&spec, &tip, &attributes)?;
        let source = Source::Build { attributes: Box::new(attributes), candidates, tried: 0 };
        Ok(Self::new((tip, spec), source, header, &limits))
    }

    /// A block to be validated on its parent; executes nothing yet.
    ///
    /// # Errors
    ///
    /// The header or the body breaks a rule that needs no execution, or `tip` is not its parent.
    pub fn validate(
        tip: Tip,
        spec: Arc<ChainSpec>,
        block: Arc<SealedBlock>,
        limits: &Limits,
    ) -> Result<Self, ExecError> {
        if block.header.parent_hash != tip.hash {
            let (height, parent) = (block.height(), block.header.parent_hash);
            return Err(ExecError::UnknownParent { height, parent });
        }
        check_header(&spec, &tip.header, &block.header)?;
        block.check_size(spec.fork_of(&block.header))?;
        block.check_body()?;
        let header = block.header.clone();
        Ok(Self::new((tip, spec), Source::Validate { block }, header, limits))
    }

    /// One transaction in a block where nothing else happens; executes nothing yet. The header is
    /// not checked.
    #[must_use]
    pub fn single(job: SingleJob) -> Self {
        let SingleJob { tip, spec, header, tx, limits, block_hashes } = job;
        let mut run = Self::new((tip, spec), Source::Single { tx: Some(tx) }, header, &limits);
        run.phase = Phase::Txs(None);
        let pretended = BlockOverrides { block_hash: Some(block_hashes), ..Default::default() };
        run.evm().db_mut().override_block_hashes(Some(Arc::new(pretended)));
        run
    }

    pub(super) fn new(
        (tip, spec): (Tip, Arc<ChainSpec>),
        source: Source,
        header: Header,
        limits: &Limits,
    ) -> Self {
        let setup = env::setup(&spec, &header, limits);
        let mut run = Self::assemble((tip, spec), source, header, (setup, ()));
        run.has_tx_gas_cap = limits.tx_gas_cap;
        run
    }
}

impl<I: Observer> BlockRun<I>
where
    Machine<Overlay, I>: Frames<Overlay>,
{
    pub(super) fn assemble(
        (tip, spec): (Tip, Arc<ChainSpec>),
        source: Source,
        header: Header,
        (setup, observer): (Setup, I),
    ) -> Self {
        let phase = Phase::Before(system::before(&spec, &header).into_iter());
        let fork = spec.fork_of(&header);
        let mut overlay = Overlay::new(tip.view.clone());
        let has_roots = fork < Fork::Byzantium && !matches!(source, Source::Single { .. });
        let post_state = has_roots.then(|| PostState::new(&tip));
        if has_roots {
            overlay.record();
        }
        let evm = Suspended::new(setup, overlay, observer);
        Self {
            tip,
            spec,
            fork,
            has_tx_gas_cap: false,
            source,
            header,
            evm: Some(evm),
            post_state,
            phase,
            body: Body::default(),
            unexecutable: Vec::new(),
            requests: Requests::default(),
            reads: None,
            notes: None,
        }
    }

    /// Runs for about `fuel` gas.
    ///
    /// # Panics
    ///
    /// If it is called again after the end.
    pub fn step(&mut self, fuel: u64) -> BlockStep {
        let mut left = fuel;
        loop {
            // An error leaves `Over` behind.
            let phase = std::mem::replace(&mut self.phase, Phase::Over);
            match self.advance(phase, &mut left) {
                Ok(Progress::Phase(phase)) => self.phase = phase,
                Ok(Progress::Offload(phase, call)) => {
                    self.phase = phase;
                    return Step::Offload(call);
                }
                Ok(Progress::Done(outcome)) => return Step::Done(Ok(outcome)),
                Err(error) => return Step::Done(Err(error)),
            }
            if left == 0 {
                return Step::More { used: fuel };
            }
        }
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        self.evm().provide(result);
    }

    /// What the block is executed on.
    #[must_use]
    pub const fn parent(&self) -> &Tip {
        &self.tip
    }

    /// Candidates met so far that no later block can use either, with the reason.
    pub fn take_unexecutable(&mut self) -> Vec<(B256, String)> {
        std::mem::take(&mut self.unexecutable)
    }

    /// What the block requests (EIP-7685), once it is over.
    pub fn take_requests(&mut self) -> Requests {
        std::mem::take(&mut self.requests)
    }

    pub(super) fn evm(&mut self) -> &mut Suspended<Overlay, I> {
        self.evm.as_mut().expect("the EVM stays until the last system call")
    }

    fn advance(&mut self, phase: Phase, left: &mut u64) -> Result<Progress, ExecError> {
        match phase {
            Phase::Overrides(overrides) => self.pretend(overrides, left),
            Phase::Before(calls) => self.before(calls, left),
            Phase::Txs(current) => self.txs(current, left),
            Phase::PostState(update) => self.step_post_state(update, left),
            Phase::After { calls, current } => self.after(calls, current, left),
            Phase::Changes(mut changes) => {
                *left = left.saturating_sub(ITEM_FUEL);
                let Some(changes) = changes.step(self.reads.as_mut()) else {
                    return Ok(Progress::Phase(Phase::Changes(changes)));
                };
                self.body.changes = Arc::new(changes);
                Ok(Progress::Phase(Phase::Trie(self.tip.trie.update(&self.body.changes))))
            }
            Phase::Trie(update) => self.trie(update, left),
            Phase::TxRoot(mut root) => {
                *left = left.saturating_sub(ITEM_FUEL);
                let txs = &self.body.txs;
                let step = root.step(|index, buffer| txs[index].encode_into(buffer));
                let Some(done) = step else { return Ok(Progress::Phase(Phase::TxRoot(root))) };
                self.body.transactions_root = done;
                let root = OrderedRoot::new(self.body.receipts.len());
                Ok(Progress::Phase(Phase::ReceiptRoot(root)))
            }
            Phase::ReceiptRoot(mut root) => {
                *left = left.saturating_sub(ITEM_FUEL);
                let receipts = &self.body.receipts;
                let step = root.step(|index, buffer| receipts[index].encode_2718(buffer));
                match step {
                    Some(root) => self.seal(root).map(Progress::Done),
                    None => Ok(Progress::Phase(Phase::ReceiptRoot(root))),
                }
            }
            Phase::Over => panic!("a block was stepped after its end"),
        }
    }

    fn before(
        &mut self,
        mut calls: std::vec::IntoIter<TxEnv>,
        left: &mut u64,
    ) -> Result<Progress, ExecError> {
        if !self.evm().is_running() {
            let Some(call) = calls.next() else {
                let height = Height::new(self.header.number);
                let spec = Arc::clone(&self.spec);
                let drained = system::drain_dao(&spec, height, self.evm().db_mut());
                drained.map_err(|error| ExecError::State(error.0))?;
                return Ok(Progress::Phase(Phase::Txs(None)));
            };
            self.evm().begin_system(call).map_err(fatal)?;
        }
        match self.evm().resume(left).map_err(fatal)? {
            Slice::More => Ok(Progress::Phase(Phase::Before(calls))),
            Slice::Offload(call) => Ok(Progress::Offload(Phase::Before(calls), call)),
            // EIP-4788, EIP-2935: a failure of the call is no failure of the block.
            Slice::Done(_) => {
                self.commit()?;
                Ok(Progress::Phase(Phase::Before(calls)))
            }
        }
    }

    /// After the last transaction: rewards, deposits, withdrawals.
    pub(super) fn finish_txs(&mut self) -> Result<Progress, ExecError> {
        if let Source::Single { .. } = &self.source {
            return Ok(self.finish_calls());
        }
        if let Source::Build { attributes, .. } = &self.source
            && attributes.must_have_txs
            && self.body.txs.is_empty()
        {
            return Ok(Progress::Done(BlockOutcome::Empty));
        }
        if self.fork >= Fork::Prague {
            let deposits = system::deposits(&self.spec, &self.body.receipts)?;
            self.request(system::DEPOSIT_REQUEST, &deposits);
        }
        let ommers = match &self.source {
            Source::Validate { block } => &block.ommers[..],
            Source::Build { .. } | Source::Single { .. } | Source::Simulate(_) => &[],
        };
        let mut credits = system::rewards(self.fork, &self.header, ommers);
        let withdrawals = match &self.source {
            Source::Validate { block } => block.withdrawals.as_deref().unwrap_or_default(),
            Source::Build { attributes, .. } => &attributes.withdrawals,
            Source::Simulate(calls) => &calls.withdrawals,
            Source::Single { .. } => &[],
        };
        if self.fork >= Fork::Shanghai {
            let gwei = U256::from(GWEI);
            credits
                .extend(withdrawals.iter().map(|one| (one.address, U256::from(one.amount) * gwei)));
        }
        let overlay = self.evm().db_mut();
        for (address, wei) in credits {
            overlay.credit(address, wei).map_err(|error| ExecError::State(error.0))?;
        }
        let calls = system::after(self.fork).into_iter();
        Ok(Progress::Phase(Phase::After { calls, current: None }))
    }

    pub(super) fn finish_calls(&mut self) -> Progress {
        let evm = self.evm.take().expect("the EVM stays until the last system call");
        let (overlay, _) = evm.into_parts();
        Progress::Phase(Phase::Changes(Changes::new(overlay, &self.tip.diffs)))
    }

    fn trie(&mut self, mut update: TrieUpdate, left: &mut u64) -> Result<Progress, ExecError> {
        match update.step(trie_nodes(left))? {
            TrieStep::More => Ok(Progress::Phase(Phase::Trie(update))),
            TrieStep::Done { root, trie, nodes } => {
                self.body.state_root = root;
                self.body.trie = Some((trie, nodes));
                Ok(Progress::Phase(Phase::TxRoot(OrderedRoot::new(self.body.txs.len()))))
            }
        }
    }

    fn seal(&mut self, receipts_root: B256) -> Result<BlockOutcome, ExecError> {
        let body = std::mem::take(&mut self.body);
        let executed = Executed {
            state_root: body.state_root,
            transactions_root: body.transactions_root,
            receipts_root,
            logs_bloom: body.bloom,
            gas_used: body.gas_used,
            blob_gas_used: body.blob_gas_used,
            requests: body.requests,
        };
        let block = match &mut self.source {
            Source::Validate { block } => {
                header::compare(&block.header, self.fork, &executed)?;
                Arc::clone(block)
            }
            Source::Single { .. } => {
                let mut header = self.header.clone();
                header::complete(&mut header, self.fork, &executed);
                Arc::new(SealedBlock::seal(header, body.txs, Vec::new(), None))
            }
            Source::Build { .. } | Source::Simulate(_) => {
                let withdrawals = self.source.take_withdrawals();
                let mut header = self.header.clone();
                header::complete(&mut header, self.fork, &executed);
                let withdrawals = (self.fork >= Fork::Shanghai).then_some(withdrawals);
                Arc::new(SealedBlock::seal(header, body.txs, Vec::new(), withdrawals))
            }
        };
        self.requests = executed.requests;
        let (trie, nodes) = body.trie.expect("the root of the state was computed");
        Ok(BlockOutcome::Executed(Arc::new(ExecutedBlock {
            block,
            receipts: Arc::new(body.receipts),
            changes: body.changes,
            trie,
            nodes,
        })))
    }

    pub(super) fn commit(&mut self) -> Result<(), ExecError> {
        let evm = self.evm();
        let state = evm.finalize();
        evm.db_mut().commit(state).map_err(|error| ExecError::State(error.0))
    }
}

/// Trie nodes that a slice with `left` fuel works on; charged.
pub(super) fn trie_nodes(left: &mut u64) -> usize {
    let nodes = usize::try_from(*left / TRIE_FUEL_PER_NODE).unwrap_or(usize::MAX);
    let nodes = nodes.clamp(1, TRIE_NODES_PER_SLICE);
    *left = left.saturating_sub(nodes as u64 * TRIE_FUEL_PER_NODE);
    nodes
}

pub(super) fn fatal(error: EVMError<ReadError>) -> ExecError {
    match error {
        EVMError::Database(ReadError(error)) => ExecError::State(error),
        error => ExecError::Internal(error.to_string()),
    }
}
