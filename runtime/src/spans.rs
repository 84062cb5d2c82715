//! Spans of turns and messages, for whoever listens at level trace.
//!
//! A turn may cost less than making and dropping a disabled span: around each message and each turn
//! that added 9 ns to the 21 of a message (`benches/peers`, fanin8). So the level is looked at once
//! a turn, and everything else stands out of the way.

use tracing::level_filters::LevelFilter;

use crate::cell::Header;

/// True if somebody listens.
#[inline]
pub(crate) fn is_on() -> bool {
    LevelFilter::current() == LevelFilter::TRACE
}

/// Runs a turn of this process in its span.
#[cold]
#[inline(never)]
pub(crate) fn of_turn<R>(header: &Header, run: impl FnOnce() -> R) -> R {
    let identity = header.identity();
    let (actor, id, class) = (identity.name, identity.id, identity.class.name());
    tracing::trace_span!("turn", actor, id, class).in_scope(run)
}

/// Handles a message of this kind in its span.
#[cold]
#[inline(never)]
pub(crate) fn of_message<R>(kind: &'static str, handle: impl FnOnce() -> R) -> R {
    tracing::trace_span!("message", kind).in_scope(handle)
}
