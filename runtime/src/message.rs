//! What travels between processes.

/// A message of an actor's protocol. Moved, never shared.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "an address or an actor takes only what implements `Message`",
    note = "write `impl Message for {Self} {{}}`, or send one of the receiver's own messages"
)]
pub trait Message: Send + 'static {
    /// Bytes held beyond the value itself count against the mailbox's byte bound.
    fn size_bytes(&self) -> usize {
        64
    }

    /// Reductions that handling costs before anything is consumed.
    fn cost(&self) -> u32 {
        1
    }

    /// What makes two waiting messages one, in a mailbox with
    /// [`Overflow::Coalesce`](crate::Overflow::Coalesce): the newer replaces the older.
    fn coalesce_key(&self) -> Option<u64> {
        None
    }

    /// Name for spans and statistics.
    fn kind(&self) -> &'static str {
        "message"
    }
}

/// The protocol of a process that takes no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Never {}

impl Message for Never {}
