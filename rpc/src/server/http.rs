//! HTTP/1.1: one request at a time per connection, answered where the connection runs.
//!
//! | request | answer |
//! |---|---|
//! | `POST /` | 200, the JSON-RPC answer, in chunks if it is streamed; empty for notifications |
//! | `GET /` with an upgrade | WebSocket |
//! | `GET /`, `/health`, `/ready` | 200, empty |
//! | `GET /metrics` | the figures of scheduler, executions and server for Prometheus |
//! | `OPTIONS` | 200 with the CORS headers |
//! | a page of a foreign origin | 403 |
//! | another path, another method | 404, 405 |
//! | a body over the limit | 413 with a JSON-RPC error |
//! | all bodies together over theirs | 503 with a JSON-RPC error |
//!
//! A client that disconnects while its request is worked drops the future of that request, also
//! when it has already sent more (pipelining). Only behind more than the read buffer holds the end
//! is not seen: then the request runs to its end or its deadline.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::{Bytes, BytesMut};
use evenkeel_runtime::{Class, Spawn, System};
use futures_util::future::{Either, select};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{ALLOW, CONTENT_TYPE, EXPECT, HeaderValue, ORIGIN},
    server::conn::http1,
    service::service_fn,
};
use tokio::net::TcpStream;

use crate::{
    answer::Reply,
    body::Calls,
    client::{Client, ClientKey, Clients, Member},
    dispatch::{Dispatch, Patience},
    envelope::{self, Refused},
    error::RpcError,
    exposition,
    limits::{BODY_FREE_BYTES, DRAIN_BYTES_MAX, HEAD_BYTES_MAX},
    quota::{Quota, Taken},
    server::{
        cors::Cors,
        metrics,
        out::Out,
        wire::{Gauge, Phase, Wire},
        ws,
    },
    session::Outboxes,
};

/// What all connections of a server share.
pub(super) struct Door<D> {
    pub(super) system: System,
    pub(super) calls: Calls<D>,
    pub(super) clients: Clients,
    pub(super) cors: Cors,
    pub(super) bodies: Quota,
    pub(super) outboxes: Outboxes,
    pub(super) connections: Quota,
    pub(super) patience: Patience,
    /// Upgrades so far: each WebSocket names its subscriptions from a stream of its own.
    pub(super) sockets: AtomicU64,
}

/// One connection: who is at its other end, and whose turn it is.
pub(super) struct Visit<D> {
    pub(super) door: Arc<Door<D>>,
    pub(super) remote: SocketAddr,
    pub(super) member: Member,
    pub(super) gauge: Arc<Gauge>,
    /// Counts the connection as open, until its WebSocket is closed too.
    pub(super) _seat: Taken,
}

/// The body did not come in time, or its connection broke.
#[derive(Debug, thiserror::Error)]
#[error("the request body did not arrive")]
struct Unread;

/// What a request is told that finds all memory for bodies taken.
pub(super) const BODIES_FULL: &str = "too many large requests at once";

type Answer = Response<Out>;

/// Serves one connection until it closes.
pub(super) async fn serve<D: Dispatch>(visit: Visit<D>, stream: TcpStream) {
    let wire =
        Wire::new(stream, visit.door.system.clone(), visit.door.patience, Arc::clone(&visit.gauge));
    let visit = Arc::new(visit);
    let service = service_fn(move |request| {
        let visit = Arc::clone(&visit);
        async move {
            visit.gauge.set(Phase::Working);
            let answer = answer(&visit, request).await;
            // An upgrade has set its own, and a streamed answer is owed until it is written.
            let is_settled = answer.as_ref().is_ok_and(|answer| {
                answer.status() == StatusCode::SWITCHING_PROTOCOLS || answer.body().is_streamed()
            });
            if !is_settled {
                visit.gauge.set(Phase::Listening);
            }
            answer
        }
    });
    // Without `pipeline_flush`: it holds back whatever comes before unread bytes, the answer to a
    // malformed request too, and does not call `poll_flush`.
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(wire, service)
        .with_upgrades();
    // Whatever ended it, there is nobody left to tell.
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection ended");
    }
}

