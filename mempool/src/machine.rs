//! The pool: per-sender nonce chains, what may run and what has to wait.
//!
//! Pure: no clock, no I/O, no randomness, no locks. [`PoolActor`](crate::PoolActor) feeds it.
//! Its rules are geth's `legacypool`, see Deviations.
//!
//! # Invariants
//!
//! - M1: ready transactions of a sender have the nonces `next, next + 1, ..` without a gap, where
//!   `next` is the sender's nonce when the pool last looked; all others are queued.
//! - M2: count, bytes and transactions per sender never exceed the configured limits.
//! - M3: a refused transaction changes nothing.
//! - M4: what is evicted has the lowest effective tip at the current base fee, the youngest first.
//!
//! # Deviations
//!
//! - One limit for ready and queued together. A queued transaction pushes no ready one out, and
//!   none pushes out another of its own sender, as in geth.
//! - A transaction that does not pay the base fee of the next block may be refused
//!   ([`PoolConfig::check_base_fee`]); one that stops paying it waits among the ready ones.
//! - Blob transactions are in the same pool, under the same limits; their blobs count as bytes. A
//!   sender may have both kinds.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256};
use evenkeel_chain::RecoveredTx;
use imbl::OrdMap;

use crate::{
    best::{BestTxs, PoolContent},
    config::{Order, PoolConfig},
    error::PoolError,
    nonces::{Chain, Entry, check_funds, cost, is_bumped, wide_cost},
};

/// What the pool must know of a sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountState {
    /// Transactions sent.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
}

/// The head state could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("state is not available")]
pub struct Unreadable;

/// Nonces and balances at the published head.
pub trait Accounts {
    /// The state of `address`; zero if there is no such account.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if the store fails.
    fn account(&self, address: Address) -> Result<AccountState, Unreadable>;
}

/// Where an admitted transaction went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// It may run; else it waits for a nonce before it.
    pub is_pending: bool,
    /// What it replaced.
    pub replaced: Option<B256>,
    /// What had to go for it.
    pub evicted: Vec<B256>,
}

/// Where a transaction stands in the order of eviction.
type Rank = (i128, Reverse<u64>, Address, u64);

/// The machine.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    base_fee: u64,
    /// Wei per blob gas in the next block.
    blob_fee: u128,
    senders: OrdMap<Address, Chain>,
    by_hash: BTreeMap<B256, (Address, u64)>,
    /// The effective tip is the lesser of the tip cap and what the fee cap leaves above the base
    /// fee. Both are fixed up to the base fee, so the heads of two indexes give the lowest.
    by_tip: BTreeSet<Rank>,
    by_fee: BTreeSet<Rank>,
    bytes: usize,
    ready: usize,
    stamp: u64,
    arrivals: Vec<Arc<RecoveredTx>>,
}

impl Pool {
    /// An empty pool before a block with this base fee (zero before London).
    #[must_use]
    pub fn new(config: PoolConfig, base_fee: u64) -> Self {
        Self {
            config,
            base_fee,
            blob_fee: 0,
            senders: OrdMap::new(),
            by_hash: BTreeMap::new(),
            by_tip: BTreeSet::new(),
            by_fee: BTreeSet::new(),
            bytes: 0,
            ready: 0,
            stamp: 0,
            arrivals: Vec::new(),
        }
    }

    /// Takes `tx` in, if its nonce, price and funds are right. O(log n).
    ///
    /// # Errors
    ///
    /// [`PoolError`]; the pool is unchanged then (M3), but for what the head has made void.
    pub fn admit(
        &mut self,
        tx: Arc<RecoveredTx>,
        accounts: &dyn Accounts,
    ) -> Result<Admitted, PoolError> {
        if self.by_hash.contains_key(tx.hash()) {
            return Err(PoolError::AlreadyKnown);
        }
        self.check_price(&tx)?;
        let sender = tx.sender();
        let account = accounts.account(sender).map_err(|_| PoolError::StateUnavailable)?;
        if self.senders.get(&sender).is_some_and(|chain| chain.next != account.nonce) {
            self.settle(sender, account, usize::MAX);
        }
        if tx.nonce() < account.nonce {
            return Err(PoolError::NonceTooLow { next: account.nonce, found: tx.nonce() });
        }
        let chain = self.senders.get(&sender);
        let old = chain.and_then(|chain| chain.txs.get(&tx.nonce())).map(|entry| &entry.tx);
        if self.config.check_balance {
            check_funds(&tx, account.balance, chain, old)?;
        }
        let pooled = chain.map_or(0, |chain| chain.txs.len());
        if old.is_none() && pooled >= self.config.per_sender_max {
            return Err(PoolError::AccountLimitExceeded { pooled });
        }
        if old.is_some_and(|old| !is_bumped(old, &tx, self.config.price_bump_percent)) {
            return Err(PoolError::ReplacementUnderpriced);
        }
        let is_pending = tx.nonce() <= chain.map_or(account.nonce, Chain::end);
        let victims = self.make_room(&tx, old, is_pending)?;

        let replaced = old.map(|old| *old.hash());
        let evicted = victims.iter().map(|(sender, nonce)| self.take(*sender, *nonce)).collect();
        if replaced.is_some() {
            self.take(sender, tx.nonce());
        }
        self.insert(tx, account.nonce);
        Ok(Admitted { is_pending, replaced, evicted })
    }

