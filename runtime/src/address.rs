//! Addresses of actors, and ports: addresses in the terms of the crate that sends.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    sync::{Arc, atomic::Ordering},
    task::Poll,
};

use crate::{
    cell::Task,
    mailbox::{By, SendError, Undelivered},
    message::Message,
};

/// Sending end of a mailbox. One word; cloning it counts.
pub struct Address<M: Message> {
    task: Task,
    _messages: PhantomData<fn(M)>,
}

impl<M: Message> Address<M> {
    /// Only for cells that take messages of type `M`.
    pub(crate) const fn new(task: Task) -> Self {
        Self { task, _messages: PhantomData }
    }

    #[inline]
    pub(crate) const fn task(&self) -> &Task {
        &self.task
    }

    /// Sends; never waits. Messages of one sender arrive in order.
    ///
    /// A mailbox that drops (`DropNew`, `DropOld`) reports success and counts a dead letter.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if the mailbox is at its bound and rejects, [`SendError::Closed`] if the
    /// process has stopped. Both return the message.
    #[inline]
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        self.put(message)
    }

    /// Sends even if the mailbox is full, for what must not be lost and is bounded by its sender:
    /// it takes no room. False if the process has ended, or its life has ended meanwhile; then the
    /// message is counted as a dead letter.
    pub fn insist(&self, message: M) -> bool {
        let life = self.task.generation.load(Ordering::Acquire);
        self.is_delivered(life, message)
    }

    /// Sends when there is room, for mailboxes that [`Await`](crate::Overflow::Await). Senders that
    /// wait are woken in the order they came.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] if the process has stopped, and [`SendError::Full`] as
    /// [`Address::send`] if the mailbox has another rule. Both return the message.
    pub async fn send_when_room(&self, message: M) -> Result<(), SendError<M>> {
        let mut message = Some(message);
        poll_fn(|cx| {
            let try_send = |message: &mut Option<M>| {
                self.put(message.take().expect("polled until it is sent"))
            };
            let full = match try_send(&mut message) {
                Err(SendError::Full(full)) => full,
                sent => return Poll::Ready(sent),
            };
            let By::Await(room) = self.rule() else {
                return Poll::Ready(Err(SendError::Full(full)));
            };
            message = Some(full);
            room.wait(cx.waker().clone());
            // Room that came between the two is not announced again.
            match try_send(&mut message) {
                Err(SendError::Full(full)) => {
                    message = Some(full);
                    Poll::Pending
                }
                sent => Poll::Ready(sent),
            }
        })
        .await
    }

    /// Messages that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.len()
    }

    /// Bytes that wait, as [`Message::size_bytes`] counts them.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.task.load().bytes
    }

    /// A typed port for a crate which may not know `M`.
    pub fn port<T: Send + 'static>(
        &self,
        wrap: impl Fn(T) -> M + Send + Sync + 'static,
    ) -> Port<T> {
        let address = self.clone();
        Port::new(move |item| address.send(wrap(item)).map_err(|error| error.reason()))
    }
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self::new(self.task.clone())
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

type SendItem<T> = dyn Fn(T) -> Result<(), Undelivered> + Send + Sync;

/// What another crate's actor accepts, in the terms of the crate that sends.
pub struct Port<T>(Arc<SendItem<T>>);

impl<T> Port<T> {
    /// A port that hands items to `send`, which must not wait.
    pub fn new(send: impl Fn(T) -> Result<(), Undelivered> + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// A port that accepts everything and keeps nothing.
    #[must_use]
    pub fn null() -> Self {
        Self::new(|_| Ok(()))
    }

    /// Sends; never waits.
    ///
    /// # Errors
    ///
    /// As [`Address::send`], without the item.
    pub fn send(&self, item: T) -> Result<(), Undelivered> {
        (self.0)(item)
    }
}

impl<T> Clone for Port<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Port<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").finish_non_exhaustive()
    }
}