async fn answer<D: Dispatch>(
    visit: &Arc<Visit<D>>,
    request: Request<Incoming>,
) -> Result<Answer, Unread> {
    let cors = &visit.door.cors;
    if !cors.allows(request.headers()) {
        return Ok(plain(StatusCode::FORBIDDEN));
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let mut answer = route(visit, request).await?;
    cors.mark(origin, answer.headers_mut());
    Ok(answer)
}

async fn route<D: Dispatch>(
    visit: &Arc<Visit<D>>,
    request: Request<Incoming>,
) -> Result<Answer, Unread> {
    if *request.method() == Method::OPTIONS {
        let mut answer = plain(StatusCode::OK);
        visit.door.cors.mark_preflight(answer.headers_mut());
        return Ok(answer);
    }
    if request.method() == Method::POST {
        if request.uri().path() != "/" {
            return Ok(plain(StatusCode::NOT_FOUND));
        }
        return post(visit, request).await;
    }
    if request.method() == Method::GET && ws::is_upgrade(request.headers()) {
        return Ok(ws::upgrade(visit, request));
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS, POST"));
        return Ok(answer);
    }
    match request.uri().path() {
        "/" | "/health" | "/ready" => Ok(plain(StatusCode::OK)),
        "/metrics" => {
            let text = Bytes::from(metrics::metrics(&visit.door).await);
            Ok(full(StatusCode::OK, exposition::CONTENT_TYPE, text))
        }
        _ => Ok(plain(StatusCode::NOT_FOUND)),
    }
}

async fn post<D: Dispatch>(visit: &Visit<D>, request: Request<Incoming>) -> Result<Answer, Unread> {
    let door = &visit.door;
    let client = client(visit, request.headers());
    // A client that asked first has not sent its body, and reading would tell it to.
    let is_asking = request.headers().contains_key(EXPECT);
    let mut body = request.into_body();
    let (body, held) = match read_body(door, &mut body).await? {
        Ok(read) => read,
        Err((status, error)) => {
            if !is_asking {
                drain(door, body);
            }
            return Ok(refusal(status, error));
        }
    };
    let mut reply = door.calls.serve(&client, None, body).await;
    if let Some(Reply::Streamed(streamed)) = &mut reply {
        streamed.rest.keep_body(held);
    }
    let body = reply.map(|reply| Out::new(reply, &visit.gauge)).unwrap_or_default();
    Ok(json(StatusCode::OK, body))
}

/// Who asks.
pub(super) fn member<D>(visit: &Visit<D>, headers: &HeaderMap) -> Member {
    match headers.get("x-api-key") {
        None => visit.member.clone(),
        Some(key) => {
            let key = ClientKey::new(Some(key.as_bytes()), visit.remote.ip());
            visit.door.clients.member(key)
        }
    }
}

/// Who asks, and since when.
pub(super) fn client<D>(visit: &Visit<D>, headers: &HeaderMap) -> Client {
    let door = &visit.door;
    Client::new(&member(visit, headers), door.system.now())
}

/// The whole body and what it counts, or how it is refused.
async fn read_body<D: Dispatch>(
    door: &Door<D>,
    body: &mut Incoming,
) -> Result<Result<(Bytes, Option<Taken>), (StatusCode, RpcError)>, Unread> {
    let bytes_max = door.calls.limits().envelope.bytes_max;
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        let error = envelope::too_large(announced, bytes_max);
        return Ok(Err((StatusCode::PAYLOAD_TOO_LARGE, error)));
    }
    let read = async {
        let mut held = None;
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unread)?.into_data() else { continue };
            let length = first.len() + whole.len() + data.len();
            if length > bytes_max {
                let error = envelope::too_large(length, bytes_max);
                return Ok(Err((StatusCode::PAYLOAD_TOO_LARGE, error)));
            }
            if length > BODY_FREE_BYTES && !door.bodies.hold(&mut held, length) {
                let error = RpcError::limit(BODIES_FULL);
                return Ok(Err((StatusCode::SERVICE_UNAVAILABLE, error)));
            }
            // Most bodies are one frame, which is taken as it is.
            if whole.is_empty() && first.is_empty() {
                first = data;
                continue;
            }
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&data);
        }
        let bytes = if whole.is_empty() { first } else { whole.freeze() };
        Ok(Ok((bytes, held)))
    };
    let deadline = door.system.now().saturating_add(door.patience.body_read_max);
    let late = door.system.sleep_until(deadline);
    match select(pin!(read), pin!(late)).await {
        Either::Left((read, _)) => read,
        Either::Right(((), _)) => Err(Unread),
    }
}

/// Reads what is left of a refused body, within limits, while the refusal is written.
fn drain<D: Dispatch>(door: &Door<D>, mut body: Incoming) {
    let system = door.system.clone();
    let deadline = system.now().saturating_add(door.patience.body_read_max);
    let drained = door.system.spawn_future(Spawn::new("drain", Class::Rpc), async move {
        let read = async {
            let mut left = DRAIN_BYTES_MAX;
            while let Some(Ok(frame)) = body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        select(pin!(read), pin!(system.sleep_until(deadline))).await;
    });
    // Dropping the handle lets the process go on by itself.
    drop(drained);
}

/// An answer without a body.
pub(super) fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Out::default());
    *answer.status_mut() = status;
    answer
}

fn full(status: StatusCode, content_type: &'static str, body: impl Into<Out>) -> Answer {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn json(status: StatusCode, body: impl Into<Out>) -> Answer {
    full(status, "application/json", body)
}

fn refusal(status: StatusCode, error: RpcError) -> Answer {
    let refused = Refused { id: None, error, is_array: false };
    json(status, Bytes::from(refused.render()))
}
