//! The newest arrivals, for filters and subscriptions.

use std::sync::Arc;

use evenkeel_chain::RecoveredTx;
use imbl::Vector;

use crate::limits::FEED_MAX;

/// A bounded, numbered window over all transactions that ever became ready. Cheap clone; who reads
/// too seldom loses the oldest and sees so by the number.
#[derive(Clone, Debug, Default)]
pub struct PendingFeed {
    /// Number of the oldest kept.
    first: u64,
    txs: Vector<Arc<RecoveredTx>>,
}

impl PendingFeed {
    /// The number the next arrival will have; a subscription starts here.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.first + self.txs.len() as u64
    }

    /// All kept from number `seq` on, and the number to ask for next time.
    #[must_use]
    pub fn since(&self, seq: u64) -> (Vec<Arc<RecoveredTx>>, u64) {
        let skip = seq.saturating_sub(self.first).min(self.txs.len() as u64);
        let skip = usize::try_from(skip).expect("no more than the window is long");
        (self.txs.iter().skip(skip).cloned().collect(), self.next_seq())
    }

    /// Adds an arrival, and forgets the oldest above the bound.
    pub fn push(&mut self, tx: Arc<RecoveredTx>) {
        self.txs.push_back(tx);
        if self.txs.len() > FEED_MAX {
            self.txs.pop_front();
            self.first += 1;
        }
    }
}
