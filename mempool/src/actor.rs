//! The actor that runs the pool.
//!
//! | message | what follows |
//! |---|---|
//! | `Admit` | the reply; soon after it a publication and `PoolReady` |
//! | `Committed` | all accounts it changed are looked at, in slices; then the same |
//! | `Unexecutable`, `Remove` | a publication |
//! | `Query` | the reply, from the machine itself, not from what is published |
//!
//! A burst is published once: the first change sends `Flush` to the end of the own mailbox.
//!
//! A pool may be restarted by itself: its next life has no transactions, says so to those who read,
//! and goes on numbering arrivals where the last one stopped.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::{Address, B256};
use evenkeel_chain::{ChainSpec, Header, RecoveredTx};
use evenkeel_runtime::{Actor, Ctx, Flow, Port, Published, Publisher, Undelivered};
use evenkeel_state::{Committed, Durable, ExecutedBlock, View};

use crate::{
    best::BestTxs,
    blobs::Blobs,
    config::PoolConfig,
    feed::PendingFeed,
    limits::{LOOKUP_REDUCTIONS, PLACE_REDUCTIONS, REASONS_MAX, RETRY_MS, UNPUBLISHED_MAX},
    machine::{AccountState, Accounts, Pool, Unreadable},
    message::{AdmitReply, PoolMessage, PoolReady, Query, Remove},
};

/// What the pool tells others.
#[derive(Clone, Debug)]
pub struct PoolPorts {
    /// There is something to build from; sent again when the engine had no room for it.
    pub ready: Port<PoolReady>,
    /// A transaction became ready; may be lost.
    pub announce: Port<Arc<RecoveredTx>>,
}

/// What the pool writes for others to read. A clone is for its next life.
#[derive(Clone)]
pub struct PoolBoards(Arc<Mutex<Boards>>);

struct Boards {
    best: Publisher<BestTxs>,
    feed: Publisher<PendingFeed>,
}

impl PoolBoards {
    /// `best` is what the builder chooses from, `feed` what filters and subscriptions read.
    #[must_use]
    pub fn new(best: Publisher<BestTxs>, feed: Publisher<PendingFeed>) -> Self {
        Self(Arc::new(Mutex::new(Boards { best, feed })))
    }

    /// One life writes at a time, so nobody ever waits; what it writes is whole or not there.
    fn lock(&self) -> MutexGuard<'_, Boards> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts for View {
    fn account(&self, address: Address) -> Result<AccountState, Unreadable> {
        let account = Self::account(self, address).map_err(|_| Unreadable)?;
        Ok(account.map_or_else(AccountState::default, |account| AccountState {
            nonce: account.nonce,
            balance: account.balance,
        }))
    }
}

/// Accounts still to be looked at.
struct Recheck {
    durable: Arc<Durable>,
    /// Those these blocks changed, block by block; none: all that have transactions here.
    blocks: Option<VecDeque<Arc<ExecutedBlock>>>,
    /// The last one looked at.
    last: Option<Address>,
    /// The same, if more of its transactions are to be dropped.
    unfinished: Option<Address>,
}

impl Recheck {
    /// The next account that has transactions in the pool, and how many were looked up.
    /// The walk may end early, at `steps_max`, with one that has none.
    fn next(&mut self, pool: &Pool, steps_max: u32) -> (Option<Address>, u32) {
        if let Some(sender) = self.unfinished.take() {
            return (Some(sender), 1);
        }
        let Some(blocks) = &mut self.blocks else {
            self.last = pool.next_sender(self.last);
            return (self.last, 1);
        };
        let mut steps = 0;
        while let Some(block) = blocks.front() {
            let from = self.last.map_or(Bound::Unbounded, Bound::Excluded);
            for address in block.changes.accounts.range((from, Bound::Unbounded)).map(|(a, _)| *a) {
                steps += 1;
                self.last = Some(address);
                if pool.has_sender(address) || steps >= steps_max {
                    return (self.last, steps);
                }
            }
            blocks.pop_front();
            self.last = None;
        }
        (None, steps)
    }
}

/// Runs a [`Pool`].
pub struct PoolActor {
    pool: Pool,
    spec: Arc<ChainSpec>,
    durable: Published<Durable>,
    boards: PoolBoards,
    ports: PoolPorts,
    feed: PendingFeed,
    recheck: Option<Recheck>,
    /// Changes since the last publication.
    unpublished: usize,
    is_flush_sent: bool,
    /// The engine is to be told, though nothing has arrived.
    is_ready_due: bool,
    reasons: Reasons,
    blobs: Blobs,
}

