//! How the executor hands work to the writer, in order over all of its lives.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use evenkeel_runtime::{
    Address, Class, Completion, Ctx, Flow, SendError, Spawn, TaskHandle, reply,
};
use evenkeel_state::{Tip, WriterMessage};

use super::{
    message::ExecutorMessage,
    slot::{Slot, slot},
};

/// The way to the writer. A clone is for the next life: what the last one had begun to hand over
/// comes before all of its own.
#[derive(Clone)]
pub struct Writing {
    writer: Address<WriterMessage>,
    /// A message that waits for room in the writer's mailbox.
    handing_over: Arc<Mutex<Option<TaskHandle<()>>>>,
}

impl Writing {
    /// To `writer`.
    #[must_use]
    pub fn new(writer: Address<WriterMessage>) -> Self {
        Self { writer, handing_over: Arc::default() }
    }

    /// Sends to the writer. While its mailbox has no room the executor takes no message, so it runs
    /// ahead of the disk by that much at most, and what it has done is never lost.
    pub(super) fn send(&self, message: WriterMessage, ctx: &mut Ctx<'_, ExecutorMessage>) -> Flow {
        let message = match self.writer.send(message) {
            // One that is gone loses the answer, which tells who waits; the node is going down.
            Ok(()) | Err(SendError::Closed(_)) => return Flow::Next,
            Err(SendError::Full(message)) => message,
        };
        let (ticket, completion) = ctx.ticket();
        let writer = self.writer.clone();
        self.hand_over(ctx, async move {
            let _has_come = writer.send_when_room(message).await;
            completion.complete();
        });
        Flow::Park(ticket)
    }

    /// Asks for the tip behind all that former lives have sent; in the slot when all of that is
    /// durable, which stays empty if the writer is gone.
    pub(super) fn ask_tip(
        &self,
        completion: Completion,
        ctx: &Ctx<'_, ExecutorMessage>,
    ) -> Slot<Tip> {
        let (slot, fill) = slot(completion);
        let (writer, former) = (self.writer.clone(), self.take());
        let (reply, answer) = reply();
        // The answer is another process's affair: only the question has to keep its place.
        self.hand_over(ctx, async move {
            if let Some(former) = former {
                let _has_come = former.await;
            }
            let _has_come = writer.send_when_room(WriterMessage::Tip { reply }).await;
        });
        let wait = async move {
            if let Ok(tip) = answer.await {
                fill.fill(tip);
            }
        };
        drop(ctx.system().spawn_future(Spawn::new("executor-wait", Class::Exec), wait));
        slot
    }

    fn hand_over(
        &self,
        ctx: &Ctx<'_, ExecutorMessage>,
        handing: impl Future<Output = ()> + Send + 'static,
    ) {
        let handing = ctx.system().spawn_future(Spawn::new("executor-wait", Class::Exec), handing);
        *self.handing_over.lock().unwrap_or_else(PoisonError::into_inner) = Some(handing);
    }

    fn take(&self) -> Option<TaskHandle<()>> {
        self.handing_over.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
