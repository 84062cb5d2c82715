//! What whoever has no state needs to execute a block: the block is executed again on its parent,
//! and what it read is looked up in the parent's trie.
//!
//! Pure. Source: the witness of execution-specs' `projects/zkevm`, geth `core/stateless`, reth's
//! `debug_executionWitness`, whose two modes differ in how many siblings of removed nodes there
//! are.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use alloy_primitives::{Address, B256, Bytes, U256};
use evenkeel_chain::{ChainSpec, SealedBlock};
use evenkeel_state::{ChangeSet, StorageChange, TrieWitness};

use crate::{
    block::{BlockRun, ExecError},
    error::{CallError, InvalidCall, Unsupported},
    grounded::{Ground, Grounded},
    heavy::HeavyResult,
    limits::{Limits, TRIE_FUEL_PER_NODE, TRIE_NODES_PER_SLICE, WITNESS_BYTES_MAX},
    overlay::{Reads, Slots},
    step::Step,
};

/// Everything that a witness needs.
pub struct WitnessJob {
    /// The parent, without cheats on top of it.
    pub ground: Ground,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// The block.
    pub block: Arc<SealedBlock>,
    /// Whether nodes are left out that only matter to who removes keys before others are set.
    pub is_minimal: bool,
    /// What it may use.
    pub limits: Limits,
}

/// What a block read of the state before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// The nodes of the tries, RLP, by hash.
    pub nodes: BTreeMap<B256, Bytes>,
    /// Code, by hash.
    pub codes: BTreeMap<B256, Bytes>,
    /// The accounts, with their slots.
    pub keys: BTreeMap<Address, BTreeSet<U256>>,
    /// The lowest height whose block hash was asked for.
    pub oldest_hash: Option<u64>,
}

/// How far a witness came.
pub type WitnessStep = Step<Result<Witness, CallError>>;

/// A witness that is being made.
pub struct WitnessRun {
    phase: Phase,
    spec: Arc<ChainSpec>,
    block: Arc<SealedBlock>,
    is_minimal: bool,
    limits: Limits,
}

enum Phase {
    Block(Box<Grounded>),
    Nodes(Box<Gathering>),
    Over,
}

impl WitnessRun {
    /// Executes nothing yet.
    #[must_use]
    pub fn new(job: WitnessJob) -> Self {
        let WitnessJob { ground, spec, block, is_minimal, limits } = job;
        let phase = Phase::Block(Box::new(Grounded::Ground(ground)));
        Self { phase, spec, block, is_minimal, limits }
    }

    /// Runs for about `fuel` gas.
    ///
    /// # Panics
    ///
    /// If it is called again after the end, or what it stands on is not the block's parent.
    pub fn step(&mut self, fuel: u64) -> WitnessStep {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Block(mut grounded) => {
                let again = |tip| {
                    let (spec, block) = (Arc::clone(&self.spec), Arc::clone(&self.block));
                    Ok(BlockRun::again(tip, spec, block, &self.limits))
                };
                match grounded.step(fuel, again, failed) {
                    Step::More { used } => {
                        self.phase = Phase::Block(grounded);
                        Step::More { used }
                    }
                    Step::Offload(call) => {
                        self.phase = Phase::Block(grounded);
                        Step::Offload(call)
                    }
                    Step::Done(Ok((mut run, executed))) => {
                        let changes = Arc::clone(&executed.changes);
                        let gathering = Gathering::new(&mut run, changes, self.is_minimal);
                        self.phase = Phase::Nodes(Box::new(gathering));
                        Step::More { used: fuel }
                    }
                    Step::Done(Err(error)) => Step::Done(Err(error)),
                }
            }
            Phase::Nodes(mut gathering) => match gathering.step(fuel) {
                Ok(true) => {
                    self.phase = Phase::Nodes(gathering);
                    Step::More { used: fuel }
                }
                Ok(false) => Step::Done(Ok(gathering.finish())),
                Err(error) => Step::Done(Err(error)),
            },
            Phase::Over => panic!("a witness was stepped after its end"),
        }
    }

    /// Hands in the result of the offloaded call.
    ///
    /// # Panics
    ///
    /// If nothing is offloaded, or the call was stopped.
    pub fn provide(&mut self, result: HeavyResult) {
        match &mut self.phase {
            Phase::Block(grounded) => grounded.provide(result),
            Phase::Nodes(_) | Phase::Over => panic!("only a block offloads calls"),
        }
    }
}

/// A block of the chain fails only where the limits of calls are narrower than those of blocks.
fn failed(error: ExecError) -> CallError {
    match error {
        error @ (ExecError::State(_) | ExecError::Internal(_)) => error.into(),
        error => CallError::Invalid(InvalidCall::NotAgain(Box::new(error))),
    }
}

