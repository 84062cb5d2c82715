//! What a block is built from, and what it comes to. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use alloy_primitives::{Address, B256};
use evenkeel_chain::{BlockAttributes, ChainSpec, Header, RecoveredTx};
use evenkeel_state::{ExecutedBlock, Tip};

use super::ExecError;
use crate::{limits::Limits, step::Step};

/// Transactions in the order the builder should try them.
pub trait Candidates {
    /// The next one; None: there are no more.
    fn next(&mut self) -> Option<Arc<RecoveredTx>>;
    /// The last one could not be used: skip its sender.
    fn skip_sender(&mut self);
    /// Whether one that cannot be used is a fault of the whole block.
    fn is_binding(&self) -> bool {
        false
    }
}

/// Where candidates come from.
pub trait CandidateSource: Send {
    /// The candidates as they are now.
    fn open(&mut self) -> Box<dyn Candidates + Send>;
}

/// Candidates in the order of a list. O(list) for each sender that is skipped.
pub struct ListedTxs {
    txs: VecDeque<Arc<RecoveredTx>>,
    last: Option<Address>,
    is_binding: bool,
}

impl ListedTxs {
    /// Those of `txs`; `is_binding` if all of them have to be usable.
    pub fn new(txs: impl IntoIterator<Item = Arc<RecoveredTx>>, is_binding: bool) -> Self {
        Self { txs: txs.into_iter().collect(), last: None, is_binding }
    }
}

impl Candidates for ListedTxs {
    fn next(&mut self) -> Option<Arc<RecoveredTx>> {
        let tx = self.txs.pop_front()?;
        self.last = Some(tx.sender());
        Some(tx)
    }

    fn skip_sender(&mut self) {
        let last = self.last;
        self.txs.retain(|tx| Some(tx.sender()) != last);
    }

    fn is_binding(&self) -> bool {
        self.is_binding
    }
}

/// Everything that building a block needs.
pub struct BuildJob {
    /// The parent.
    pub tip: Tip,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// What the block is to be like.
    pub attributes: BlockAttributes,
    /// What its transactions may use.
    pub limits: Limits,
    /// What may be in it.
    pub candidates: Box<dyn Candidates + Send>,
}

/// One transaction in a block that is given by its header, in which nothing else happens: no system
/// calls, rewards or withdrawals. What state tests are made of.
pub struct SingleJob {
    /// What it is executed on.
    pub tip: Tip,
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// The block around it; what execution says is filled in at the end.
    pub header: Header,
    /// The transaction.
    pub tx: Arc<RecoveredTx>,
    /// What it may use.
    pub limits: Limits,
    /// What `BLOCKHASH` says at these heights.
    pub block_hashes: BTreeMap<u64, B256>,
}

/// What a block came to.
pub enum BlockOutcome {
    /// It is executed.
    Executed(Arc<ExecutedBlock>),
    /// There was nothing to put in it, and it had to have something.
    Empty,
}

/// How far a block came.
pub type BlockStep = Step<Result<BlockOutcome, ExecError>>;
