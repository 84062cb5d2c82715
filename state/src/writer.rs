//! The writer: the one process that changes the database.
//!
//! | message | answer |
//! |---|---|
//! | `Commit` | publishes [`Durable`], sends [`Committed`] |
//! | `Diff`, `Mark` | the same, then the reply |
//! | `Revert`, `Reorg` | the same, with `reverted`, then the reply with the new tip |
//! | `Tip` | the reply, when all that came before is durable |
//! | `Synced` | none: its own job came back |
//!
//! Work is done in the order it came, off the worker, one job at a time. Commits that wait while a
//! job runs go into the next job together: one batch, one sync. Nothing is published before it is
//! durable. A failed write stops the system: what is in memory may be ahead of the disk for ever.
//!
//! A restart cannot give the database back, so its first panic is to stop the system; after a
//! failed write it asks for that by itself.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use evenkeel_chain::{Height, RevertTo};
use evenkeel_runtime::{
    Actor, Ctx, Flow, Message, Panicked, Port, Publisher, Reply, StopReason, Ticket,
};

use crate::{
    change::ChangeSet,
    database::Database,
    error::StateError,
    limits::{BATCH_BLOCKS_MAX, WAITING_MAX},
    tip::{Durable, ExecutedBlock, Tip},
};

/// What the writer does.
pub enum WriterMessage {
    /// Write a block that is final. Blocks come in order.
    Commit(Arc<ExecutedBlock>),
    /// Write cheats on top of the head, all or none.
    Diff {
        /// What each changes, in order.
        changes: Vec<Arc<ChangeSet>>,
        /// Told once it is durable.
        reply: Reply<()>,
    },
    /// Remember the head with its cheats.
    Mark {
        /// Gets the number of the mark.
        reply: Reply<u64>,
    },
    /// Go back to a mark or a height.
    Revert {
        /// Which.
        to: RevertTo,
        /// Gets what to execute on from now on; `None` if there is no such mark or block.
        reply: Reply<Option<Tip>>,
    },
    /// Put blocks in the place of others, all or none.
    Reorg {
        /// The last block that is kept.
        kept: Height,
        /// The blocks from there on, in order.
        blocks: Vec<Arc<ExecutedBlock>>,
        /// [`ExecutedBlock::size_bytes`] of all; whoever made them has counted.
        size_bytes: usize,
        /// Gets what to execute on from now on; `None` if there is no block to be kept.
        reply: Reply<Option<Tip>>,
    },
    /// For a sender that begins anew, and knows nothing of what it had sent.
    Tip {
        /// Gets what to execute on, once all that came before is durable.
        reply: Reply<Tip>,
    },
    /// The job in flight came back. Sent by the writer to itself.
    Synced(Synced),
}

/// What a job brings back.
pub struct Synced(Box<Result<Done, Panicked>>);

/// What has become durable, in order.
#[derive(Clone)]
pub struct Committed {
    /// The blocks; none for a cheat, a mark or a mere revert.
    pub blocks: Vec<Arc<ExecutedBlock>>,
    /// The durable chain with them.
    pub durable: Arc<Durable>,
    /// Whether blocks or cheats were dropped.
    pub reverted: bool,
}

impl Message for WriterMessage {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Commit(executed) => executed.size_bytes(),
            Self::Diff { changes, .. } => changes.iter().map(|one| one.size_bytes()).sum(),
            Self::Reorg { size_bytes, .. } => 64 + size_bytes,
            Self::Mark { .. } | Self::Revert { .. } | Self::Tip { .. } | Self::Synced(_) => 64,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Commit(_) => "commit",
            Self::Diff { .. } => "diff",
            Self::Mark { .. } => "mark",
            Self::Revert { .. } => "revert",
            Self::Reorg { .. } => "reorg",
            Self::Tip { .. } => "tip",
            Self::Synced(_) => "synced",
        }
    }
}

/// Work for one job.
enum Work {
    Blocks(Vec<Arc<ExecutedBlock>>),
    Diff(Vec<Arc<ChangeSet>>, Reply<()>),
    Mark(Reply<u64>),
    Revert(RevertTo, Reply<Option<Tip>>),
    Reorg(Height, Vec<Arc<ExecutedBlock>>, Reply<Option<Tip>>),
    Tip(Reply<Tip>),
}

/// Work that is done, with what there is to tell.
enum Told {
    Blocks(Vec<Arc<ExecutedBlock>>),
    Diff(Reply<()>),
    Mark(u64, Reply<u64>),
    /// With the blocks that took the place of others; none for a mere revert.
    Revert(Option<Box<Tip>>, Vec<Arc<ExecutedBlock>>, Reply<Option<Tip>>),
    Tip(Box<Tip>, Reply<Tip>),
}

struct Done {
    database: Database,
    outcome: Result<(Durable, Told), StateError>,
}

/// The process. It owns the database, but for the time a job has it.
pub struct Writer {
    /// `None` while a job is in flight.
    database: Option<Database>,
    waiting: VecDeque<Work>,
    /// Done with the job in flight; taken when the writer parks.
    ticket: Option<Ticket>,
    published: Publisher<Durable>,
    committed: Port<Committed>,
}

impl Writer {
    /// The writer of `database`, which tells readers and those who follow the chain.
    #[must_use]
    pub fn new(
        database: Database,
        published: Publisher<Durable>,
        committed: Port<Committed>,
    ) -> Self {
        let database = Some(database);
        Self { database, waiting: VecDeque::new(), ticket: None, published, committed }
    }

