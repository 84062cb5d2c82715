//! Shadow activation: what a block would have been under other rules. Pure.
//!
//! A block that is final is built once more, from its own parent and transactions, as if another
//! fork had been active. What came out differently, transaction by transaction, is what that fork
//! would change for the users of this chain.

use std::{collections::VecDeque, fmt, str::FromStr, sync::Arc, vec};

use alloy_consensus::TxReceipt as _;
use alloy_primitives::B256;
use evenkeel_chain::{BlockAttributes, ChainSpec, Fork, Receipt, RecoveredTx};
use evenkeel_state::{ExecutedBlock, Tip};

use crate::{
    block::{BlockRun, BuildJob, Candidates, ExecError},
    limits::{DIVERGENCES_KEPT, Limits, SHADOW_REPORTS_KEPT},
};

/// A final block and what it was executed on.
#[derive(Clone)]
pub struct LiveBlock {
    /// Its parent.
    pub parent: Tip,
    /// The block, as the chain has it.
    pub executed: Arc<ExecutedBlock>,
}

/// Which rules a canary runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowAim {
    /// Those of this fork, whatever the chain has.
    Fork(Fork),
    /// At each block those that come after the chain's own
    /// ([`fork_after`](ChainSpec::fork_after)).
    Next,
}

impl fmt::Display for ShadowAim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fork(fork) => fork.fmt(f),
            Self::Next => f.pad("next"),
        }
    }
}

/// It names no rules that a canary could run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected next or a hardfork (frontier .. prague, osaka, bpo1, bpo2, latest), found '{0}'")]
pub struct BadAim(pub String);

impl FromStr for ShadowAim {
    type Err = BadAim;

    /// `next`, or a fork as [`Fork`] reads it.
    fn from_str(text: &str) -> Result<Self, BadAim> {
        if text.eq_ignore_ascii_case("next") {
            return Ok(Self::Next);
        }
        text.parse().map(Self::Fork).map_err(|_unknown| BadAim(text.to_owned()))
    }
}

/// What the other rules do to one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// No block could have it; why, if the rules say so.
    NotIncluded(Option<String>),
    /// It succeeds where it failed, or the other way round.
    Status {
        /// It succeeded on the chain.
        live: bool,
    },
    /// It uses another amount of gas.
    GasUsed {
        /// On the chain.
        live: u64,
        /// Under the other rules.
        shadow: u64,
    },
    /// It emits other logs.
    Logs,
}

/// One transaction that comes out differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Height of its block.
    pub height: u64,
    /// Place in the block.
    pub index: usize,
    /// Hash of the transaction.
    pub hash: B256,
    /// What differs; the first of: inclusion, status, gas, logs.
    pub difference: Difference,
}

/// What a canary has seen since it began with its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowReport {
    /// Which rules it is to run.
    pub aim: ShadowAim,
    /// The rules it runs, at blocks that have others. None: it follows the chain, and no block has
    /// come yet (`active` is none then) or the chain is at the last fork.
    pub fork: Option<Fork>,
    /// What the chain itself had active at the last block looked at; none if the canary has begun
    /// to follow it since.
    pub active: Option<Fork>,
    /// Blocks that were executed under its rules.
    pub blocks: u64,
    /// Transactions in those.
    pub txs: u64,
    /// Transactions that came out differently.
    pub diverged: u64,
    /// Blocks that the canary left out because it was behind.
    pub skipped: u64,
    /// Blocks that could not be executed at all, with the last reason.
    pub failed: u64,
    /// The last of those reasons.
    pub failure: Option<String>,
    /// Height of the last block looked at, also if that was under the rules before.
    pub height: Option<u64>,
    /// The newest divergences, oldest first; at most [`DIVERGENCES_KEPT`].
    pub newest: VecDeque<Divergence>,
    /// The reports on the rules that it ran before, as far as it has seen anything under them, the
    /// newest first; at most [`SHADOW_REPORTS_KEPT`], themselves without such.
    pub before: VecDeque<Arc<Self>>,
}

impl ShadowReport {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new(aim: ShadowAim, fork: Option<Fork>) -> Self {
        Self {
            aim,
            fork,
            active: None,
            blocks: 0,
            txs: 0,
            diverged: 0,
            skipped: 0,
            failed: 0,
            failure: None,
            height: None,
            newest: VecDeque::new(),
            before: VecDeque::new(),
        }
    }

