//! Wires the processes of a node: the same topology on real threads and in the simulator.
//!
//! [`topology`] declares every process; [`wire`] makes their mailboxes, connects the ports and
//! spawns them; [`Config`] is what one process of the node may be told.

mod config;
pub mod topology;
mod wire;

pub use config::Config;
pub use wire::{Node, StartError, start};