impl PoolActor {
    /// An empty pool over the durable head; arrivals are numbered from where `boards` are.
    #[must_use]
    pub fn new(
        config: PoolConfig,
        spec: Arc<ChainSpec>,
        durable: Published<Durable>,
        boards: PoolBoards,
        ports: PoolPorts,
    ) -> Self {
        let head = Arc::clone(&durable.get().header);
        let mut pool = Pool::new(config, base_fee_after(&spec, &head));
        pool.set_blob_fee(blob_fee_after(&spec, &head));
        let feed = PendingFeed::clone(&boards.lock().feed.get());
        Self {
            pool,
            spec,
            durable,
            boards,
            ports,
            feed,
            recheck: None,
            unpublished: 0,
            is_flush_sent: false,
            is_ready_due: false,
            reasons: Reasons::default(),
            blobs: Blobs::default(),
        }
    }

    fn admit(&mut self, tx: Arc<RecoveredTx>, reply: Option<AdmitReply>) {
        let hash = *tx.hash();
        let with_blobs = tx.sidecar().is_some().then(|| Arc::clone(&tx));
        let result = self.durable.look(|durable| self.pool.admit(tx, &durable.view));
        if let Some(tx) = with_blobs.filter(|_| result.is_ok()) {
            self.blobs.keep(&tx);
        }
        self.unpublished += usize::from(result.is_ok());
        if let Some(reply) = reply {
            reply.send(result.map(|_| hash));
        }
    }

    /// A new head; what must be looked at is looked at in slices.
    fn committed(&mut self, committed: &Committed) {
        // Not the one of the message: it may be older than what `admit` has looked at already, and
        // nonces would seem to go back.
        let durable = self.durable.get();
        let has_blocks = !committed.blocks.is_empty();
        // A cheat leaves the next block, and what was ordered for it, as it was.
        if has_blocks || committed.reverted {
            self.pool.set_base_fee(base_fee_after(&self.spec, &durable.header));
            self.pool.set_blob_fee(blob_fee_after(&self.spec, &durable.header));
        }
        let are_blocks_all = has_blocks && !committed.reverted;
        let blocks = are_blocks_all.then(|| committed.blocks.iter().cloned().collect());
        self.recheck = Some(Recheck { durable, blocks, last: None, unfinished: None });
        self.unpublished += 1;
        self.is_ready_due = true;
    }

    fn unexecutable(&mut self, dropped: Vec<(B256, String)>) {
        for (hash, reason) in dropped {
            if self.pool.unexecutable(hash).is_some() {
                self.unpublished += 1;
                self.reasons.insert(hash, reason);
            }
        }
    }

    fn remove(&mut self, which: Remove) -> usize {
        let count = match which {
            Remove::Hash(hash) => usize::from(self.pool.remove(&hash).is_some()),
            Remove::Sender(sender) => self.pool.remove_sender(sender),
            Remove::All => self.pool.clear(),
        };
        self.unpublished += count;
        count
    }

    fn answer(&self, query: Query) {
        match query {
            Query::Get { hash, reply } => reply.send(self.pool.get(&hash).cloned()),
            Query::PendingNonce { sender, reply } => reply.send(self.pool.pending_nonce(sender)),
            Query::Status { reply } => reply.send(self.pool.status()),
            Query::Content { sender, reply } => reply.send(self.pool.content(sender)),
            Query::Blob { hash, reply } => reply.send(self.blobs.blob(&hash)),
            Query::Blobs { tx, reply } => reply.send(self.blobs.of_tx(&tx)),
            Query::Dropped { hash, reply } => reply.send(self.reasons.get(&hash)),
        }
    }

    /// Publishes what has changed and tells who should know.
    fn publish(&mut self, ctx: &mut Ctx<'_, PoolMessage>) {
        self.unpublished = 0;
        self.boards.lock().best.set(self.pool.best());
        let arrivals = self.pool.take_arrivals();
        let arrived = arrivals.len();
        for tx in arrivals {
            // The feed is long, and nobody reads blobs there.
            self.feed.push(Arc::clone(&tx).without_sidecar());
            let _may_be_lost = self.ports.announce.send(tx);
        }
        if arrived > 0 {
            self.boards.lock().feed.set(self.feed.clone());
        }
        let (pending, _) = self.pool.status();
        if pending == 0 || (arrived == 0 && !self.is_ready_due) {
            self.is_ready_due = false;
            return;
        }
        // A lost signal would leave transactions lying until the next one comes.
        let result = self.ports.ready.send(PoolReady { pending, arrived });
        self.is_ready_due = result == Err(Undelivered::Full);
        if self.is_ready_due {
            ctx.send_after(Duration::from_millis(RETRY_MS), PoolMessage::Flush);
        }
    }

