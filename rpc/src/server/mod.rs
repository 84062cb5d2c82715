//! The server: sockets, connections, and who may open how many.
//!
//! The accept loop is a process of class `Net`; every connection is one future of class `Rpc`,
//! charged to its client's share. tokio is used as a reactor only: it never runs a task of ours.

mod cors;
mod http;
mod ipc;
mod listen;
mod metrics;
mod out;
mod wire;
mod writer;
mod ws;

pub use cors::BadOrigin;
pub use listen::{Bound, Listeners, ServeError, ServerConfig, bind, serve, serve_on};

#[cfg(test)]
mod tests;