    /// Puts a block into the last batch that waits, or into a new one.
    fn enqueue_block(&mut self, executed: Arc<ExecutedBlock>) {
        match self.waiting.back_mut() {
            Some(Work::Blocks(blocks)) if blocks.len() < BATCH_BLOCKS_MAX => blocks.push(executed),
            Some(_) | None => self.waiting.push_back(Work::Blocks(vec![executed])),
        }
    }

    /// Starts the next job if none is in flight.
    fn start_job(&mut self, ctx: &mut Ctx<'_, WriterMessage>) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(mut database) = self.database.take() else { return };
        let work = self.waiting.pop_front().expect("checked above");
        let (ticket, completion) = ctx.ticket();
        self.ticket = Some(ticket);
        let job = move || {
            let outcome = work.run(&mut database);
            // Dropped before the result is sent: a parked writer takes messages again.
            completion.complete();
            Done { database, outcome }
        };
        ctx.blocking(job, |result| WriterMessage::Synced(Synced(Box::new(result))));
    }

    /// Tells what has become durable. Returns false if nothing can go on.
    fn finish_job(&mut self, synced: Synced, ctx: &Ctx<'_, WriterMessage>) -> bool {
        self.ticket = None;
        let error = match *synced.0 {
            Ok(Done { database, outcome: Ok((durable, told)) }) => {
                self.database = Some(database);
                self.tell(durable, told, ctx.wall_clock());
                return true;
            }
            // Fatal or not, the sender believed in a block that is not there.
            Ok(Done { outcome: Err(error), .. }) => format!("the database failed: {error}"),
            Err(panicked) => format!("the database failed: {panicked}"),
        };
        ctx.system().request_stop(StopReason::Fatal(error));
        false
    }

    fn tell(&mut self, mut durable: Durable, told: Told, now: Duration) {
        let before = self.published.get();
        let is_same_head = (before.hash, before.generation) == (durable.hash, durable.generation);
        durable.head_since = if is_same_head { before.head_since } else { now };
        let durable = Arc::new(durable);
        self.published.set(Arc::clone(&durable));
        let (blocks, reverted) = match &told {
            Told::Blocks(blocks) => (blocks.clone(), false),
            Told::Diff(_) | Told::Mark(..) | Told::Tip(..) => (Vec::new(), false),
            Told::Revert(tip, blocks, _) => (blocks.clone(), tip.is_some()),
        };
        let is_news = !matches!(told, Told::Mark(..) | Told::Revert(None, ..) | Told::Tip(..));
        if is_news {
            // Lost only when the receivers are gone, and then the node is going down.
            let _has_come = self.committed.send(Committed { blocks, durable, reverted });
        }
        match told {
            Told::Blocks(_) => {}
            Told::Diff(reply) => reply.send(()),
            Told::Mark(mark, reply) => reply.send(mark),
            Told::Revert(tip, _, reply) => reply.send(tip.map(|tip| *tip)),
            Told::Tip(tip, reply) => reply.send(*tip),
        }
    }
}

impl Work {
    /// On the blocking pool.
    fn run(self, database: &mut Database) -> Result<(Durable, Told), StateError> {
        match self {
            Self::Blocks(blocks) => Ok((database.commit(&blocks)?, Told::Blocks(blocks))),
            Self::Diff(changes, reply) => Ok((database.commit_diffs(&changes)?, Told::Diff(reply))),
            Self::Mark(reply) => {
                let mark = database.mark()?;
                Ok((database.durable(), Told::Mark(mark, reply)))
            }
            Self::Revert(to, reply) => {
                let done = database.revert(to)?;
                Ok(reverted(database, done, Vec::new(), reply))
            }
            Self::Reorg(kept, blocks, reply) => {
                let done = database.reorg(kept, &blocks)?;
                Ok(reverted(database, done, blocks, reply))
            }
            Self::Tip(reply) => {
                Ok((database.durable(), Told::Tip(Box::new(database.tip()), reply)))
            }
        }
    }
}

/// What there is to tell of a way back.
fn reverted(
    database: &Database,
    done: Option<(Durable, Tip)>,
    blocks: Vec<Arc<ExecutedBlock>>,
    reply: Reply<Option<Tip>>,
) -> (Durable, Told) {
    match done {
        Some((durable, tip)) => (durable, Told::Revert(Some(Box::new(tip)), blocks, reply)),
        None => (database.durable(), Told::Revert(None, Vec::new(), reply)),
    }
}

impl Actor for Writer {
    type Message = WriterMessage;

    fn handle(&mut self, message: WriterMessage, ctx: &mut Ctx<'_, WriterMessage>) -> Flow {
        match message {
            WriterMessage::Commit(executed) => self.enqueue_block(executed),
            WriterMessage::Diff { changes, reply } => {
                self.waiting.push_back(Work::Diff(changes, reply));
            }
            WriterMessage::Mark { reply } => self.waiting.push_back(Work::Mark(reply)),
            WriterMessage::Revert { to, reply } => {
                self.waiting.push_back(Work::Revert(to, reply));
            }
            WriterMessage::Reorg { kept, blocks, reply, .. } => {
                self.waiting.push_back(Work::Reorg(kept, blocks, reply));
            }
            WriterMessage::Tip { reply } => self.waiting.push_back(Work::Tip(reply)),
            WriterMessage::Synced(synced) => {
                if !self.finish_job(synced, ctx) {
                    return Flow::Stop;
                }
            }
        }
        self.start_job(ctx);
        // What comes now stays in the mailbox, which is bounded and says so to the sender.
        match self.ticket.take_if(|_| self.waiting.len() >= WAITING_MAX) {
            Some(ticket) => Flow::Park(ticket),
            None => Flow::Next,
        }
    }
}

#[cfg(test)]
mod tests;
