//! What travels to and from the pool's actors.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use evenkeel_chain::{BlobSidecar, RecoveredTx};
use evenkeel_runtime::{Message, Reply};
use evenkeel_state::Committed;

use crate::{best::PoolContent, error::PoolError};

/// Told whether a transaction is in the pool; its hash if so.
pub type AdmitReply = Reply<Result<B256, PoolError>>;

/// What an [`Admission`](crate::Admission) does.
pub enum AdmissionMessage {
    /// Decode, recover, check, and offer to the pool.
    Raw {
        /// EIP-2718 bytes.
        raw: Bytes,
        /// Told what came of it.
        reply: AdmitReply,
    },
    /// Check and offer what was signed here, or is impersonated.
    Known {
        /// The transaction.
        tx: Arc<RecoveredTx>,
        /// Told what came of it.
        reply: AdmitReply,
    },
    /// The blobs of one have been looked at. Sent by the actor to itself.
    Proven {
        /// The transaction with its blobs in the form of the fork, or what is wrong with them.
        proven: Result<Arc<RecoveredTx>, PoolError>,
        /// Told what came of it.
        reply: Option<AdmitReply>,
    },
    /// As `Raw` for each; nobody waits for an answer.
    Gossip {
        /// EIP-2718 bytes of each.
        raws: Vec<Bytes>,
    },
}

impl Message for AdmissionMessage {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Raw { raw, .. } => 128 + raw.len(),
            Self::Known { tx, .. } | Self::Proven { proven: Ok(tx), .. } => tx_bytes(tx),
            Self::Proven { proven: Err(_), .. } => 256,
            Self::Gossip { raws } => raws.iter().map(|raw| 32 + raw.len()).sum(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Raw { .. } => "Raw",
            Self::Known { .. } => "Known",
            Self::Proven { .. } => "Proven",
            Self::Gossip { .. } => "Gossip",
        }
    }
}

/// What the [`PoolActor`](crate::PoolActor) does.
pub enum PoolMessage {
    /// Take a transaction in.
    Admit {
        /// It passed the stateless checks.
        tx: Arc<RecoveredTx>,
        /// Told what came of it.
        reply: Option<AdmitReply>,
    },
    /// Blocks, cheats or a revert have become durable.
    Committed(Arc<Committed>),
    /// The builder could not run these, for these reasons.
    Unexecutable(Vec<(B256, String)>),
    /// The operator wants some gone.
    Remove {
        /// Which.
        which: Remove,
        /// Told how many there were.
        reply: Option<Reply<usize>>,
    },
    /// A question.
    Query(Query),
    /// The lowest tip cap from now on, in wei per gas.
    SetMinGasPrice(u128),
    /// The operator has ordered the base fee of the next block, in wei per gas.
    SetNextBaseFee(u64),
    /// Publish what has changed. Sent by the pool to itself, so that a burst is published once.
    Flush,
}

/// Which transactions are to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remove {
    /// One.
    Hash(B256),
    /// All of one sender.
    Sender(Address),
    /// All.
    All,
}

/// A question to the pool.
pub enum Query {
    /// The transaction with this hash.
    Get {
        /// Its hash.
        hash: B256,
        /// Gets it.
        reply: Reply<Option<Arc<RecoveredTx>>>,
    },
    /// The nonce after a sender's ready transactions.
    PendingNonce {
        /// The sender.
        sender: Address,
        /// Gets it; None if the sender has nothing here.
        reply: Reply<Option<u64>>,
    },
    /// How many are pending, how many queued.
    Status {
        /// Gets both.
        reply: Reply<(usize, usize)>,
    },
    /// Everything, or all of one sender.
    Content {
        /// Of whom.
        sender: Option<Address>,
        /// Gets a snapshot.
        reply: Reply<PoolContent>,
    },
    /// A blob that the pool has seen lately.
    Blob {
        /// Its versioned hash.
        hash: B256,
        /// Gets the blobs it came with, and its place among them.
        reply: Reply<Option<(Arc<BlobSidecar>, usize)>>,
    },
    /// All blobs of a transaction that the pool has seen lately.
    Blobs {
        /// Hash of the transaction.
        tx: B256,
        /// Gets them.
        reply: Reply<Option<Arc<BlobSidecar>>>,
    },
    /// Why the builder could not run a transaction.
    Dropped {
        /// Its hash.
        hash: B256,
        /// Gets the reason, if it was one of the last.
        reply: Reply<Option<String>>,
    },
}

impl Message for PoolMessage {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Admit { tx, .. } => tx_bytes(tx),
            Self::Unexecutable(dropped) => {
                dropped.iter().map(|(_, reason)| 64 + reason.len()).sum()
            }
            Self::Committed(_)
            | Self::Remove { .. }
            | Self::Query(_)
            | Self::SetMinGasPrice(_)
            | Self::SetNextBaseFee(_)
            | Self::Flush => 128,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Admit { .. } => "Admit",
            Self::Committed(_) => "Committed",
            Self::Unexecutable(_) => "Unexecutable",
            Self::Remove { .. } => "Remove",
            Self::Query(_) => "Query",
            Self::SetMinGasPrice(_) => "SetMinGasPrice",
            Self::SetNextBaseFee(_) => "SetNextBaseFee",
            Self::Flush => "Flush",
        }
    }
}

/// There is something to build from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolReady {
    /// Ready transactions.
    pub pending: usize,
    /// How many of them are new since the last signal.
    pub arrived: usize,
}

fn tx_bytes(tx: &RecoveredTx) -> usize {
    256 + tx.waiting_bytes()
}
