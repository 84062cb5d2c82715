//! Speaks Ethereum JSON-RPC over HTTP and WebSocket.
//!
//! Two halves meet in [`Dispatch`](dispatch::Dispatch): the server ([`server`], [`body`],
//! [`envelope`], [`session`], [`client`]) knows bytes, connections and limits, and no method; the
//! methods ([`api`], `methods`) know the chain, and no socket.

pub mod accounts;
mod adapter;
mod answer;
pub mod api;
mod batch;
pub mod body;
pub mod client;
pub mod dispatch;
mod duration;
pub mod envelope;
pub mod error;
pub mod executions;
mod exposition;
pub mod filters;
pub mod flags;
mod groups;
pub mod limits;
mod log_query;
mod methods;
mod params;
pub mod places;
mod position;
mod quota;
mod refusal;
mod render;
pub mod request_log;
pub mod server;
pub mod session;
mod typed_data;

pub use accounts::Accounts;
pub use answer::{Answer, Reply, TextStream};
pub use api::{Api, EngineCall, METHODS, Request, RpcConfig, dispatch};
pub use client::{Client, ClientId, Member};
pub use duration::parse as parse_duration;
pub use error::RpcError;
pub use executions::Executions;
pub use filters::Filters;
pub use flags::Flags;
pub use places::{PlaceGauge, PlaceLimits, Places};
pub use request_log::{LogConfig, LogForm, RequestLog, log_blocks};
pub use server::{Bound, Listeners, ServeError, ServerConfig, bind, serve, serve_on};
pub use session::{Outbox, Session, SubscriptionId};
