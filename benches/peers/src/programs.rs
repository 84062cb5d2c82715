//! The programs and their sizes.

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Two actors and one ball. An operation is a round trip: two messages.
    PingPong,
    /// The same 64 times at once. An operation is a message.
    Pairs64,
    /// 1,000 actors in a ring, one token. An operation is a hop.
    Ring1k,
    /// 10,000 actors in a ring, 200 tokens. An operation is a hop.
    Ring10k,
    /// Eight actors send to one. An operation is a message.
    FanIn8,
    /// One actor sends to eight in turn. An operation is a message.
    FanOut8,
    /// A tree of actors, ten children each, whose leaves report to the root. An operation is an
    /// actor: spawned, started, heard, ended.
    Skynet,
    /// Idle actors. An operation is a spawn with the actor's first turn.
    Spawn,
    /// Idle actors that are born without a turn, where the runtime has such. An operation is a
    /// spawn.
    SpawnIdle,
    /// How long one message waits beside this many actors that never stop computing.
    Fair(usize),
    /// The same beside actors whose single steps take 100 us, not 1 us.
    FairCoarse(usize),
    /// How equal the shares of 64 such actors are.
    Jain,
    /// Shares of classes against their weights.
    Classes,
    /// Blocks of 64 KiB through a mailbox of 1 MiB. An operation is a block.
    Backpressure,
    /// 10,000 actors: one never ends its loop, one computes 10 ms in each handler.
    Loop10k,
}

/// Busy actors of the `fair` programs.
pub const BUSY: [usize; 5] = [0, 4, 16, 64, 1_000];

impl Program {
    /// Whether so many actors are there at once that the memory of the machine counts.
    pub const fn takes_memory(self) -> bool {
        matches!(self, Self::Skynet | Self::Spawn | Self::SpawnIdle)
    }

    /// All programs, in the order of the table.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::PingPong, Self::Pairs64, Self::Ring1k, Self::Ring10k];
        all.extend([Self::FanIn8, Self::FanOut8, Self::Skynet, Self::Spawn, Self::SpawnIdle]);
        all.extend(BUSY.map(Self::Fair));
        all.extend(BUSY[3..].iter().map(|busy| Self::FairCoarse(*busy)));
        all.extend([Self::Jain, Self::Classes, Self::Backpressure, Self::Loop10k]);
        all
    }

    /// Its name on the command line and in reports.
    pub fn name(self) -> String {
        match self {
            Self::PingPong => "pingpong".into(),
            Self::Pairs64 => "pairs64".into(),
            Self::Ring1k => "ring1k_1".into(),
            Self::Ring10k => "ring10k_200".into(),
            Self::FanIn8 => "fanin8".into(),
            Self::FanOut8 => "fanout8".into(),
            Self::Skynet => "skynet".into(),
            Self::Spawn => "spawn".into(),
            Self::SpawnIdle => "spawn_idle".into(),
            Self::Fair(busy) => format!("fair_{busy}"),
            Self::FairCoarse(busy) => format!("fair100us_{busy}"),
            Self::Jain => "jain".into(),
            Self::Classes => "classes".into(),
            Self::Backpressure => "backpressure".into(),
            Self::Loop10k => "loop10k".into(),
        }
    }

    /// The program of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|program| program.name() == name)
    }
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Round trips of `pingpong`.
    pub rounds: u64,
    /// Round trips of each of 64 pairs.
    pub pair_rounds: u64,
    /// Hops of the ring with one token.
    pub ring_hops: u64,
    /// Hops of the ring with 200 tokens, all together.
    pub ring_token_hops: u64,
    /// Messages of the fans.
    pub fan_messages: u64,
    /// Leaves of the tree, a power of ten.
    pub leaves: u64,
    /// Idle actors.
    pub idle: u64,
    /// Probes of `fair`.
    pub probes: usize,
    /// The longest that the probing takes, in ms.
    pub probe_ms_max: u64,
    /// How long shares are measured, in ms.
    pub share_ms: u64,
    /// How long class shares are measured, in ms: the smallest class has 1/149 of the time.
    pub class_ms: u64,
    /// Blocks of `backpressure`.
    pub blocks: u64,
    /// Bursts of probes of `loop10k`.
    pub bursts: usize,
}

impl Sizes {
    /// As the table shows them.
    pub const FULL: Self = Self {
        rounds: 1_000_000,
        pair_rounds: 20_000,
        ring_hops: 1_000_000,
        ring_token_hops: 4_000_000,
        fan_messages: 4_000_000,
        leaves: 1_000_000,
        idle: 1_000_000,
        probes: 1_000,
        probe_ms_max: 10_000,
        share_ms: 1_000,
        class_ms: 5_000,
        blocks: 16_384,
        bursts: 5,
    };

    /// To see that everything runs.
    pub const QUICK: Self = Self {
        rounds: 50_000,
        pair_rounds: 500,
        ring_hops: 100_000,
        ring_token_hops: 200_000,
        fan_messages: 200_000,
        leaves: 10_000,
        idle: 20_000,
        probes: 100,
        probe_ms_max: 1_000,
        share_ms: 300,
        class_ms: 1_000,
        blocks: 1_024,
        bursts: 1,
    };
}

/// Pairs of `pairs64`.
pub const PAIRS: u64 = 64;
/// Messages that a player's mailbox holds; one is in the air.
pub const PLAYER_ITEMS_MAX: usize = 4;
/// Messages that a mailbox in a ring holds: all tokens may meet.
pub const RING_ITEMS_MAX: usize = 256;
/// Actors of the rings, and tokens in the longer one.
pub const RING_SHORT: usize = 1_000;
/// See [`RING_SHORT`].
pub const RING_LONG: usize = 10_000;
/// See [`RING_SHORT`].
pub const TOKENS: u64 = 200;
/// Messages that a receiver of a fan holds.
pub const FAN_ITEMS_MAX: usize = 4_096;
/// Ends of a fan.
pub const FAN: u64 = 8;
/// Children of a node of the tree, and messages that its mailbox holds.
pub const CHILDREN: u64 = 10;
/// Messages that the mailbox of any other actor holds.
pub const ITEMS_MAX: usize = 16;
/// Bytes that the mailbox of `backpressure` holds: 16 blocks.
pub const BLOCKS_BYTES_MAX: usize = 1 << 20;
/// The same for runtimes that count messages only.
pub const BLOCKS_ITEMS_MAX: usize = 16;
/// Units of about 1 us that a spinner computes before it lets the runtime decide.
pub const UNITS: u32 = 1;
/// The same where steps are coarse.
pub const UNITS_COARSE: u32 = 100;
/// Actors of `jain`.
pub const EQUAL: usize = 64;
/// Actors of `loop10k` that are probed; two more disturb them.
pub const PROBED: usize = 9_998;
