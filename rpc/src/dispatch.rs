//! What the server needs of whoever answers the calls, and what an operator may set of the server.

use std::{sync::Arc, time::Duration};

use crate::{
    answer::Answer,
    api::Request,
    envelope::EnvelopeLimits,
    error::RpcError,
    limits::{BODY_READ_MAX, IDLE_MAX, PING_EVERY, WRITE_STALL_MAX},
    places::PlaceGauge,
};

/// Answers decoded requests: [`Api`](crate::api::Api), and the echo of the tests.
pub trait Dispatch: Send + Sync + 'static {
    /// Limits and switches of the server in front, read once when it starts.
    fn rules(&self) -> Rules;

    /// How many executions there are now, for who asks for metrics.
    fn executions(&self) -> PlaceGauge;

    /// Answers one request. Never panics; dropping the future cancels the work.
    fn dispatch(
        self: &Arc<Self>,
        request: Request<'_>,
    ) -> impl Future<Output = Result<Answer, RpcError>> + Send;
}

/// Limits and switches of a server.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Limits of one body.
    pub body: BodyLimits,
    /// Open connections; one more is told 503 and closed.
    pub connections_max: usize,
    /// Origins browsers may call from (`*`: any); `None`: requests of browsers are refused.
    pub cors: Option<Vec<String>>,
    /// How long a peer may keep us waiting.
    pub patience: Patience,
}

/// What one body may cost.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// On the way in.
    pub envelope: EnvelopeLimits,
    /// On the way out, in bytes.
    pub response_bytes_max: usize,
    /// All answers together, from their end until they are written, in bytes. Not less than
    /// `response_bytes_max`.
    pub answers_bytes_max: usize,
}

/// How long a peer may keep us waiting.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a whole request head, from the connection's start or the last answer.
    pub idle_max: Duration,
    /// For a whole request body, from its head.
    pub body_read_max: Duration,
    /// While it takes none of the bytes that wait for it.
    pub write_stall_max: Duration,
    /// Between two pings of a WebSocket; one that is not heard of in between is closed.
    pub ping_every: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            idle_max: IDLE_MAX,
            body_read_max: BODY_READ_MAX,
            write_stall_max: WRITE_STALL_MAX,
            ping_every: PING_EVERY,
        }
    }
}
