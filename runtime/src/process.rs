//! Async processes: futures in the same cell as actors, polled under the class's budget.

use std::{
    cell::Cell,
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    address::Address,
    budget,
    cell::{self, Body, Order, Task, Turn, Verdict, WeakTask, quietly, said_by},
    message::Message,
    reply::{Answer, Lost, Reply, reply},
    spans,
    status::Exit,
    sync::coarse::thread_local,
};

/// A future with what is to be done when it ends.
pub(crate) struct FutureBody<F: Future, D> {
    future: Option<Pin<Box<F>>>,
    done: Option<D>,
    /// Polled once more when asked to stop, so that an async actor sees its mailbox closed.
    has_farewell: bool,
    is_suspended: bool,
}

impl<F: Future, D> FutureBody<F, D> {
    pub(crate) fn new(future: F, done: D, has_farewell: bool) -> Self {
        let future = Some(Box::pin(future));
        Self { future, done: Some(done), has_farewell, is_suspended: false }
    }
}

thread_local! {
    /// The running future has asked for a message, and has got none since.
    static AWAITS_MESSAGE: Cell<bool> = const { Cell::new(false) };
}

impl<M, F, D> Body<M> for FutureBody<F, D>
where
    M: Message,
    F: Future + Send + 'static,
    D: FnOnce(Result<F::Output, TaskError>) + Send + 'static,
{
    fn turn(&mut self, turn: &Turn<'_, M>) -> Verdict {
        while let Some(order) = turn.header().next_order() {
            match order {
                Order::Suspend => self.is_suspended = true,
                Order::Resume => self.is_suspended = false,
                Order::Broken(exit) => return Verdict::Done(exit),
                Order::Kill | Order::End => return Verdict::Done(Exit::Killed),
                Order::Visit(visit) => visit(None),
                Order::Halt | Order::Begin => {
                    unreachable!("lives are ordered by supervisors, and this one has no factory")
                }
            }
        }
        let is_stopping = turn.header().is_stopping();
        if is_stopping && !self.has_farewell {
            return Verdict::Done(Exit::Stopped);
        }
        if self.is_suspended && !is_stopping {
            return Verdict::Parked;
        }
        let Some(future) = &mut self.future else {
            return Verdict::Done(Exit::Stopped);
        };
        match poll_once(turn, |cx| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) if is_stopping => Verdict::Done(Exit::Stopped),
            Ok(Poll::Pending) => pending(),
            Ok(Poll::Ready(output)) => {
                if let Some(done) = self.done.take() {
                    // If nobody waits for it, the output is dropped.
                    quietly(|| done(Ok(output)));
                }
                Verdict::Done(Exit::Stopped)
            }
            Err(reason) => {
                if let Some(done) = self.done.take() {
                    quietly(|| done(Err(TaskError::Panicked(reason.clone()))));
                }
                Verdict::Done(Exit::Panicked(reason))
            }
        }
    }
}

/// Polls a future of this process, in its turn; or counts the panic, and says what it said.
pub(crate) fn poll_once<M: Message, T>(
    turn: &Turn<'_, M>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
) -> Result<Poll<T>, String> {
    let waker = turn.me().task().waker();
    let mut cx = Context::from_waker(&waker);
    budget::consume(1);
    AWAITS_MESSAGE.with(|awaits| awaits.set(false));
    let poll = AssertUnwindSafe(|| poll(&mut cx));
    let polled = if spans::is_on() {
        spans::of_turn(turn.header(), || catch_unwind(poll))
    } else {
        catch_unwind(poll)
    };
    polled.map_err(|payload| {
        let reason = said_by(payload);
        let header = turn.header();
        tracing::error!(name = header.identity().name, reason, "a process panicked");
        header.system.count_panic();
        reason
    })
}

/// What a future waits for that was polled in this turn.
pub(crate) fn pending() -> Verdict {
    Verdict::Pending { takes_messages: AWAITS_MESSAGE.with(Cell::get) }
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

impl<T> TaskHandle<T> {
    pub(crate) const fn task(&self) -> &Task {
        &self.process
    }
}

impl<T: Send> TaskHandle<T> {
    pub(crate) fn pair() -> (Reply<Outcome<T>>, Answer<Outcome<T>>) {
        reply()
    }

    pub(crate) const fn new(process: Task, answer: Answer<Outcome<T>>) -> Self {
        Self { process, answer }
    }

    /// Drops the future before its next poll.
    pub fn abort(&self) {
        self.process.stop();
    }

    /// True once the process has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.process.is_done()
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

    pub(crate) const fn task(&self) -> &Task {
        &self.process
    }

    /// Number of the process, unique within its system.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.process.identity().id
    }

    /// Name it was spawned with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.process.identity().name
    }

    /// Refuses new messages, lets the process handle what waits, and ends it. Long work is not
    /// continued.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// Lets the process take no message and do no work from its next turn on, until
    /// [`ActorHandle::resume`] or a stop.
    pub fn suspend(&self) {
        self.process.order(Order::Suspend);
    }

    /// Ends [`ActorHandle::suspend`].
    pub fn resume(&self) {
        self.process.order(Order::Resume);
    }

    /// Ends the process at its next turn; what waits for it is dropped. Under a supervisor it ends
    /// its present life, as a panic does, and the supervisor decides.
    pub fn kill(&self) {
        self.process.order(Order::Kill);
    }

    /// True once the process has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.process.is_done()
    }

    /// Answers when the process ends.
    pub fn exited(&self) -> Answer<Exit> {
        let (telling, answer) = reply();
        self.process.on_exit(telling);
        answer
    }
}

impl fmt::Debug for ActorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorHandle").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

/// The receiving end of an async actor. Only the actor itself reads it.
pub struct Inbox<M: Message> {
    /// Weak, because the cell holds the future that holds this.
    cell: WeakTask,
    _messages: PhantomData<fn() -> M>,
}

impl<M: Message> Inbox<M> {
    pub(crate) fn new(address: &Address<M>) -> Self {
        Self { cell: address.task().downgrade(), _messages: PhantomData }
    }

    /// The next message; `None` once the actor is to stop and nothing waits any more.
    ///
    /// Charges the message's cost, and yields when the turn's quantum is used up.
    ///
    /// # Panics
    ///
    /// Outside of the actor it was made for.
    pub async fn recv(&mut self) -> Option<M> {
        if budget::is_running() && budget::left() == 0 {
            budget::yield_now().await;
        }
        poll_fn(|_| {
            let Some(me) = self.me() else {
                return Poll::Ready(None);
            };
            // The queue wakes the process by itself (M3): the waker is not needed.
            if let Some(message) = pop(&me) {
                return Poll::Ready(Some(message));
            }
            if me.task().is_stopping() {
                return Poll::Ready(None);
            }
            AWAITS_MESSAGE.with(|awaits| awaits.set(true));
            Poll::Pending
        })
        .await
    }

    /// A message if one waits.
    ///
    /// # Panics
    ///
    /// As [`Inbox::recv`].
    pub fn try_recv(&mut self) -> Option<M> {
        pop(&self.me()?)
    }

    /// The actor's own address; `None` while it is being dropped.
    #[must_use]
    pub fn me(&self) -> Option<Address<M>> {
        self.cell.upgrade().map(Address::new)
    }
}

/// A message, if one waits: then the future does not wait for one any more.
fn pop<M: Message>(me: &Address<M>) -> Option<M> {
    let message = cell::current_turn(me).pop()?;
    AWAITS_MESSAGE.with(|awaits| awaits.set(false));
    budget::consume_message(message.cost());
    Some(message)
}
