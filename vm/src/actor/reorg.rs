//! How the executor puts other blocks in the place of the last ones.
//!
//! It stands beside the chain on a former block ([`Executor::branch`]), builds all new blocks there
//! one on another ([`Executor::reorg`]), and hands them to the writer together. Until the writer
//! has them the chain is as it was; whatever fails before leaves it so.

use std::{sync::Arc, vec::IntoIter};

use evenkeel_chain::{BlockPlan, ChainSpec, Height, RecoveredTx};
use evenkeel_runtime::{Ctx, Flow, Reply, reply};
use evenkeel_state::{ExecutedBlock, Rewind, StateError, Tip, WriterMessage};

use super::{
    executor::{Executor, Purpose, RevertReply, Waits, Work, wait_for},
    message::{ExecutorMessage, Reverted},
    slot::Slot,
    turn::{Turn, slices},
};
use crate::{
    block::{BlockOutcome, BlockRun, BuildJob, Candidates, ExecError},
    limits::{Limits, REORG_BYTES_MAX, SLICE_GAS, TRIE_FUEL_PER_NODE, TRIE_NODES_PER_SLICE},
    shadow::LiveBlock,
    step::Step,
};

/// Blocks in the making, beside the chain.
pub(super) struct Reorg {
    kept: Height,
    /// After the last block that is built.
    tip: Tip,
    plans: IntoIter<BlockPlan>,
    built: Vec<LiveBlock>,
    /// Of all that is built.
    bytes: usize,
    reply: Reply<Result<Reverted, ExecError>>,
}

impl Reorg {
    /// The next block to be built, if there is one.
    fn next(
        &mut self,
        spec: &Arc<ChainSpec>,
        limits: &Limits,
    ) -> Option<Result<BlockRun, ExecError>> {
        let BlockPlan { attributes, txs } = self.plans.next()?;
        Some(BlockRun::build(BuildJob {
            tip: self.tip.clone(),
            spec: Arc::clone(spec),
            attributes,
            limits: limits.clone(),
            candidates: Box::new(Planned(txs.into_iter())),
        }))
    }

    fn push(&mut self, executed: Arc<ExecutedBlock>) -> Result<(), ExecError> {
        self.bytes += executed.size_bytes();
        if self.bytes > REORG_BYTES_MAX {
            return Err(ExecError::ReorgBytes { limit: REORG_BYTES_MAX });
        }
        let tip = self.tip.extend(&executed);
        let parent = std::mem::replace(&mut self.tip, tip);
        self.built.push(LiveBlock { parent, executed });
        Ok(())
    }
}

/// The transactions that a block was planned with: each is judged by itself, as each was named.
struct Planned(IntoIter<Arc<RecoveredTx>>);

impl Candidates for Planned {
    fn next(&mut self) -> Option<Arc<RecoveredTx>> {
        self.0.next()
    }

    fn skip_sender(&mut self) {}
}

impl Executor {
    /// Looks for the state after the block at `kept`, with the cheats made on it.
    pub(super) fn branch(&mut self, kept: Height, reply: RevertReply) -> Flow {
        let durable = self.durable.get();
        // The engine waits until all is durable. What is not could not be gone back from.
        if durable.hash != self.tip().hash {
            reply.send(Err(ExecError::Busy));
            return Flow::Next;
        }
        if kept == self.tip().height() {
            // Its newest cheats may be here alone, on their way to the writer.
            reply.send(Ok(Some(Reverted::to(self.tip()))));
            self.branch = Some(self.tip().clone());
            return Flow::Next;
        }
        let Some(rewind) = durable.rewind(kept) else {
            reply.send(Ok(None));
            return Flow::Next;
        };
        self.work = Work::Branching(Box::new(rewind.with_cheats()), reply);
        Flow::More
    }