    /// Sees to it that what has changed is published soon.
    fn settle(&mut self, ctx: &mut Ctx<'_, PoolMessage>) -> Flow {
        if self.unpublished >= UNPUBLISHED_MAX {
            self.publish(ctx);
        } else if self.unpublished > 0 && !self.is_flush_sent {
            self.is_flush_sent = ctx.me().send(PoolMessage::Flush).is_ok();
            if !self.is_flush_sent {
                self.publish(ctx);
            }
        }
        Flow::Next
    }
}

impl Actor for PoolActor {
    type Message = PoolMessage;

    fn start(&mut self, _ctx: &mut Ctx<'_, PoolMessage>) -> Flow {
        // What a former life offered is not in this pool.
        self.boards.lock().best.set(self.pool.best());
        Flow::Next
    }

    fn handle(&mut self, message: PoolMessage, ctx: &mut Ctx<'_, PoolMessage>) -> Flow {
        assert!(self.recheck.is_none(), "no message comes before the last head is dealt with");
        match message {
            PoolMessage::Admit { tx, reply } => {
                ctx.consume(PLACE_REDUCTIONS);
                self.admit(tx, reply);
            }
            PoolMessage::Committed(committed) => {
                self.committed(&committed);
                return self.resume(ctx);
            }
            PoolMessage::Unexecutable(dropped) => self.unexecutable(dropped),
            PoolMessage::Remove { which, reply } => {
                let count = self.remove(which);
                if let Some(reply) = reply {
                    reply.send(count);
                }
            }
            PoolMessage::Query(query) => self.answer(query),
            PoolMessage::SetMinGasPrice(price) => self.pool.set_min_gas_price(Some(price)),
            PoolMessage::SetNextBaseFee(base_fee) => {
                self.pool.set_base_fee(base_fee);
                self.unpublished += 1;
            }
            PoolMessage::Flush => {
                self.is_flush_sent = false;
                if self.unpublished > 0 || self.is_ready_due {
                    self.publish(ctx);
                }
            }
        }
        self.settle(ctx)
    }

    /// Looks at accounts until the quantum is used up.
    fn resume(&mut self, ctx: &mut Ctx<'_, PoolMessage>) -> Flow {
        while let Some(recheck) = &mut self.recheck {
            if ctx.left() == 0 {
                return Flow::More;
            }
            let steps_max = ctx.left().div_ceil(LOOKUP_REDUCTIONS);
            let (next, steps) = recheck.next(&self.pool, steps_max);
            ctx.consume(steps.saturating_mul(LOOKUP_REDUCTIONS));
            let Some(sender) = next else {
                self.recheck = None;
                break;
            };
            let before = self.pool.status();
            let dropped_max = (ctx.left() / PLACE_REDUCTIONS).max(1) as usize;
            // What cannot be read cannot be judged; a store that fails stops the node elsewhere.
            let is_done = self.pool.recheck(sender, &recheck.durable.view, dropped_max);
            recheck.unfinished = (is_done == Ok(false)).then_some(sender);
            let after = self.pool.status();
            let gone = (before.0 + before.1).abs_diff(after.0 + after.1);
            let gone = u32::try_from(gone).unwrap_or(u32::MAX);
            ctx.consume(PLACE_REDUCTIONS.saturating_mul(gone.saturating_add(1)));
        }
        self.settle(ctx)
    }
}

/// Base fee of the block after `head`; zero before London, where every price pays it.
fn base_fee_after(spec: &ChainSpec, head: &Header) -> u64 {
    spec.next_base_fee(head).unwrap_or(0)
}

/// Wei per blob gas in the block after `head`; zero where there are no blobs.
fn blob_fee_after(spec: &ChainSpec, head: &Header) -> u128 {
    let excess = spec.next_excess_blob_gas(head, head.timestamp);
    excess.map_or(0, |excess| spec.blob_params(head.timestamp).calc_blob_fee(excess))
}

/// Why the last dropped transactions were dropped; bounded.
#[derive(Default)]
struct Reasons {
    by_hash: BTreeMap<B256, String>,
    order: VecDeque<B256>,
}

impl Reasons {
    fn insert(&mut self, hash: B256, reason: String) {
        if self.by_hash.insert(hash, reason).is_none() {
            self.order.push_back(hash);
        }
        if self.order.len() > REASONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_hash.remove(&oldest);
        }
    }

    fn get(&self, hash: &B256) -> Option<String> {
        self.by_hash.get(hash).cloned()
    }
}
