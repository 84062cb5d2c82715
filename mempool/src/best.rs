//! Snapshots of the pool: what the builder chooses from, and what `txpool_content` shows.
//!
//! Pure. A snapshot shares its maps with the pool until the pool changes them.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use alloy_primitives::Address;
use evenkeel_chain::RecoveredTx;
use imbl::OrdMap;

use crate::{
    config::Order,
    nonces::{Chain, Entry},
};

/// The ready transactions of one moment. Cheap clone.
#[derive(Clone, Debug)]
pub struct BestTxs {
    senders: OrdMap<Address, Chain>,
    order: Order,
    base_fee: u64,
    ready: usize,
}

impl Default for BestTxs {
    fn default() -> Self {
        Self::new(OrdMap::new(), Order::default(), 0, 0)
    }
}

impl BestTxs {
    pub(crate) const fn new(
        senders: OrdMap<Address, Chain>,
        order: Order,
        base_fee: u64,
        ready: usize,
    ) -> Self {
        Self { senders, order, base_fee, ready }
    }

    /// Ready transactions, also those that do not pay the base fee.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ready
    }

    /// Whether nothing is ready.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ready == 0
    }

    /// Wei per gas a transaction must pay to be among them.
    #[must_use]
    pub const fn base_fee(&self) -> u64 {
        self.base_fee
    }

    /// The same transactions at another base fee (a block ordered with its own).
    #[must_use]
    pub fn at_base_fee(&self, base_fee: u64) -> Self {
        Self { base_fee, ..self.clone() }
    }

    /// The nonce after the ready transactions of `sender`; None if it has none in the pool.
    #[must_use]
    pub fn pending_nonce(&self, sender: Address) -> Option<u64> {
        self.senders.get(&sender).map(Chain::end)
    }

    /// Best first, the nonces of each sender in order. Start: O(senders); each: O(log senders).
    #[must_use]
    pub fn iter(&self) -> BestIter {
        let mut heap = Vec::with_capacity(self.senders.len());
        for (sender, chain) in &self.senders {
            heap.extend(self.head(*sender, chain, chain.next));
        }
        BestIter { txs: self.clone(), heap: heap.into(), last: None }
    }

    /// How the transaction of this sender and nonce competes; None if it is not ready or does not
    /// pay the base fee, so that none after it can come into the block either.
    fn head(&self, sender: Address, chain: &Chain, nonce: u64) -> Option<Head> {
        if !chain.is_ready(nonce) {
            return None;
        }
        let Entry { tx, stamp, .. } = chain.txs.get(&nonce)?;
        let tip = tx.effective_tip(self.base_fee)?;
        let worth = match self.order {
            Order::Fees => tip,
            Order::Fifo => 0,
        };
        Some((worth, Reverse(*stamp), sender, nonce))
    }
}

impl IntoIterator for &BestTxs {
    type Item = Arc<RecoveredTx>;
    type IntoIter = BestIter;

    fn into_iter(self) -> BestIter {
        self.iter()
    }
}

/// By worth, then by arrival.
type Head = (u128, Reverse<u64>, Address, u64);

/// Gives the transactions of a [`BestTxs`], best first.
#[derive(Clone, Debug)]
pub struct BestIter {
    txs: BestTxs,
    heap: BinaryHeap<Head>,
    /// The last one given; its successor competes only when the next one is asked for.
    last: Option<(Address, u64)>,
}

impl BestIter {
    /// The last one could not be used, so none after it of its sender can be.
    pub fn skip_sender(&mut self) {
        self.last = None;
    }
}

impl Iterator for BestIter {
    type Item = Arc<RecoveredTx>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((sender, nonce)) = self.last.take() {
            let chain = &self.txs.senders[&sender];
            let next = nonce.checked_add(1).and_then(|n| self.txs.head(sender, chain, n));
            self.heap.extend(next);
        }
        let (_, _, sender, nonce) = self.heap.pop()?;
        self.last = Some((sender, nonce));
        Some(Arc::clone(&self.txs.senders[&sender].txs[&nonce].tx))
    }
}

/// Everything in the pool at one moment. Cheap clone.
#[derive(Clone, Debug, Default)]
pub struct PoolContent {
    senders: OrdMap<Address, Chain>,
}

impl PoolContent {
    pub(crate) const fn new(senders: OrdMap<Address, Chain>) -> Self {
        Self { senders }
    }

    /// The ready transactions, by sender and nonce.
    pub fn pending(&self) -> impl Iterator<Item = &Arc<RecoveredTx>> {
        self.filter(true)
    }

    /// Those that wait for a nonce before them, by sender and nonce.
    pub fn queued(&self) -> impl Iterator<Item = &Arc<RecoveredTx>> {
        self.filter(false)
    }

    fn filter(&self, is_ready: bool) -> impl Iterator<Item = &Arc<RecoveredTx>> {
        self.senders.values().flat_map(move |chain| {
            let txs = chain.txs.iter().filter(move |(n, _)| chain.is_ready(**n) == is_ready);
            txs.map(|(_, entry)| &entry.tx)
        })
    }
}
