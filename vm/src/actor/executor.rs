//! The executor: builds and validates blocks, one at a time, and holds the executed tip.
//!
//! | message | from | answer |
//! |---|---|---|
//! | `Build` | engine | `Built`, `Empty` or `BuildFailed` |
//! | `Validate` | engine | `Verdict` |
//! | `Finalize` | engine | none; `Commit` to the writer |
//! | `Discard` | engine | none |
//! | `Cheat` | engine | reply when it is durable |
//! | `Mark`, `Revert` | engine | reply when it is durable |
//! | `Branch` | engine | reply when it stands there |
//! | `Reorg` | engine | reply when it is durable, or nothing of it |
//!
//! While a block runs no message is taken; a heavy precompile parks the executor, and so does a
//! writer whose mailbox is full. What is executed but not final is kept by hash, so that blocks
//! can be executed on blocks.
//!
//! A later life has no tip of its own: it asks the writer for the durable one, behind all that the
//! former life made final, and tells the engine, which begins anew with it.

use std::{collections::VecDeque, sync::Arc};

use alloy_primitives::B256;
use evenkeel_chain::{ChainSpec, Cheat, RevertTo, SealedBlock};
use evenkeel_runtime::{
    Actor, Address, Answer, Class, Completion, Ctx, Flow, Port, Published, Reply, Spawn, System,
    reply,
};
use evenkeel_state::{ChangeSet, Durable, ExecutedBlock, Rewind, Tip, WriterMessage};

use super::{
    block_work::{BlockWork, Worked, offload},
    cheat::{self, Loading},
    message::{BuildRequest, ExecutorEvent, ExecutorMessage, Reverted},
    reorg::Reorg,
    slot::{Slot, slot},
    writing::Writing,
};
use crate::{
    block::{BlockNotes, BlockOutcome, BlockRun, BuildJob, CandidateSource, ExecError, TxNote},
    limits::{CANDIDATE_BLOCKS_MAX, LOADED_REDUCTIONS, Limits},
    noted::Noting,
    shadow::LiveBlock,
};

/// Whom the executor talks to.
pub struct ExecutorPorts {
    /// The engine.
    pub events: Port<ExecutorEvent>,
    /// The writer.
    pub writer: Writing,
    /// The pool: transactions that no block can take, with the reason.
    pub unexecutable: Port<Vec<(B256, String)>>,
    /// The pool's best transactions.
    pub candidates: Box<dyn CandidateSource>,
    /// The canary, if there is one: what becomes final.
    pub shadow: Option<Address<LiveBlock>>,
    /// Who is told what transactions say beside their receipts, if anybody is.
    pub notes: Option<BlockNoting>,
}

/// What is noted of blocks, and for whom.
pub struct BlockNoting {
    /// Gets the notes of each block that has some, once it is executed; it may never become final.
    pub to: Port<BlockNotes>,
    /// What is among them, beside why transactions fail.
    pub noting: Noting,
}

impl BlockNoting {
    fn tell(&self, block: &ExecutedBlock, txs: Vec<TxNote>) {
        if !txs.is_empty() && self.to.send(BlockNotes { hash: block.block.hash, txs }).is_err() {
            tracing::debug!("nobody takes notes any more");
        }
    }
}

/// What the executor is made of.
pub struct ExecutorConfig {
    /// The chain's rules.
    pub spec: Arc<ChainSpec>,
    /// What the transactions of a block may use.
    pub limits: Limits,
    /// The head of the database; `None` for a life that has to ask for it.
    pub tip: Option<Tip>,
    /// What is durable; overlays below it are dropped.
    pub durable: Published<Durable>,
    /// Whom it talks to.
    pub ports: ExecutorPorts,
}

/// See the module.
pub struct Executor {
    pub(super) spec: Arc<ChainSpec>,
    pub(super) limits: Limits,
    /// Absent until the writer has told it.
    pub(super) tip: Option<Tip>,
    pub(super) durable: Published<Durable>,
    pub(super) ports: ExecutorPorts,
    /// Executed, not final; oldest first.
    pub(super) executed: VecDeque<Candidate>,
    /// A former block with the cheats made on it, to build others on.
    pub(super) branch: Option<Tip>,
    pub(super) work: Work,
}

/// A block that may become final.
pub(super) struct Candidate {
    block: Arc<ExecutedBlock>,
    /// The state after it.
    tip: Tip,
}

