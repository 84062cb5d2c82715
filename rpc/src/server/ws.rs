//! WebSocket, and the conversation that IPC has in common with it: requests are worked at the same
//! time, answers and notifications share one queue.
//!
//! One process per connection, with two halves: the reader starts a process per message and queues
//! the answers as they are ready (in any order, as the protocol allows); the writer (`writer.rs`)
//! empties the queue and pings. Whichever ends first ends the other, all calls and all
//! subscriptions.
//!
//! # Invariants
//!
//! - W1: at most [`SOCKET_CALLS_MAX`] calls, with bodies of no more than twice the body limit in
//!   all, are worked at once; beyond that nothing is read. An answer that is streamed is worked
//!   until it is sent; what its batch has left of the body then is in the quota of all bodies.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use evenkeel_runtime::{Class, Spawn, System, checkpoint};
use futures_util::{
    FutureExt, Sink, SinkExt, Stream, StreamExt, future::select, stream::FuturesUnordered,
};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{
        CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
        UPGRADE,
    },
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as WsError, Message, Utf8Bytes,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{
    answer::Outgoing,
    body::{self, Calls, Owned},
    client::{Client, Member},
    dispatch::Dispatch,
    envelope::Refused,
    error::RpcError,
    limits::{BODY_FREE_BYTES, CLOSE_MAX, SOCKET_CALLS_MAX},
    quota::{Quota, Taken},
    server::{
        http::{BODIES_FULL, Door, Visit, member, plain},
        out::Out,
        wire::Phase,
        writer::{Pulse, Writer},
    },
    session::{Closed, Line, Session},
};

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// True if the client wants to speak WebSocket.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers.get(UPGRADE), "websocket") && has_token(headers.get(CONNECTION), "upgrade")
}

fn has_token(value: Option<&HeaderValue>, token: &str) -> bool {
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Agrees to the upgrade and starts the process that takes the connection over.
pub(super) fn upgrade<D: Dispatch>(
    visit: &Arc<Visit<D>>,
    mut request: Request<Incoming>,
) -> Response<Out> {
    let headers = request.headers();
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut answer = plain(StatusCode::UPGRADE_REQUIRED);
        answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return answer;
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .expect("base64 is a header value");
    let client = member(visit, headers);

    let upgraded = hyper::upgrade::on(&mut request);
    let spawn = Spawn::new("websocket", Class::Rpc).share(client.share.clone());
    let visit = Arc::clone(visit);
    visit.gauge.set(Phase::Upgraded);
    let system = visit.door.system.clone();
    let taken_over = system.spawn_future(spawn, async move {
        if let Ok(upgraded) = upgraded.await {
            serve(&visit.door, client, upgraded).await;
        }
    });
    // Dropping the handle lets the process go on by itself.
    drop(taken_over);

    let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    answer
}

/// Ends the subscriptions however the connection's process ends (S3).
struct Hold(Arc<Line>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn serve<D: Dispatch>(door: &Door<D>, client: Member, io: Upgraded) {
    let bytes_max = door.calls.limits().envelope.bytes_max;
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(32 * 1024)
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max));
    let socket: Socket =
        WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(config)).await;
    let (mut sink, mut stream) = socket.split();
    let ping_every = Some(door.patience.ping_every);
    let farewell = converse(door, client, (&mut sink, &mut stream), ping_every).await;
    if let Some((code, reason)) = farewell {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let deadline = door.system.now().saturating_add(CLOSE_MAX);
        let closing = pin!(sink.send(Message::Close(Some(frame))));
        // The peer may be the very one that does not read: it gets a moment, no more.
        drop(select(closing, pin!(door.system.sleep_until(deadline))).await);
    }
}

/// Works what comes over a connection until either side ends it. Without pings its peer may be
/// silent for ever.
pub(super) async fn converse<D, W, R>(
    door: &Door<D>,
    client: Member,
    (sink, stream): (&mut W, &mut R),
    ping_every: Option<Duration>,
) -> Farewell
where
    D: Dispatch,
    W: Sink<Message, Error = WsError> + Unpin,
    R: Stream<Item = Result<Message, WsError>> + Unpin,
{
    let Door { calls, system, bodies, .. } = door;
    let number = door.sockets.fetch_add(1, Ordering::Relaxed);
    let ids = system.entropy(&format!("subscriptions of socket {number}"));
    let line = Line::new(system.clone(), client.share.clone(), ids, door.outboxes.clone());
    let hold = Hold(Arc::clone(&line));
    let pulse = Pulse::new(ping_every);
    let farewell = {
        let reader = Reader { calls, system, client, line: &line, pulse: &pulse, bodies };
        let reading = pin!(reader.run(stream));
        let writing = pin!(Writer::new(sink, system, (&line, &pulse)).run());
        select(reading, writing).await.factor_first().0
    };
    drop(hold);
    farewell
}

