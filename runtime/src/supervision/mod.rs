//! Supervision: who decides what happens when a process fails, and who is told.
//!
//! `machine` decides and knows no process; `actor` carries out what it decides; `handle` is how
//! trees are built; `future` is a child that is a future. `bonds` are monitors and links, `watch`
//! is how they are made, `names` are the registry and the groups.

pub(crate) mod actor;
pub(crate) mod bonds;
mod future;
mod handle;
pub(crate) mod machine;
#[cfg(test)]
mod machine_tests;
pub(crate) mod names;
mod restart;
mod watch;

pub use self::{
    bonds::{Down, Process, TooManyBonds},
    handle::{AtRestart, Child, SpawnRefused, Supervisor, SupervisorSpec},
    machine::{Backoff, Intensity, Strategy},
    names::{GroupError, LookupError, NameError, Told},
    restart::Restart,
    watch::{Monitor, Watch, link, unlink, watch},
};