pub(super) enum Work {
    Nothing,
    /// Parked until the writer has told the tip.
    Beginning(Slot<Tip>),
    /// A block, also while the pool runs a precompile of it.
    Running(BlockWork<Purpose>),
    /// On the way to the branch.
    Branching(Box<Rewind>, RevertReply),
    /// Takes in a part of a state file.
    Loading(Box<Loading>, Reply<Result<(), ExecError>>),
    /// Parked until the writer has gone back.
    Reverting(Slot<Option<Tip>>, Waits),
}

pub(super) type RevertReply = Reply<Result<Option<Reverted>, ExecError>>;

/// Who waits for the writer to go back.
pub(super) enum Waits {
    Revert(RevertReply),
    Reorg(Box<Reorg>),
}

pub(super) enum Purpose {
    Build { id: u64 },
    Validate { hash: B256 },
    Reorg(Box<Reorg>),
}

impl Actor for Executor {
    type Message = ExecutorMessage;

    fn start(&mut self, ctx: &mut Ctx<'_, ExecutorMessage>) -> Flow {
        // Said in a first life too: the engine may have begun anew before it.
        if self.tip.is_some() {
            self.begun();
            return Flow::Next;
        }
        let (ticket, completion) = ctx.ticket();
        self.work = Work::Beginning(self.ports.writer.ask_tip(completion, ctx));
        Flow::Park(ticket)
    }

    fn handle(&mut self, message: ExecutorMessage, ctx: &mut Ctx<'_, ExecutorMessage>) -> Flow {
        assert!(matches!(self.work, Work::Nothing), "no message is taken while work runs");
        if !matches!(message, ExecutorMessage::Reorg { .. }) {
            // Whoever asked for it wants it no more, and it holds the state of its block.
            self.branch = None;
        }
        match message {
            ExecutorMessage::Build(request) => self.build(request),
            ExecutorMessage::Validate { block } => self.validate(block),
            ExecutorMessage::Finalize { hash } => self.finalize(hash, ctx),
            ExecutorMessage::Discard { hash } => {
                self.executed.retain(|candidate| candidate.block.block.hash != hash);
                Flow::Next
            }
            ExecutorMessage::Cheat { cheat, reply } => self.cheat(cheat, reply, ctx),
            ExecutorMessage::Mark { reply: to } => {
                let (reply, answer) = reply();
                forward(ctx.system(), answer, to);
                self.ports.writer.send(WriterMessage::Mark { reply }, ctx)
            }
            ExecutorMessage::Revert { to, reply } => self.revert(to, reply, ctx),
            ExecutorMessage::Branch { kept, reply } => self.branch(kept, reply),
            ExecutorMessage::Reorg { blocks, reply } => self.reorg(blocks, reply, ctx),
        }
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, ExecutorMessage>) -> Flow {
        match std::mem::replace(&mut self.work, Work::Nothing) {
            Work::Nothing => Flow::Next,
            Work::Beginning(slot) => match slot.take() {
                Some(tip) => {
                    self.tip = Some(tip);
                    self.begun();
                    Flow::Next
                }
                // The writer is gone, and the node with it.
                None => Flow::Stop,
            },
            Work::Running(work) => self.run(work, ctx),
            Work::Branching(rewind, reply) => self.go_to_branch(rewind, reply, ctx),
            Work::Loading(loading, reply) => self.load(loading, reply, ctx),
            Work::Reverting(slot, waits) => {
                match waits {
                    Waits::Revert(reply) => self.reverted(slot, reply),
                    Waits::Reorg(reorg) => self.reorged(slot, *reorg),
                }
                Flow::Next
            }
        }
    }
}

impl Executor {
    /// An executor on the tip of `config`.
    #[must_use]
    pub fn new(config: ExecutorConfig) -> Self {
        let ExecutorConfig { spec, limits, tip, durable, ports } = config;
        let (executed, branch, work) = (VecDeque::new(), None, Work::Nothing);
        Self { spec, limits, tip, durable, ports, executed, branch, work }
    }

    /// Says on which head this life begins.
    fn begun(&self) {
        let (header, hash) = (Arc::clone(&self.tip().header), self.tip().hash);
        self.report(ExecutorEvent::Begun { header, hash });
    }

    pub(super) const fn tip(&self) -> &Tip {
        self.tip.as_ref().expect("no message is taken before the tip is there")
    }

    fn build(&mut self, request: BuildRequest) -> Flow {
        let BuildRequest { id, attributes } = request;
        self.rebase();
        let run = BlockRun::build(BuildJob {
            tip: self.tip().clone(),
            spec: Arc::clone(&self.spec),
            attributes,
            limits: self.limits.clone(),
            candidates: self.ports.candidates.open(),
        });
        self.begin(run, Purpose::Build { id })
    }

