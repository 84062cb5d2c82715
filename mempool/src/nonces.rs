//! The transactions of one sender by nonce, and what they may cost it.
//!
//! Pure; keeps M1 of [`crate::Pool`] for its sender.

use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_primitives::{U256, U512};
use evenkeel_chain::RecoveredTx;
use imbl::OrdMap;

use crate::{error::PoolError, limits::BLOB_PRICE_BUMP_PERCENT};

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) tx: Arc<RecoveredTx>,
    pub(crate) stamp: u64,
    /// It has been among the ready ones, so others know of it.
    pub(crate) is_announced: bool,
}

/// Transactions of one sender; never empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// Nonce of the sender when the pool last looked.
    pub(crate) next: u64,
    /// How many from `next` on are there without a gap (M1).
    pub(crate) ready: u64,
    pub(crate) txs: OrdMap<u64, Entry>,
    /// Wei the ready ones may cost together; wide, so that it never overflows.
    pub(crate) ready_cost: U512,
    /// No transaction costs more; saves looking at each when the balance changes.
    pub(crate) cost_bound: U256,
}

impl Chain {
    /// The first nonce that is not ready.
    pub(crate) const fn end(&self) -> u64 {
        self.next.saturating_add(self.ready)
    }

    pub(crate) const fn is_ready(&self, nonce: u64) -> bool {
        self.next <= nonce && nonce < self.end()
    }

    /// Moves the end of the ready ones back to `end`; returns how many are not ready any more.
    pub(crate) fn shrink(&mut self, end: u64) -> usize {
        let lost: U512 = self.txs.range(end..self.end()).map(|(_, entry)| wide_cost(entry)).sum();
        let count = self.end() - end;
        self.ready -= count;
        self.ready_cost -= lost;
        usize::try_from(count).expect("no more than the pool holds")
    }

    /// Moves the beginning to the sender's new nonce; returns how many are not ready any more.
    pub(crate) fn advance(&mut self, next: u64) -> usize {
        let end = self.end();
        if next < self.next || next > end {
            let lost = self.shrink(self.next);
            self.next = next;
            return lost;
        }
        let lost: U512 = self.txs.range(self.next..next).map(|(_, entry)| wide_cost(entry)).sum();
        let count = next - self.next;
        self.ready_cost -= lost;
        self.ready -= count;
        self.next = next;
        usize::try_from(count).expect("no more than the pool holds")
    }
}

/// The highest cost; what no balance can pay saturates.
pub(crate) fn cost(tx: &RecoveredTx) -> U256 {
    tx.cost_max().unwrap_or(U256::MAX)
}

pub(crate) fn wide_cost(entry: &Entry) -> U512 {
    U512::from(cost(&entry.tx))
}

/// geth's `ValidateTransactionWithState`: alone, and together with what waits before it.
pub(crate) fn check_funds(
    tx: &RecoveredTx,
    balance: U256,
    chain: Option<&Chain>,
    old: Option<&Arc<RecoveredTx>>,
) -> Result<(), PoolError> {
    let cost_new = cost(tx);
    // A cost above 2^256 is more than any balance, also than the highest.
    if cost_new > balance || tx.cost_max().is_none() {
        return Err(PoolError::InsufficientFunds { balance, cost: cost_new });
    }
    let queued = chain.map_or(U512::ZERO, |chain| chain.ready_cost);
    let shown = queued.saturating_to();
    match old.map(|old| cost(old)) {
        Some(cost_old) => {
            let bump = cost_new.saturating_sub(cost_old);
            if queued + U512::from(bump) > U512::from(balance) {
                return Err(PoolError::BumpOverdraft { balance, queued: shown, bump });
            }
        }
        None if queued + U512::from(cost_new) > U512::from(balance) => {
            return Err(PoolError::Overdraft { balance, queued: shown, cost: cost_new });
        }
        None => {}
    }
    Ok(())
}

/// Whether `new` pays enough more than `old`, in fee cap and in tip; twice as much, and in the fee
/// cap of blobs too, if `old` has blobs, which were dear to spread.
pub(crate) fn is_bumped(old: &RecoveredTx, new: &RecoveredTx, percent: u64) -> bool {
    let blob_fee = old.tx().max_fee_per_blob_gas();
    let percent = if blob_fee.is_some() { percent.max(BLOB_PRICE_BUMP_PERCENT) } else { percent };
    let enough = |old: u128, new: u128| {
        let threshold = U256::from(old) * U256::from(100 + percent) / U256::from(100);
        new > old && U256::from(new) >= threshold
    };
    let has_blob_fee = match (blob_fee, new.tx().max_fee_per_blob_gas()) {
        (Some(old), Some(new)) => enough(old, new),
        _ => true,
    };
    has_blob_fee
        && enough(old.max_fee_per_gas(), new.max_fee_per_gas())
        && enough(old.max_priority_fee_per_gas(), new.max_priority_fee_per_gas())
}
