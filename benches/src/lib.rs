//! What the measuring programs share: a JSON-RPC client, a `newHeads` listener, node processes,
//! signed transfers, hostile bytecode and percentiles.
//!
//! The programs are in `src/bin`; each answers one question about a running node, ours or a peer,
//! and asks it only through its public interface. Real clocks, threads and sockets are the point
//! here, so this crate does not go through `runtime`.
#![allow(clippy::disallowed_methods, reason = "measures real time with real threads")]

pub mod bytecode;
pub mod heads;
pub mod http;
pub mod limits;
pub mod node;
pub mod programs;
pub mod random;
pub mod report;
pub mod spam;
pub mod stats;
pub mod targets;
pub mod transfers;
