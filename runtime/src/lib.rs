//! Runs many small processes fairly: on threads, or simulated with virtual time and a seed.
//!
//! A [`System`] owns processes (sync [`Actor`]s and async futures on one kind of cell), bounded
//! mailboxes, timers, pools and supervision. Scheduling is by class and reductions:
//! `docs/semantics.md` says what is guaranteed. All nondeterminism enters through its doors.

mod actor;
mod address;
mod budget;
mod cell;
mod class;
mod compute;
mod ctx;
mod entropy;
pub mod limits;
mod mailbox;
mod message;
mod process;
mod published;
mod registry;
mod reply;
mod restart;
mod scheduler;
mod share;
mod simulated;
mod status;
mod stop;
mod stream;
mod system;
mod threads;
mod ticket;
mod time;
mod timers;

pub use actor::{Actor, Flow};
pub use address::{Address, Port};
pub use budget::{checkpoint, consume, left, yield_now};
pub use class::Class;
pub use compute::{JobHandle, Panicked, Yielder};
pub use ctx::Ctx;
pub use entropy::Entropy;
pub use mailbox::{Mailbox, MailboxSpec, Overflow, SendError, Undelivered};
pub use message::Message;
pub use process::{ActorHandle, Inbox, TaskError, TaskHandle};
pub use published::{Published, Publisher, published};
pub use reply::{Answer, Lost, Reply, reply};
pub use restart::Restart;
pub use share::Share;
pub use simulated::{Faults, Order, Simulation};
pub use status::{ClassStatus, Exit, SlowTurn, StopReason, SystemStatus};
pub use stream::{Credit, NoCredit, ReplyStream, Sink, StreamError, StreamEvent, stream};
pub use system::{Spawn, StartError, System, ThreadsConfig};
pub use ticket::{Completion, Ticket};
pub use time::Time;
pub use timers::TimerId;
