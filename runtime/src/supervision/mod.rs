//! Supervision: who decides what happens when a process fails, and who is told.
//!
//! `machine` decides and knows no process; `actor` carries out what it decides; `handle` is how
//! trees are built. `bonds` are monitors and links, `names` the registry and the groups.

pub(crate) mod actor;
pub(crate) mod bonds;
mod handle;
pub(crate) mod machine;
#[cfg(test)]
mod machine_tests;
pub(crate) mod names;
mod restart;

pub use self::{
    bonds::{Down, Monitor, Process, TooManyBonds},
    handle::{AtRestart, Child, SpawnRefused, Supervisor, SupervisorSpec},
    machine::{Backoff, Intensity, Strategy},
    names::{GroupError, LookupError, NameError, Told},
    restart::Restart,
};
