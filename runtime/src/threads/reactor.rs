//! The reactor: one thread that waits for sockets and tokio's timers.

use std::{io, sync::PoisonError};

use tokio::runtime::{EnterGuard, Handle};

use super::join_until;
use crate::{
    reply::{Reply, reply},
    sync::coarse::{Builder, Instant, JoinHandle, Mutex},
};

/// The thread that waits for sockets.
pub(crate) struct Reactor {
    handle: Handle,
    /// Dropped to end it.
    end: Mutex<Option<Reply<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Reactor {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = reply::<()>();
        let thread = Builder::new().name("reactor".to_owned()).spawn(move || {
            // Either way the end of the reply is the end of the reactor.
            let _ended = runtime.block_on(ended);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, end: Mutex::new(Some(end)), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Lets the calling thread make and poll what waits for sockets, while it holds this.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    pub(super) fn shut_down(&self, deadline: Instant) {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(end);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            join_until(thread, deadline);
        }
    }
}