    /// Nothing seen yet under the rules that the canary has moved to; all that was seen if it runs
    /// them already.
    pub(crate) fn moved(&self, aim: ShadowAim, fork: Option<Fork>) -> Self {
        if (aim, fork) == (self.aim, self.fork) {
            return self.clone();
        }
        let mut before = self.before.clone();
        if self.blocks + self.failed > 0 {
            before.push_front(Arc::new(Self { before: VecDeque::new(), ..self.clone() }));
            before.truncate(SHADOW_REPORTS_KEPT);
        }
        let active = self.active.filter(|_| fork.is_some());
        Self { height: self.height, active, before, ..Self::new(aim, fork) }
    }

    /// A block comes at which the chain has `active`; those between the last one and it were left
    /// out.
    pub(crate) fn comes(&mut self, height: u64, active: Fork) {
        if let Some(last) = self.height {
            // A chain that was reverted comes by old heights again.
            self.skipped += height.saturating_sub(last + 1);
        }
        self.height = Some(height);
        self.active = Some(active);
    }

    /// Adds what became of a block.
    pub(crate) fn add(&mut self, txs: usize, divergences: Vec<Divergence>) {
        self.blocks += 1;
        self.txs += txs as u64;
        self.diverged += divergences.len() as u64;
        self.newest.extend(divergences);
        let excess = self.newest.len().saturating_sub(DIVERGENCES_KEPT);
        self.newest.drain(..excess);
    }

    /// Takes note of a block that could not be executed.
    pub(crate) fn fail(&mut self, reason: String) {
        self.failed += 1;
        self.failure = Some(reason);
    }
}

/// The block's own transactions, each offered once.
struct Same(vec::IntoIter<Arc<RecoveredTx>>);

impl Candidates for Same {
    fn next(&mut self) -> Option<Arc<RecoveredTx>> {
        self.0.next()
    }

    fn skip_sender(&mut self) {}
}

/// Begins to build `live` once more, by the rules of `spec`.
///
/// # Errors
///
/// The header does not fit the rules.
pub(crate) fn begin(
    live: &LiveBlock,
    spec: Arc<ChainSpec>,
    limits: Limits,
) -> Result<BlockRun, ExecError> {
    let block = &live.executed.block;
    let header = &block.header;
    let attributes = BlockAttributes {
        timestamp: header.timestamp,
        prev_randao: header.mix_hash,
        fee_recipient: header.beneficiary,
        gas_limit: header.gas_limit,
        base_fee: header.base_fee_per_gas,
        extra_data: header.extra_data.clone(),
        parent_beacon_root: header.parent_beacon_block_root.unwrap_or_default(),
        withdrawals: block.withdrawals.clone().unwrap_or_default(),
        txs_max: None,
        must_have_txs: false,
    };
    let candidates = Box::new(Same(block.txs.clone().into_iter()));
    BlockRun::build(BuildJob { tip: live.parent.clone(), spec, attributes, limits, candidates })
}

/// What came out differently. `refused` says why transactions can be in no block.
pub(crate) fn compare(
    live: &ExecutedBlock,
    shadow: &ExecutedBlock,
    refused: &[(B256, String)],
) -> Vec<Divergence> {
    let mut theirs = results(shadow).peekable();
    let mut divergences = Vec::new();
    for (index, (hash, receipt, gas)) in results(live).enumerate() {
        // Both have one order: what is not next was left out.
        let same = theirs.next_if(|(other, ..)| *other == hash);
        let difference = match same {
            None => {
                let reason = refused.iter().find(|(refused, _)| *refused == hash);
                Some(Difference::NotIncluded(reason.map(|(_, reason)| reason.clone())))
            }
            Some((_, other, shadow)) => difference((receipt, gas), (other, shadow)),
        };
        let height = live.block.header.number;
        divergences.extend(difference.map(|difference| Divergence {
            height,
            index,
            hash,
            difference,
        }));
    }
    divergences
}

fn difference(live: (&Receipt, u64), shadow: (&Receipt, u64)) -> Option<Difference> {
    let ((ours, live_gas), (theirs, shadow_gas)) = (live, shadow);
    if ours.status() != theirs.status() {
        return Some(Difference::Status { live: ours.status() });
    }
    if live_gas != shadow_gas {
        return Some(Difference::GasUsed { live: live_gas, shadow: shadow_gas });
    }
    (ours.logs() != theirs.logs()).then_some(Difference::Logs)
}

/// Hash, receipt and own gas of each transaction.
fn results(block: &ExecutedBlock) -> impl Iterator<Item = (B256, &Receipt, u64)> {
    let mut before = 0;
    block.block.txs.iter().zip(block.receipts.iter()).map(move |(tx, receipt)| {
        let used = receipt.cumulative_gas_used();
        let own = used - before;
        before = used;
        (*tx.hash(), receipt, own)
    })
}
