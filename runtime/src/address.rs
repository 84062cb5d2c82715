//! Addresses of actors, and ports: addresses in the terms of the crate that sends.

use std::{fmt, sync::Arc};

use crate::{
    cell::Cell,
    mailbox::{SendError, Undelivered},
    message::Message,
};

/// Sending end of a mailbox.
pub struct Address<M: Message>(Arc<Cell<M>>);

impl<M: Message> Address<M> {
    pub(crate) const fn new(cell: Arc<Cell<M>>) -> Self {
        Self(cell)
    }

    pub(crate) const fn cell(&self) -> &Arc<Cell<M>> {
        &self.0
    }

    pub(crate) fn into_cell(self) -> Arc<Cell<M>> {
        self.0
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
        self.0.send(message)
    }

    /// Messages that wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.queue().len()
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
        Self(Arc::clone(&self.0))
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
