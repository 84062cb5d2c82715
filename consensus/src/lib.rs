//! Agrees on the next block: the engine interface, and `Solo`, the engine of a chain with one node.
//!
//! Blocks that come from elsewhere find their place in a [`BlockTree`].
//!
//! An [`Engine`] is a pure machine: it is told [`Event`]s and orders [`Effect`]s. The
//! [`Consensus`] actor feeds it and carries its effects out; it knows no protocol.

mod actor;
mod engine;
pub mod limits;
mod solo;
mod tree;

pub use actor::{Consensus, ConsensusMessage, ConsensusPorts, OrderReply, command_port};
pub use engine::{Effect, Engine, Event, Head, Now};
pub use solo::{ConfigError, Mining, Solo, SoloConfig};
pub use tree::{BlockTree, Placed, SealedAncestor, TreeError};
