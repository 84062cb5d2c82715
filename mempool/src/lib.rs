//! Admits, orders and evicts pending transactions.
//!
//! [`Pool`] is the machine; [`PoolActor`] runs it, [`Admission`] actors stand before it.

mod actor;
mod admission;
mod best;
mod blobs;
mod checks;
mod config;
mod error;
mod feed;
pub mod limits;
mod machine;
mod message;
mod nonces;

pub use actor::{PoolActor, PoolBoards, PoolPorts};
pub use admission::{Admission, Admissions};
pub use best::{BestIter, BestTxs, PoolContent};
pub use checks::{NextBlock, check_stateless};
pub use config::{AdmissionConfig, Order, PoolConfig, UnknownOrder};
pub use error::PoolError;
pub use feed::PendingFeed;
pub use machine::{AccountState, Accounts, Admitted, Pool, Unreadable};
pub use message::{AdmissionMessage, AdmitReply, PoolMessage, PoolReady, Query, Remove};
