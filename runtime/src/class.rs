//! Scheduling classes and their weights.

/// Scheduling class of a process: what share of a busy machine it gets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// Supervision and shutdown. Strictly before all others.
    System,
    /// Agreement on the next block.
    Consensus,
    /// Peer to peer traffic.
    Net,
    /// Building, executing and writing blocks.
    Exec,
    /// Admission and ordering of transactions.
    Mempool,
    /// Decoding, answering, small reads.
    Rpc,
    /// EVM calls, traces, log scans.
    Call,
    /// Proofs and other background work.
    Prove,
}

impl Class {
    /// How many classes there are.
    pub const COUNT: usize = 8;

    /// All classes, the most urgent first.
    pub const ALL: [Self; Self::COUNT] = [
        Self::System,
        Self::Consensus,
        Self::Net,
        Self::Exec,
        Self::Mempool,
        Self::Rpc,
        Self::Call,
        Self::Prove,
    ];

    /// Share of a machine on which all classes are busy; `None` for the strict class.
    #[must_use]
    pub const fn weight(self) -> Option<u32> {
        match self {
            Self::System => None,
            Self::Consensus => Some(64),
            Self::Net => Some(32),
            Self::Exec | Self::Mempool | Self::Rpc => Some(16),
            Self::Call => Some(4),
            Self::Prove => Some(1),
        }
    }

    /// Name for statistics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Consensus => "consensus",
            Self::Net => "net",
            Self::Exec => "exec",
            Self::Mempool => "mempool",
            Self::Rpc => "rpc",
            Self::Call => "call",
            Self::Prove => "prove",
        }
    }

    /// Position in [`Class::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