    fn validate(&mut self, block: Arc<SealedBlock>) -> Flow {
        let hash = block.hash;
        self.rebase();
        let parent = block.header.parent_hash;
        let tip = if parent == self.tip().hash {
            Some(self.tip())
        } else {
            self.executed.iter().find(|one| one.block.block.hash == parent).map(|one| &one.tip)
        };
        let run = match tip.cloned() {
            Some(tip) => BlockRun::validate(tip, Arc::clone(&self.spec), block, &self.limits),
            None => Err(ExecError::UnknownParent { height: block.height(), parent }),
        };
        self.begin(run, Purpose::Validate { hash })
    }

    /// Lets go of what the database holds by now.
    fn rebase(&mut self) {
        self.tip = Some(self.tip().rebase(&self.durable.get()));
    }

    pub(super) fn begin(&mut self, run: Result<BlockRun, ExecError>, purpose: Purpose) -> Flow {
        match run {
            Ok(mut run) => {
                if let Some(noting) = &self.ports.notes {
                    run.note_txs(noting.noting);
                }
                self.work = Work::Running(BlockWork::new(run, purpose));
                Flow::More
            }
            Err(error) => {
                self.tell(purpose, Err(error));
                Flow::Next
            }
        }
    }

    fn run(&mut self, work: BlockWork<Purpose>, ctx: &mut Ctx<'_, ExecutorMessage>) -> Flow {
        match work.turn(ctx, offload) {
            Worked::Again(work, flow) => {
                self.work = Work::Running(work);
                flow
            }
            Worked::Done(mut run, purpose, result) => self.finish(&mut run, purpose, result, ctx),
        }
    }

    fn finish(
        &mut self,
        run: &mut BlockRun,
        purpose: Purpose,
        result: Result<BlockOutcome, ExecError>,
        ctx: &mut Ctx<'_, ExecutorMessage>,
    ) -> Flow {
        let unexecutable = run.take_unexecutable();
        if let (Some(noting), Ok(BlockOutcome::Executed(block))) = (&self.ports.notes, &result) {
            noting.tell(block, run.take_notes());
        }
        if let Purpose::Reorg(reorg) = purpose {
            // What was left out is not the pool's, or is good on the chain that may stay.
            return self.built_on_branch(reorg, result, ctx);
        }
        if !unexecutable.is_empty() && self.ports.unexecutable.send(unexecutable).is_err() {
            // The pool will offer them again, and they will be reported again.
            tracing::debug!("the pool took no report of unexecutable transactions");
        }
        if let Ok(BlockOutcome::Executed(block)) = &result {
            let tip = run.parent().extend(block);
            if self.executed.len() == CANDIDATE_BLOCKS_MAX {
                self.executed.pop_front();
            }
            self.executed.push_back(Candidate { block: Arc::clone(block), tip });
        }
        self.tell(purpose, result);
        Flow::Next
    }

    fn tell(&self, purpose: Purpose, result: Result<BlockOutcome, ExecError>) {
        let event = match (purpose, result) {
            (Purpose::Build { id }, Ok(BlockOutcome::Executed(executed))) => {
                ExecutorEvent::Built { id, block: Arc::clone(&executed.block) }
            }
            (Purpose::Build { id }, Ok(BlockOutcome::Empty)) => ExecutorEvent::Empty { id },
            (Purpose::Build { id }, Err(error)) => ExecutorEvent::BuildFailed { id, error },
            (Purpose::Validate { hash }, result) => {
                ExecutorEvent::Verdict { hash, result: result.map(drop) }
            }
            (Purpose::Reorg(_), _) => unreachable!("whoever ordered it has the reply"),
        };
        self.report(event);
    }

    fn report(&self, event: ExecutorEvent) {
        if let Err(error) = self.ports.events.send(event) {
            // It has ended, and whoever keeps both begins both anew, or stops the node.
            tracing::error!(%error, "the engine took no event of the executor");
        }
    }

    fn finalize(&mut self, hash: B256, ctx: &mut Ctx<'_, ExecutorMessage>) -> Flow {
        let found = self.executed.iter().position(|one| one.block.block.hash == hash);
        let Some(Candidate { block, tip }) = found.and_then(|at| self.executed.remove(at)) else {
            tracing::error!(%hash, "a block was finalized that is not executed");
            return Flow::Next;
        };
        assert_eq!(
            block.block.header.parent_hash,
            self.tip().hash,
            "blocks are finalized in order: nothing else is final at this height"
        );
        let parent = self.tip.replace(tip);
        if let (Some(shadow), Some(parent)) = (&self.ports.shadow, parent) {
            // It drops the oldest when it is behind, and has its own restarts: the chain goes on.
            let executed = Arc::clone(&block);
            drop(shadow.send(LiveBlock { parent, executed }));
        }
        // Siblings can never be final now, nor what was executed on them.
        let mut alive = vec![hash];
        self.executed.retain(|one| {
            let is_alive = alive.contains(&one.block.block.header.parent_hash);
            if is_alive {
                alive.push(one.block.block.hash);
            }
            is_alive
        });
        self.ports.writer.send(WriterMessage::Commit(block), ctx)
    }

