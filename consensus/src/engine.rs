//! What a consensus engine is: a pure machine between the executor, the pool and the operator.

use std::{sync::Arc, time::Duration};

use alloy_primitives::B256;
use evenkeel_chain::{
    BlockAttributes, BlockPlan, Cheat, Command, CommandError, Header, Height, Outcome, RevertTo,
    SealedBlock,
};
use evenkeel_runtime::Time;

/// Both clocks, read once per turn through the door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Time of the system; deadlines are in it.
    pub at: Time,
    /// Time since the Unix epoch; timestamps come from it. May jump either way.
    pub wall: Duration,
}

/// A block at the end of the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its header.
    pub header: Arc<Header>,
    /// Its hash.
    pub hash: B256,
}

/// What an engine is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// The pool has so many executable transactions; told when it grows, and after a commit while
    /// some are left.
    PoolReady {
        /// How many.
        pending: usize,
    },
    /// The build is done; its block waits for `Finalize` or `Discard`.
    Built {
        /// Of [`Effect::Build`].
        id: u64,
        /// Its parent is the newest finalized block.
        block: Arc<SealedBlock>,
    },
    /// The build was to have transactions, and there were none.
    Empty {
        /// Of [`Effect::Build`].
        id: u64,
    },
    /// There is no block, for a reason outside of the protocol.
    BuildFailed {
        /// Of [`Effect::Build`].
        id: u64,
        /// For the log.
        reason: String,
    },
    /// A block of another node was executed.
    Verdict {
        /// Of the block.
        hash: B256,
        /// Whether its header agrees with its execution.
        is_valid: bool,
    },
    /// A finalized block is durable, and with it every one before it.
    Applied {
        /// Its header.
        header: Arc<Header>,
        /// Its hash.
        hash: B256,
    },
    /// What came of [`Effect::Cheat`]; an error has its reason for the log.
    CheatDone {
        /// Of the effect.
        ticket: u64,
        /// Durable, or why not.
        result: Result<(), String>,
    },
    /// What came of [`Effect::Mark`].
    Marked {
        /// Of the effect.
        ticket: u64,
        /// Number of the mark, durable.
        result: Result<u64, String>,
    },
    /// What came of [`Effect::Revert`].
    Reverted {
        /// Of the effect.
        ticket: u64,
        /// The head now, durable; None: there is no such mark or block, and nothing has changed.
        result: Result<Option<Head>, String>,
    },
    /// What came of [`Effect::Branch`].
    Branched {
        /// Of the effect.
        ticket: u64,
        /// The block that the branch begins on; None: there is none at this height.
        result: Result<Option<Head>, String>,
    },
    /// What came of [`Effect::Reorg`].
    Reorged {
        /// Of the effect.
        ticket: u64,
        /// The head now, durable; an error: nothing has changed.
        result: Result<Head, String>,
    },
    /// [`Engine::next_deadline`] has come. May be told too often, never too early.
    Deadline,
    /// An order of the operator.
    Command {
        /// The order.
        command: Command,
        /// Returned in the one [`Effect::Answer`].
        ticket: u64,
    },
}

/// What an engine orders, carried out in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Build a block on the newest finalized one.
    Build {
        /// Returned in the event that ends the build. Grows.
        id: u64,
        /// What it shall be like.
        attributes: BlockAttributes,
    },
    /// The built block is the next of the chain: commit it.
    Finalize {
        /// Of the block.
        hash: B256,
    },
    /// The built block is not wanted.
    Discard {
        /// Of the block.
        hash: B256,
    },
    /// Change the state on top of the newest finalized block.
    Cheat {
        /// The change.
        cheat: Cheat,
        /// Returned in [`Event::CheatDone`].
        ticket: u64,
    },
    /// Mark the present.
    Mark {
        /// Returned in [`Event::Marked`].
        ticket: u64,
    },
    /// Return to a mark or a block.
    Revert {
        /// Which.
        to: RevertTo,
        /// Returned in [`Event::Reverted`].
        ticket: u64,
    },
    /// Make ready to build on a former block. The chain stays as it is.
    Branch {
        /// Its height.
        kept: Height,
        /// Returned in [`Event::Branched`].
        ticket: u64,
    },
    /// Build these blocks on the branch, and put them in the place of those of the chain, all or
    /// none.
    Reorg {
        /// In order; one at least.
        blocks: Vec<BlockPlan>,
        /// Returned in [`Event::Reorged`].
        ticket: u64,
    },
    /// The end of a command.
    Answer {
        /// Of the command.
        ticket: u64,
        /// What came of it.
        outcome: Result<Outcome, CommandError>,
    },
    /// Tells the pool what base fee the next block will have, in wei per gas.
    SetNextBaseFee(u64),
    /// Tells all admissions what gas limit blocks have from the next on.
    SetGasLimit(u64),
}

/// A consensus protocol: no clock, no I/O, no randomness, no lock; time is an argument.
pub trait Engine: Send + 'static {
    /// Takes one event and appends what follows from it to `effects`.
    fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>);

    /// When [`Event::Deadline`] is to be told; later than the `now` of the last step.
    fn next_deadline(&self) -> Option<Time>;
}
