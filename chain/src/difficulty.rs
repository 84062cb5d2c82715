//! How hard the next block of a chain with proof of work is.
//!
//! Pure. Source: yellow paper 4.4.4, EIP-2 (Homestead), EIP-100 (Byzantium), and the EIPs that
//! delay the bomb: 649, 1234, 2384, 3554, 4345, 5133.

use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_primitives::U256;

use crate::{Header, fork::Fork, id::Height, limits::DIFFICULTY_MIN, spec::ChainSpec};

/// Difficulty moves in steps of this share of the parent's.
const STEP_DIVISOR: u64 = 2_048;
/// Steps that difficulty falls at most from one block to the next.
const STEPS_DOWN_MAX: u64 = 99;
/// Seconds within which Frontier wants the next block.
const FRONTIER_SECONDS: u64 = 13;
/// Seconds of one step since Homestead, and since Byzantium.
const HOMESTEAD_SECONDS: u64 = 10;
const BYZANTIUM_SECONDS: u64 = 9;
/// The bomb doubles once in so many blocks, and is silent for the first two times.
const BOMB_PERIOD: u64 = 100_000;
const BOMB_SILENT_PERIODS: u64 = 2;
/// Blocks by which each fork has set back the bomb, in all.
const BOMB_DELAYS: [(Fork, u64); 6] = [
    (Fork::GrayGlacier, 11_400_000),
    (Fork::ArrowGlacier, 10_700_000),
    (Fork::London, 9_700_000),
    (Fork::MuirGlacier, 9_000_000),
    (Fork::Constantinople, 5_000_000),
    (Fork::Byzantium, 3_000_000),
];

impl ChainSpec {
    /// Whether blocks before Paris are mined: a chain that begins without difficulty never has any,
    /// since no block may be easier than [`DIFFICULTY_MIN`].
    #[must_use]
    pub fn has_proof_of_work(&self) -> bool {
        !self.genesis.difficulty.is_zero()
    }

    /// Difficulty of the child of `parent` at `timestamp`, if it is mined; saturates.
    #[must_use]
    pub fn next_difficulty(&self, parent: &Header, timestamp: u64) -> U256 {
        let height = Height::new(parent.number).next();
        let seconds = timestamp.saturating_sub(parent.timestamp);
        let (up, down) = match self.fork_at(height, timestamp) {
            fork if fork < Fork::Homestead => {
                if seconds < FRONTIER_SECONDS {
                    (1, 0)
                } else {
                    (0, 1)
                }
            }
            fork if fork < Fork::Byzantium => (1, seconds / HOMESTEAD_SECONDS),
            _ => {
                let has_ommers = parent.ommers_hash != EMPTY_OMMER_ROOT_HASH;
                (1 + u64::from(has_ommers), seconds / BYZANTIUM_SECONDS)
            }
        };
        let step = parent.difficulty / U256::from(STEP_DIVISOR);
        let steps = |count: u64| step.saturating_mul(U256::from(count));
        let moved = if up >= down {
            parent.difficulty.saturating_add(steps(up - down))
        } else {
            parent.difficulty.saturating_sub(steps((down - up).min(STEPS_DOWN_MAX)))
        };
        moved.saturating_add(self.bomb(height)).max(DIFFICULTY_MIN)
    }

    /// What the difficulty bomb adds at `height`.
    fn bomb(&self, height: Height) -> U256 {
        let delay = BOMB_DELAYS.into_iter().find(|(fork, _)| self.is_active_at(*fork, height));
        let height = height.get().saturating_sub(delay.map_or(0, |(_, delay)| delay));
        match (height / BOMB_PERIOD).checked_sub(BOMB_SILENT_PERIODS) {
            None => U256::ZERO,
            Some(doublings) => usize::try_from(doublings)
                .ok()
                .and_then(|doublings| U256::ONE.checked_shl(doublings))
                .unwrap_or(U256::MAX),
        }
    }
}