    fn cheat(
        &mut self,
        cheat: Cheat,
        to: Reply<Result<(), ExecError>>,
        ctx: &mut Ctx<'_, ExecutorMessage>,
    ) -> Flow {
        // A block that is executed but not final would not have the change.
        if !self.executed.is_empty() {
            to.send(Err(ExecError::Busy));
            return Flow::Next;
        }
        if let Cheat::Load(parts) = cheat {
            self.work = Work::Loading(Box::new(Loading::new(parts, self.tip().clone())), to);
            return Flow::More;
        }
        match cheat::change_set(&self.tip().view, cheat) {
            Ok(changes) => {
                let changes = Some(changes).filter(|changes| !changes.is_empty()).map(Arc::new);
                let tip = changes.iter().cloned().fold(self.tip().clone(), |t, c| t.with_diff(c));
                self.change(changes.into_iter().collect(), tip, to, ctx)
            }
            Err(error) => {
                to.send(Err(ExecError::State(error)));
                Flow::Next
            }
        }
    }

    fn load(
        &mut self,
        loading: Box<Loading>,
        to: Reply<Result<(), ExecError>>,
        ctx: &mut Ctx<'_, ExecutorMessage>,
    ) -> Flow {
        ctx.consume(LOADED_REDUCTIONS);
        match loading.step() {
            Ok(cheat::Step::More(loading)) => {
                self.work = Work::Loading(loading, to);
                Flow::More
            }
            Ok(cheat::Step::Done(changes, tip)) => self.change(changes, *tip, to, ctx),
            Err(error) => {
                to.send(Err(ExecError::State(error)));
                Flow::Next
            }
        }
    }

    /// Goes on with `tip`, and hands the changes that lead there to the writer, as one.
    fn change(
        &mut self,
        changes: Vec<Arc<ChangeSet>>,
        tip: Tip,
        to: Reply<Result<(), ExecError>>,
        ctx: &mut Ctx<'_, ExecutorMessage>,
    ) -> Flow {
        if changes.is_empty() {
            to.send(Ok(()));
            return Flow::Next;
        }
        let (reply, answer) = reply();
        forward(ctx.system(), answer, to);
        self.tip = Some(tip);
        self.ports.writer.send(WriterMessage::Diff { changes, reply }, ctx)
    }

    fn revert(
        &mut self,
        to: RevertTo,
        told: RevertReply,
        ctx: &mut Ctx<'_, ExecutorMessage>,
    ) -> Flow {
        let (reply, answer) = reply();
        // Parked until the answer comes in any case, which is behind the message.
        let _until_sent = self.ports.writer.send(WriterMessage::Revert { to, reply }, ctx);
        let (ticket, completion) = ctx.ticket();
        let slot = wait_for(ctx.system(), answer, completion);
        self.work = Work::Reverting(slot, Waits::Revert(told));
        Flow::Park(ticket)
    }

    fn reverted(&mut self, slot: Slot<Option<Tip>>, reply: RevertReply) {
        reply.send(match slot.take() {
            Some(Some(tip)) => {
                self.executed.clear();
                let reverted = Reverted::to(&tip);
                self.tip = Some(tip);
                Ok(Some(reverted))
            }
            Some(None) => Ok(None),
            None => Err(ExecError::WriterGone),
        });
    }
}

/// Hands the writer's answer on when it comes, without keeping the executor.
fn forward<T: Send + 'static>(
    system: &System,
    answer: Answer<T>,
    reply: Reply<Result<T, ExecError>>,
) {
    let wait = async move { reply.send(answer.await.map_err(|_| ExecError::WriterGone)) };
    drop(system.spawn_future(Spawn::new("executor-forward", Class::Exec), wait));
}

/// Puts the writer's answer where the parked executor finds it.
pub(super) fn wait_for<T: Send + 'static>(
    system: &System,
    answer: Answer<T>,
    completion: Completion,
) -> Slot<T> {
    let (slot, fill) = slot(completion);
    let wait = async move {
        if let Ok(value) = answer.await {
            fill.fill(value);
        }
    };
    drop(system.spawn_future(Spawn::new("executor-wait", Class::Exec), wait));
    slot
}