/// Looks up in the parent's trie what the block read and changed.
struct Gathering {
    trie: TrieWitness,
    accounts: std::vec::IntoIter<(Address, Slots)>,
    changes: Arc<ChangeSet>,
    is_minimal: bool,
    witness: Witness,
    stage: Stage,
}

enum Stage {
    /// Between two accounts.
    Next,
    /// The slots that were read.
    Read(Address, Slots),
    /// The slots that were set, up to and with this one. Only where these come before what is
    /// removed are they of any interest.
    Set(Address, Option<U256>),
    /// The slots that were cleared, up to and with this one.
    Cleared(Address, Option<U256>),
    /// The accounts that are gone, up to and with this one.
    Gone(Option<Address>),
}

impl Gathering {
    fn new(run: &mut BlockRun, changes: Arc<ChangeSet>, is_minimal: bool) -> Self {
        let trie = run.parent().trie.witness();
        let Reads { accounts, codes, oldest_hash } = run.take_reads().unwrap_or_default();
        let witness = Witness { codes, oldest_hash, ..Witness::default() };
        let accounts = accounts.into_iter();
        Self { trie, accounts, changes, is_minimal, witness, stage: Stage::Next }
    }

    fn finish(self) -> Witness {
        Witness { nodes: self.trie.into_nodes(), ..self.witness }
    }

    /// Works for about `fuel`; false: all is there.
    fn step(&mut self, fuel: u64) -> Result<bool, CallError> {
        let nodes = usize::try_from(fuel / TRIE_FUEL_PER_NODE).unwrap_or(usize::MAX);
        let mut left = nodes.clamp(1, TRIE_NODES_PER_SLICE);
        while left > 0 {
            let stage = std::mem::replace(&mut self.stage, Stage::Next);
            let Some(stage) = self.advance(stage)? else { return Ok(false) };
            self.stage = stage;
            left = left.saturating_sub(self.trie.take_work().max(1));
        }
        if self.trie.size_bytes() > WITNESS_BYTES_MAX {
            return Err(CallError::Unsupported(Unsupported::Witness(WITNESS_BYTES_MAX)));
        }
        Ok(true)
    }

    fn advance(&mut self, stage: Stage) -> Result<Option<Stage>, CallError> {
        Ok(Some(match stage {
            Stage::Next => {
                let Some((address, slots)) = self.accounts.next() else {
                    return Ok(Some(Stage::Gone(None)));
                };
                self.trie.account(address)?;
                self.witness.keys.entry(address).or_default();
                Stage::Read(address, slots)
            }
            Stage::Read(address, mut slots) => match slots.next() {
                Some(slot) => {
                    self.trie.slot(slot)?;
                    self.witness.keys.entry(address).or_default().insert(slot);
                    Stage::Read(address, slots)
                }
                None if self.is_minimal => Stage::Set(address, None),
                None => Stage::Cleared(address, None),
            },
            Stage::Set(address, after) => {
                if let Some((slot, value)) = self.next_slot(address, after) {
                    if !value.is_zero() {
                        self.trie.change_slot(slot, true)?;
                    }
                    Stage::Set(address, Some(slot))
                } else {
                    if let Some(Some(_)) = self.changes.accounts.get(&address) {
                        self.trie.change_account(address, true)?;
                    }
                    Stage::Cleared(address, None)
                }
            }
            Stage::Cleared(address, after) => match self.next_slot(address, after) {
                Some((slot, value)) => {
                    if value.is_zero() {
                        self.trie.change_slot(slot, false)?;
                    }
                    Stage::Cleared(address, Some(slot))
                }
                None => Stage::Next,
            },
            Stage::Gone(after) => {
                let after = after.map_or(Bound::Unbounded, Bound::Excluded);
                let next = self.changes.accounts.range((after, Bound::Unbounded)).next();
                let Some((&address, account)) = next else { return Ok(None) };
                if account.is_none() {
                    self.trie.change_account(address, false)?;
                }
                Stage::Gone(Some(address))
            }
        }))
    }

    /// The next changed slot of what is left of the storage before the block: an account that is
    /// gone, or had to begin anew, left nothing.
    fn next_slot(&self, address: Address, after: Option<U256>) -> Option<(U256, U256)> {
        if let Some(None) = self.changes.accounts.get(&address) {
            return None;
        }
        let StorageChange { is_wiped, slots } = self.changes.storage.get(&address)?;
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut slots = slots.range((after, Bound::Unbounded));
        slots.next().filter(|_| !is_wiped).map(|(&slot, &value)| (slot, value))
    }
}
