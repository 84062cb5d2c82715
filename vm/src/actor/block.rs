//! A block by itself as an actor, class exec, gone when it has answered.
//!
//! It takes no messages. For who has blocks and no executor: an import, tests.

use evenkeel_runtime::{
    Actor, Class, Ctx, Exit, Flow, MailboxSpec, Message, Overflow, Reply, Spawn, System, reply,
    watch,
};

use super::block_work::{BlockWork, Worked, offload};
use crate::block::{BlockOutcome, BlockRun, ExecError};

/// Nobody sends to it.
const MAILBOX: MailboxSpec =
    MailboxSpec { name: "block", items_max: 1, bytes_max: 0, overflow: Overflow::Reject };

/// Starts the execution of `run` as an actor of class exec, which works as the executor does; in
/// slices of at most `slice_gas` gas (at least 1), if those of the executor are longer.
///
/// Dropping what is returned ends it at its next turn.
///
/// # Errors
///
/// What the block breaks; [`ExecError::Internal`] if the execution panicked, with the text, or was
/// ended from outside.
pub fn spawn_block(
    system: &System,
    run: BlockRun,
    slice_gas: u64,
) -> impl Future<Output = Result<BlockOutcome, ExecError>> + Send + use<> {
    let (reply, answer) = reply();
    let work = BlockWork::new(run, reply).in_slices_of(slice_gas);
    let spawn = Spawn::new("block", Class::Exec);
    let address = system.spawn_once(spawn, MAILBOX, Block { work: Some(work) });
    let end = watch(&address);
    async move {
        if let Ok(result) = answer.await {
            return result;
        }
        let exit = match end {
            Ok(end) => Some(end.await.exit),
            Err(_) => None,
        };
        Err(ExecError::Internal(match exit {
            Some(Exit::Panicked(reason)) => format!("the execution panicked: {reason}"),
            Some(
                Exit::Stopped
                | Exit::Killed
                | Exit::Unreachable
                | Exit::Linked { .. }
                | Exit::NoProcess,
            )
            | None => "the execution was ended".to_owned(),
        }))
    }
}

enum Never {}

impl Message for Never {}

struct Block {
    /// Taken when it is over.
    work: Option<BlockWork<Reply<Result<BlockOutcome, ExecError>>>>,
}

impl Actor for Block {
    type Message = Never;

    fn start(&mut self, ctx: &mut Ctx<'_, Never>) -> Flow {
        self.resume(ctx)
    }

    fn handle(&mut self, message: Never, _ctx: &mut Ctx<'_, Never>) -> Flow {
        match message {}
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Never>) -> Flow {
        let Some(work) = self.work.take().filter(|work| !work.purpose().is_cancelled()) else {
            return Flow::Stop;
        };
        match work.turn(ctx, offload) {
            Worked::Again(work, flow) => {
                self.work = Some(work);
                flow
            }
            Worked::Done(_run, reply, result) => {
                reply.send(result);
                Flow::Stop
            }
        }
    }
}
