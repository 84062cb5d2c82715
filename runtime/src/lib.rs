//! Runs many small processes fairly, for real or simulated.
//!
//! A [`System`] carries every process of a node: sync actors ([`Actor`]) for everything hot, async
//! processes for the edges. Both live in one kind of cell, are sent messages through bounded
//! mailboxes, and spend a quantum of *reductions* per turn; classes share a busy machine by weight.
//! [`System::threads`] runs them on work-stealing threads, [`System::inline`] on the caller's
//! thread, [`System::simulated`] there too, but in virtual time, where one seed always does the
//! same, with the faults of clocks, networks, disks and nodes.
//!
//! This crate is the clock and entropy door: nothing else reads clocks, starts threads or draws
//! numbers that a seed does not determine.

mod actor;
mod address;
mod budget;
mod cell;
mod class;
mod compute;
mod ctx;
mod dead_letters;
mod doors;
mod entropy;
mod histogram;
mod inline;
pub mod limits;
mod mailbox;
mod message;
mod park;
mod process;
mod processes;
mod published;
mod queue;
mod registry;
mod reply;
mod scheduler;
mod share;
#[cfg(all(test, evenkeel_shuttle))]
mod shuttle_tests;
mod simulated;
mod single;
mod slab;
mod slow_turns;
mod spans;
mod status;
mod stop;
mod stream;
mod supervision;
mod sync;
mod system;
mod threads;
mod ticket;
mod time;
mod timers;
mod versions;

pub use self::{
    actor::{Actor, Flow},
    address::{Address, Port},
    budget::{checkpoint, consume, left, yield_now},
    class::Class,
    compute::{JobHandle, Panicked, Yielder},
    ctx::Ctx,
    dead_letters::{DeadLetter, DeadReason},
    entropy::Entropy,
    histogram::Histogram,
    inline::Inline,
    mailbox::{Mailbox, MailboxSpec, Overflow, SendError, Undelivered},
    message::Message,
    process::{ActorHandle, Inbox, TaskError, TaskHandle},
    processes::{ProcessStatus, Processes},
    published::{Published, Publisher, published},
    reply::{Answer, Lost, Reply, reply},
    share::{Share, Weight},
    simulated::{
        ClockFaults, Disk, DiskError, DiskFaults, Endpoint, Faults, Network, NetworkFaults,
        NetworkStatus, Node, Order, Simulation,
    },
    slow_turns::SlowName,
    status::{ClassStatus, Exit, SlowTurn, StopReason, SystemStatus, cells_live},
    stream::{Credit, NoCredit, ReplyStream, Sink, StreamError, StreamEvent, stream},
    supervision::{
        AtRestart, Backoff, Child, Down, GroupError, Intensity, LookupError, Monitor, NameError,
        Process, Restart, SpawnRefused, Strategy, Supervisor, SupervisorSpec, Told, TooManyBonds,
        Watch, link, unlink, watch,
    },
    system::{Spawn, StartError, System, ThreadsConfig},
    ticket::{Completion, Ticket},
    time::Time,
    timers::TimerId,
    versions::{
        Behaviour, Code, MigrateFrom, NoVersion, PublishError, Unmigrated, UpgradeError, Version,
        VersionReq, VersionedHandle,
    },
};