    /// Looks anew at one account: drops what is mined or cannot be paid, `dropped_max` at most, and
    /// promotes what may run. False if there is more to drop: to be called again, before anything
    /// else. O(transactions of the sender), of which a drop costs most by far.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]; nothing is changed then.
    pub fn recheck(
        &mut self,
        sender: Address,
        accounts: &dyn Accounts,
        dropped_max: usize,
    ) -> Result<bool, Unreadable> {
        if !self.senders.contains_key(&sender) {
            return Ok(true);
        }
        let account = accounts.account(sender)?;
        Ok(self.settle(sender, account, dropped_max))
    }

    /// The base fee of the next block, in wei per gas.
    pub fn set_base_fee(&mut self, base_fee: u64) {
        self.base_fee = base_fee;
    }

    /// The blob base fee of the next block, in wei per blob gas; zero until it is set.
    pub fn set_blob_fee(&mut self, blob_fee: u128) {
        self.blob_fee = blob_fee;
    }

    /// The lowest tip cap from now on, in wei per gas; what is in the pool stays.
    pub fn set_min_gas_price(&mut self, price: Option<u128>) {
        self.config.min_gas_price = price;
    }

    /// Removes a transaction which the builder could not run. What follows it becomes queued.
    pub fn unexecutable(&mut self, hash: B256) -> Option<Arc<RecoveredTx>> {
        self.remove(&hash)
    }

    /// Removes one transaction. What follows it becomes queued.
    pub fn remove(&mut self, hash: &B256) -> Option<Arc<RecoveredTx>> {
        let (sender, nonce) = *self.by_hash.get(hash)?;
        let tx = Arc::clone(&self.senders.get(&sender)?.txs.get(&nonce)?.tx);
        self.take(sender, nonce);
        Some(tx)
    }

    /// Removes all transactions of one sender; returns how many.
    pub fn remove_sender(&mut self, sender: Address) -> usize {
        let nonces: Vec<u64> =
            self.senders.get(&sender).into_iter().flat_map(|c| c.txs.keys().copied()).collect();
        for nonce in nonces.iter().rev() {
            self.take(sender, *nonce);
        }
        nonces.len()
    }

    /// Removes everything; returns how many.
    pub fn clear(&mut self) -> usize {
        let count = self.by_hash.len();
        let (stamp, blob_fee) = (self.stamp, self.blob_fee);
        *self = Self { blob_fee, stamp, ..Self::new(self.config.clone(), self.base_fee) };
        count
    }

    /// What the builder may choose from now; O(1), it stays as it is when the pool goes on.
    #[must_use]
    pub fn best(&self) -> BestTxs {
        BestTxs::new(self.senders.clone(), self.config.order, self.base_fee, self.ready)
    }

    /// All there is, by sender and nonce; O(1).
    #[must_use]
    pub fn content(&self, sender: Option<Address>) -> PoolContent {
        PoolContent::new(match sender {
            None => self.senders.clone(),
            Some(sender) => {
                self.senders.get(&sender).map(|chain| (sender, chain.clone())).into_iter().collect()
            }
        })
    }

    /// The transaction with this hash.
    #[must_use]
    pub fn get(&self, hash: &B256) -> Option<&Arc<RecoveredTx>> {
        let (sender, nonce) = self.by_hash.get(hash)?;
        Some(&self.senders.get(sender)?.txs.get(nonce)?.tx)
    }

