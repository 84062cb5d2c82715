//! The actors around the machines: one per call, and the one executor.

mod call;
mod turn;

pub use call::{spawn_call, spawn_trace};