    pub(super) fn go_to_branch(
        &mut self,
        mut rewind: Box<Rewind>,
        reply: RevertReply,
        ctx: &mut Ctx<'_, ExecutorMessage>,
    ) -> Flow {
        let step = |fuel: u64| {
            let nodes = usize::try_from(fuel / TRIE_FUEL_PER_NODE).unwrap_or(usize::MAX);
            match rewind.step(nodes.clamp(1, TRIE_NODES_PER_SLICE)).transpose() {
                None => Step::More { used: fuel },
                Some(done) => Step::Done(done),
            }
        };
        let turn: Turn<Result<Tip, StateError>> = slices(ctx, SLICE_GAS, step, |_| None);
        match turn {
            Turn::Spent => {
                self.work = Work::Branching(rewind, reply);
                return Flow::More;
            }
            Turn::Offload(_) => unreachable!("no code runs on the way back"),
            Turn::Done(Ok(tip)) => {
                reply.send(Ok(Some(Reverted::to(&tip))));
                self.branch = Some(tip);
            }
            Turn::Done(Err(error)) => reply.send(Err(error.into())),
        }
        Flow::Next
    }

    /// Builds `blocks` on the branch.
    pub(super) fn reorg(
        &mut self,
        blocks: Vec<BlockPlan>,
        reply: Reply<Result<Reverted, ExecError>>,
        ctx: &mut Ctx<'_, ExecutorMessage>,
    ) -> Flow {
        let Some(tip) = self.branch.take() else {
            let error = ExecError::Internal("no branch was begun".to_owned());
            reply.send(Err(error));
            return Flow::Next;
        };
        let (plans, kept) = (blocks.into_iter(), tip.height());
        let built = Vec::new();
        self.go_on(Box::new(Reorg { kept, tip, plans, built, bytes: 0, reply }), ctx)
    }

    /// A block of the branch is built, or cannot be.
    pub(super) fn built_on_branch(
        &mut self,
        mut reorg: Box<Reorg>,
        result: Result<BlockOutcome, ExecError>,
        ctx: &mut Ctx<'_, ExecutorMessage>,
    ) -> Flow {
        let pushed = result.and_then(|outcome| match outcome {
            BlockOutcome::Executed(block) => reorg.push(block),
            BlockOutcome::Empty => unreachable!("a planned block may be empty"),
        });
        if let Err(error) = pushed {
            reorg.reply.send(Err(error));
            return Flow::Next;
        }
        self.go_on(reorg, ctx)
    }

    /// Begins the next block; after the last one, hands all over.
    fn go_on(&mut self, mut reorg: Box<Reorg>, ctx: &mut Ctx<'_, ExecutorMessage>) -> Flow {
        match reorg.next(&self.spec, &self.limits) {
            Some(Ok(run)) => return self.begin(Ok(run), Purpose::Reorg(reorg)),
            Some(Err(error)) => {
                reorg.reply.send(Err(error));
                return Flow::Next;
            }
            None => {}
        }
        let blocks = reorg.built.iter().map(|built| Arc::clone(&built.executed)).collect();
        let (told, answer) = reply();
        let Reorg { kept, bytes: size_bytes, .. } = *reorg;
        let message = WriterMessage::Reorg { kept, blocks, size_bytes, reply: told };
        // Parked until the answer comes in any case, which is behind the message.
        let _until_sent = self.ports.writer.send(message, ctx);
        let (ticket, completion) = ctx.ticket();
        let slot = wait_for(ctx.system(), answer, completion);
        self.work = Work::Reverting(slot, Waits::Reorg(reorg));
        Flow::Park(ticket)
    }

    /// The writer has written all, or cannot.
    pub(super) fn reorged(&mut self, slot: Slot<Option<Tip>>, reorg: Reorg) {
        let Reorg { built, reply, .. } = reorg;
        reply.send(match slot.take() {
            Some(Some(tip)) => {
                let reverted = Reverted::to(&tip);
                self.executed.clear();
                self.tip = Some(tip);
                if let Some(shadow) = &self.ports.shadow {
                    // It drops the oldest when it is behind, and has its own restarts.
                    for block in built {
                        drop(shadow.send(block));
                    }
                }
                Ok(reverted)
            }
            Some(None) => Err(ExecError::Internal("the block to be kept is gone".to_owned())),
            None => Err(ExecError::WriterGone),
        });
    }
}