    /// The nonce after the ready transactions of `sender`; None if it has none in the pool.
    #[must_use]
    pub fn pending_nonce(&self, sender: Address) -> Option<u64> {
        self.senders.get(&sender).map(Chain::end)
    }

    /// How many are pending (ready), how many queued.
    #[must_use]
    pub fn status(&self) -> (usize, usize) {
        (self.ready, self.by_hash.len() - self.ready)
    }

    /// Encoded bytes of all transactions.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `sender` has a transaction here.
    #[must_use]
    pub fn has_sender(&self, sender: Address) -> bool {
        self.senders.contains_key(&sender)
    }

    /// The next sender with a transaction here, in order of addresses; for walks in slices.
    #[must_use]
    pub fn next_sender(&self, after: Option<Address>) -> Option<Address> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.senders.range((from, Bound::Unbounded)).next().map(|(sender, _)| *sender)
    }

    /// What became ready for the first time since the last call, in order.
    pub fn take_arrivals(&mut self) -> Vec<Arc<RecoveredTx>> {
        std::mem::take(&mut self.arrivals)
    }

    fn check_price(&self, tx: &RecoveredTx) -> Result<(), PoolError> {
        let (found, minimum) =
            (tx.max_priority_fee_per_gas(), self.config.min_gas_price.unwrap_or(0));
        if found < minimum {
            return Err(PoolError::GasPriceTooLow { found, minimum });
        }
        let (found, base_fee) = (tx.max_fee_per_gas(), self.base_fee);
        if self.config.check_base_fee && found < u128::from(base_fee) {
            let sender = tx.sender();
            return Err(PoolError::FeeCapBelowBaseFee { sender, found, base_fee });
        }
        if let Some(found) = tx.tx().max_fee_per_blob_gas() {
            let blob_fee = self.blob_fee;
            if self.config.check_base_fee && found < blob_fee {
                return Err(PoolError::BlobFeeCapBelowBaseFee { found, blob_fee });
            }
        }
        Ok(())
    }

    /// Chooses what has to go so that `tx` fits in the place of `old` (M2), without removing it.
    fn make_room(
        &self,
        tx: &RecoveredTx,
        old: Option<&Arc<RecoveredTx>>,
        is_pending: bool,
    ) -> Result<Vec<(Address, u64)>, PoolError> {
        let mut count = self.by_hash.len() + usize::from(old.is_none());
        let mut bytes = self.bytes + tx.waiting_bytes() - old.map_or(0, |old| old.waiting_bytes());
        let mut victims = Vec::new();
        let mut worst = self.worst_first();
        while count > self.config.count_max || bytes > self.config.bytes_max {
            let Some((worth, sender, nonce)) = worst.next() else {
                return Err(PoolError::PoolFull);
            };
            let chain = &self.senders[&sender];
            if self.config.order == Order::Fifo {
                return Err(PoolError::PoolFull);
            }
            if self.worth(tx) <= worth {
                return Err(PoolError::Underpriced);
            }
            if sender == tx.sender() {
                return Err(PoolError::PoolFull);
            }
            if !is_pending && chain.is_ready(nonce) {
                return Err(PoolError::FutureReplacesPending);
            }
            count -= 1;
            bytes -= chain.txs[&nonce].tx.waiting_bytes();
            victims.push((sender, nonce));
        }
        Ok(victims)
    }

    /// All transactions by rising effective tip, the youngest of equal ones first (M4).
    fn worst_first(&self) -> impl Iterator<Item = (i128, Address, u64)> + '_ {
        let base_fee = i128::from(self.base_fee);
        let mut by_tip = self.by_tip.iter().copied().peekable();
        let above_base = move |(fee, stamp, sender, nonce): &Rank| {
            (fee.saturating_sub(base_fee), *stamp, *sender, *nonce)
        };
        let mut by_fee = self.by_fee.iter().map(above_base).peekable();
        let mut seen = BTreeSet::new();
        std::iter::from_fn(move || {
            loop {
                let is_tip_next = match (by_tip.peek(), by_fee.peek()) {
                    (Some(tip), Some(fee)) => tip <= fee,
                    (tip, _) => tip.is_some(),
                };
                let next = if is_tip_next { by_tip.next() } else { by_fee.next() };
                let (worth, Reverse(stamp), sender, nonce) = next?;
                // Each is in both indexes; the first time is at its true worth.
                if seen.insert(stamp) {
                    return Some((worth, sender, nonce));
                }
            }
        })
    }

    /// The effective tip at the current base fee; below zero if the base fee is not paid.
    fn worth(&self, tx: &RecoveredTx) -> i128 {
        let above_base = signed(tx.max_fee_per_gas()).saturating_sub(i128::from(self.base_fee));
        signed(tx.max_priority_fee_per_gas()).min(above_base)
    }

    fn insert(&mut self, tx: Arc<RecoveredTx>, next: u64) {
        let (sender, nonce, stamp) = (tx.sender(), tx.nonce(), self.stamp);
        self.stamp += 1;
        self.bytes += tx.waiting_bytes();
        self.by_hash.insert(*tx.hash(), (sender, nonce));
        let [by_tip, by_fee] = ranks(&tx, stamp);
        self.by_tip.insert(by_tip);
        self.by_fee.insert(by_fee);
        let chain =
            self.senders.entry(sender).or_insert_with(|| Chain { next, ..Chain::default() });
        assert_eq!(chain.next, next, "the chain was settled before");
        chain.cost_bound = chain.cost_bound.max(cost(&tx));
        let former = chain.txs.insert(nonce, Entry { tx, stamp, is_announced: false });
        assert!(former.is_none(), "what is replaced is taken out before");
        self.promote(sender);
    }

    /// Takes one transaction out of all maps; what follows it becomes queued (M1).
    fn take(&mut self, sender: Address, nonce: u64) -> B256 {
        let chain = self.senders.get_mut(&sender).expect("the caller found it there");
        if chain.is_ready(nonce) {
            self.ready -= chain.shrink(nonce);
        }
        let entry = chain.txs.remove(&nonce).expect("the caller found it there");
        if chain.txs.is_empty() {
            self.senders.remove(&sender);
        }
        let hash = *entry.tx.hash();
        self.bytes -= entry.tx.waiting_bytes();
        self.by_hash.remove(&hash);
        for (index, rank) in
            [&mut self.by_tip, &mut self.by_fee].into_iter().zip(ranks(&entry.tx, entry.stamp))
        {
            assert!(index.remove(&rank), "every transaction is in both indexes");
        }
        hash
    }

    /// Brings the chain of a sender in line with its account; false if there is more to drop.
    fn settle(&mut self, sender: Address, account: AccountState, dropped_max: usize) -> bool {
        let Some(chain) = self.senders.get_mut(&sender) else { return true };
        self.ready -= chain.advance(account.nonce);
        let mined = chain.txs.range(..account.nonce).map(|(nonce, _)| *nonce);
        let mut dropped: Vec<u64> = mined.take(dropped_max.saturating_add(1)).collect();
        if self.config.check_balance && chain.cost_bound > account.balance {
            let rest = chain.txs.range(account.nonce..);
            let unpaid = rest.filter(|(_, entry)| cost(&entry.tx) > account.balance);
            let room = dropped_max.saturating_add(1) - dropped.len();
            dropped.extend(unpaid.map(|(nonce, _)| *nonce).take(room));
        }
        let is_done = dropped.len() <= dropped_max;
        if is_done {
            chain.cost_bound = chain.cost_bound.min(account.balance);
        }
        for nonce in dropped.into_iter().take(dropped_max) {
            self.take(sender, nonce);
        }
        self.promote(sender);
        is_done
    }

    /// Makes ready what follows without a gap (M1).
    fn promote(&mut self, sender: Address) {
        let Some(chain) = self.senders.get_mut(&sender) else { return };
        while let Some(entry) = chain.txs.get_mut(&chain.end()) {
            if !entry.is_announced {
                entry.is_announced = true;
                self.arrivals.push(Arc::clone(&entry.tx));
            }
            chain.ready_cost += wide_cost(entry);
            chain.ready += 1;
            self.ready += 1;
        }
    }
}

/// Prices above 2^127 count as equal; nobody can pay them.
fn signed(price: u128) -> i128 {
    i128::try_from(price).unwrap_or(i128::MAX)
}

fn ranks(tx: &RecoveredTx, stamp: u64) -> [Rank; 2] {
    [tx.max_priority_fee_per_gas(), tx.max_fee_per_gas()]
        .map(|price| (signed(price), Reverse(stamp), tx.sender(), tx.nonce()))
}
