//! Async processes: futures in the same cell as actors, polled under the class's budget.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

use crate::{
    actor::panic_text,
    address::Address,
    budget,
    cell::{Body, Cell, Task, Verdict},
    mailbox::Letters,
    message::Message,
    reply::{Answer, Lost, Reply, reply},
    status::Exit,
};

/// A future with what is to be done when it ends.
pub(crate) struct FutureBody<F: Future, D> {
    future: Option<Pin<Box<F>>>,
    done: Option<D>,
    /// Polled once more when asked to stop, so that an async actor sees its mailbox closed.
    has_farewell: bool,
}

impl<F: Future, D> FutureBody<F, D> {
    pub(crate) fn new(future: F, done: D, has_farewell: bool) -> Self {
        Self { future: Some(Box::pin(future)), done: Some(done), has_farewell }
    }
}

impl<M, F, D> Body<M> for FutureBody<F, D>
where
    M: Message,
    F: Future + Send,
    D: FnOnce(Result<F::Output, TaskError>) + Send,
{
    fn turn(&mut self, me: &Address<M>, _taken: &mut Letters<M>) -> Verdict {
        let is_stopping = me.cell().header().is_stopping();
        if is_stopping && !self.has_farewell {
            return Verdict::Done(Exit::Stopped);
        }
        let Some(future) = &mut self.future else {
            return Verdict::Done(Exit::Stopped);
        };
        let waker = Waker::from(Arc::clone(me.cell()));
        let mut cx = Context::from_waker(&waker);
        budget::consume(1);
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx))) {
            Ok(Poll::Pending) if is_stopping => Verdict::Done(Exit::Stopped),
            Ok(Poll::Pending) => Verdict::Idle { resumable: false },
            Ok(Poll::Ready(output)) => {
                if let Some(done) = self.done.take() {
                    done(Ok(output));
                }
                Verdict::Done(Exit::Stopped)
            }
            Err(payload) => {
                let reason = panic_text(&*payload);
                let header = me.cell().header();
                tracing::error!(name = header.identity().name, reason, "a process panicked");
                header.system.count_panic();
                if let Some(done) = self.done.take() {
                    done(Err(TaskError::Panicked(reason.clone())));
                }
                Verdict::Done(Exit::Panicked(reason))
            }
        }
    }
}

/// Why an async process gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It panicked with this text.
    #[error("the process panicked: {0}")]
    Panicked(String),
    /// It was aborted, or its system stopped.
    #[error("the process was cancelled")]
    Cancelled,
}

/// An async process that was started. Awaiting it gives its result; dropping it detaches.
pub struct TaskHandle<T> {
    process: Task,
    answer: Answer<Result<T, TaskError>>,
}

type Outcome<T> = Result<T, TaskError>;

impl<T: Send> TaskHandle<T> {
    pub(crate) fn pair() -> (Reply<Outcome<T>>, Answer<Outcome<T>>) {
        reply()
    }

    pub(crate) const fn new(process: Task, answer: Answer<Outcome<T>>) -> Self {
        Self { process, answer }
    }

    /// Drops the future before its next poll.
    pub fn abort(&self) {
        stop(&self.process);
    }

    /// True once the process has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.process.header().is_done()
    }

    /// Blocks the thread until the result is there; for threads outside the system.
    ///
    /// # Errors
    ///
    /// [`TaskError`] if there is none.
    pub fn wait(self) -> Result<T, TaskError> {
        self.answer.wait().unwrap_or(Err(TaskError::Cancelled))
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| match answer {
            Ok(outcome) => outcome,
            Err(Lost) => Err(TaskError::Cancelled),
        })
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").finish_non_exhaustive()
    }
}

/// A process that was spawned. Dropping the handle changes nothing for it.
#[derive(Clone)]
pub struct ActorHandle {
    process: Task,
}

impl ActorHandle {
    pub(crate) const fn new(process: Task) -> Self {
        Self { process }
    }

    /// Number of the process, unique within its system.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.process.header().identity().id
    }

    /// Name it was spawned with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.process.header().identity().name
    }

    /// Refuses new messages, lets the process handle what waits, and ends it. Long work is not
    /// continued.
    pub fn stop(&self) {
        stop(&self.process);
    }

    /// True once the process has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.process.header().is_done()
    }

    /// Answers when the process ends.
    pub fn exited(&self) -> Answer<Exit> {
        let (telling, answer) = reply();
        self.process.header().on_exit(telling);
        answer
    }
}

impl fmt::Debug for ActorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorHandle").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

/// Asks any process to end.
pub(crate) fn stop(process: &Task) {
    process.close();
    process.header().stop();
    Arc::clone(process).wake_up();
}

/// The receiving end of an async actor.
pub struct Inbox<M: Message> {
    /// Weak, because the cell holds the future that holds this.
    cell: Weak<Cell<M>>,
}

impl<M: Message> Inbox<M> {
    pub(crate) fn new(cell: &Arc<Cell<M>>) -> Self {
        Self { cell: Arc::downgrade(cell) }
    }

    /// The next message; `None` once the actor is to stop and nothing waits any more.
    ///
    /// Charges the message's cost, and yields when the turn's quantum is used up.
    pub async fn recv(&mut self) -> Option<M> {
        if budget::is_running() && budget::left() == 0 {
            budget::yield_now().await;
        }
        poll_fn(|_| {
            // The queue wakes the process by itself (M3): the waker is not needed.
            match self.cell.upgrade().map(|cell| cell.queue().take()) {
                Some(Ok(message)) => {
                    budget::consume(message.cost());
                    Poll::Ready(Some(message))
                }
                Some(Err(false)) => Poll::Pending,
                Some(Err(true)) | None => Poll::Ready(None),
            }
        })
        .await
    }

    /// A message if one waits.
    pub fn try_recv(&mut self) -> Option<M> {
        let message = self.cell.upgrade()?.queue().take().ok()?;
        budget::consume(message.cost());
        Some(message)
    }

    /// The actor's own address; `None` while it is being dropped.
    #[must_use]
    pub fn me(&self) -> Option<Address<M>> {
        self.cell.upgrade().map(Address::new)
    }
}
