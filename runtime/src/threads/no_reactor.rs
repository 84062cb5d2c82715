//! In place of the reactor under shuttle, which draws no order for sockets.

use std::io;

use tokio::runtime::Handle;

use crate::sync::coarse::Instant;

/// Waits for nothing.
pub(crate) struct Reactor;

impl Reactor {
    #[expect(clippy::unnecessary_wraps, reason = "as the real one")]
    pub(super) const fn start() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn handle(&self) -> Handle {
        unreachable!("a model has no sockets")
    }

    /// The calling thread may do as before.
    pub(super) const fn enter(&self) -> impl Sized {}

    pub(super) const fn shut_down(&self, _deadline: Instant) {}
}