/// How we take leave, if the peer is to be told.
pub(super) type Farewell = Option<(CloseCode, &'static str)>;

struct Reader<'a, D> {
    calls: &'a Calls<D>,
    system: &'a System,
    client: Member,
    line: &'a Arc<Line>,
    pulse: &'a Pulse,
    bodies: &'a Quota,
}

/// A call that has been worked.
struct Worked {
    bytes: usize,
    session: Session,
    answer: Option<Outgoing>,
    held: Option<Taken>,
}

enum Step {
    Came(Option<Result<Message, WsError>>),
    Worked(Worked),
}

impl<D: Dispatch> Reader<'_, D> {
    async fn run<S>(&self, stream: &mut S) -> Farewell
    where
        S: Stream<Item = Result<Message, WsError>> + Unpin,
    {
        let bytes_max = self.calls.limits().envelope.bytes_max;
        let mut working = FuturesUnordered::new();
        let mut bytes_working = 0_usize;
        loop {
            // A peer that sends without pause would otherwise keep the worker to itself.
            checkpoint().await;
            let step = poll_fn(|cx| {
                if let Poll::Ready(Some(worked)) = working.poll_next_unpin(cx) {
                    return Poll::Ready(Step::Worked(worked));
                }
                // W1: what is read next has at most `bytes_max` itself.
                let count = working.len() + self.line.streams(cx.waker());
                let is_open = count < SOCKET_CALLS_MAX && bytes_working <= bytes_max;
                self.pulse.listens(is_open);
                if is_open { stream.poll_next_unpin(cx).map(Step::Came) } else { Poll::Pending }
            })
            .await;
            self.pulse.heard();

            let body = match step {
                Step::Worked(worked) => {
                    bytes_working -= worked.bytes;
                    if self.deliver(worked).await.is_err() {
                        return None;
                    }
                    continue;
                }
                Step::Came(Some(Ok(Message::Text(text)))) => Bytes::from(text),
                Step::Came(Some(Ok(Message::Binary(bytes)))) => bytes,
                // Pongs are queued by the library when it reads a ping.
                Step::Came(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {
                    continue;
                }
                Step::Came(Some(Err(error))) => return farewell(&error),
                Step::Came(None | Some(Ok(Message::Close(_)))) => return None,
            };
            let held = match body.len() {
                0..=BODY_FREE_BYTES => None,
                length => match self.bodies.take(length) {
                    Some(held) => Some(held),
                    None if self.refuse().await.is_err() => return None,
                    None => continue,
                },
            };
            bytes_working += body.len();
            working.push(self.start(body, held));
        }
    }

    /// Works one message in a process of its own.
    fn start(&self, body: Bytes, held: Option<Taken>) -> impl Future<Output = Worked> + use<D> {
        let client = Client::new(&self.client, self.system.now());
        let session = Session::new(Arc::clone(self.line));
        let (calls, here, bytes) = (self.calls.clone(), session.clone(), body.len());
        let spawn = Spawn::new("request", Class::Rpc).share(client.share.clone());
        let system = self.system.clone();
        let task = Owned::new(self.system.spawn_future(spawn, async move {
            let reply = calls.serve(&client, Some(&here), body).await?;
            Some(reply.into_outgoing(&system).await)
        }));
        task.map(move |answer| {
            // After a panic the id is lost with the call.
            let lost = || Some(Outgoing::Whole(refusal(body::internal_error())));
            let answer = answer.unwrap_or_else(|_| lost());
            Worked { bytes, session, answer, held }
        })
    }

    /// Tells the client that its message is not worked now.
    async fn refuse(&self) -> Result<(), Closed> {
        self.line.push(Outgoing::Whole(refusal(RpcError::limit(BODIES_FULL)))).await
    }

    async fn deliver(&self, worked: Worked) -> Result<(), Closed> {
        let Worked { session, answer, held, .. } = worked;
        match answer {
            // A batch starts its subscriptions when it ends.
            Some(Outgoing::Streamed(mut streamed)) => {
                streamed.rest.keep_body(held);
                return self.line.push(Outgoing::Streamed(streamed)).await;
            }
            Some(whole) => self.line.push(whole).await?,
            None => {}
        }
        session.release();
        Ok(())
    }
}

/// An answer to a message whose id is not known.
pub(super) fn refusal(error: RpcError) -> Bytes {
    Bytes::from(Refused { id: None, error, is_array: false }.render())
}

/// What a broken protocol is told (RFC 6455, 7.4.1).
fn farewell(error: &WsError) -> Farewell {
    match error {
        WsError::Capacity(_) => Some((CloseCode::Size, "message too big")),
        WsError::Protocol(_) => Some((CloseCode::Protocol, "protocol error")),
        WsError::Utf8(_) => Some((CloseCode::Invalid, "not UTF-8")),
        _ => None,
    }
}
