//! The server on real loopback sockets, in front of methods made for the purpose.
//!
//! Nothing here sleeps: a test waits for bytes, or for a report of the methods.

mod http;
mod ipc;
mod metrics;
mod peer;
mod ws;

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use evenkeel_runtime::{Answer, Reply, System, ThreadsConfig, reply};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    answer::{self, TextStream},
    api::Request,
    dispatch::{BodyLimits, Dispatch, Patience, Rules},
    envelope::EnvelopeLimits,
    error::RpcError,
    places::PlaceGauge,
    server::{ServerConfig, bind, serve, serve_on},
    session::SubscriptionId,
};

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn rules() -> Rules {
    let envelope = EnvelopeLimits { bytes_max: 8 << 20, batch_max: 1_000, depth_max: 64 };
    Rules {
        body: BodyLimits { envelope, response_bytes_max: 1 << 20, answers_bytes_max: 8 << 20 },
        connections_max: 16,
        cors: Some(vec!["*".to_owned()]),
        patience: Patience::default(),
    }
}

/// Methods that show what the server does with their futures.
///
/// `stream` answers piece by piece; `echo` returns its parameters; `size` a string of so many
/// bytes; `revert` fails with data and a text of so many bytes; `hang` never returns;
/// `wait` returns when `go` is called; `subscribe` counts up to its parameter; `flood` notifies
/// until it is told to stop; `feed` notifies of a long list; `unsubscribe` ends one.
struct Methods {
    rules: Rules,
    called: AtomicUsize,
    /// Tells the test what happened.
    news: Mutex<Sender<News>>,
    go: Mutex<Option<Reply<()>>>,
    wait: Mutex<Option<Answer<()>>>,
}

/// What the methods report.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// A `hang` has begun.
    Hanging,
    /// The future of a `hang`, or of a subscription, was dropped.
    Dropped,
    /// A `flood` was told that the connection is closed.
    Refused,
}

/// Reports that it was dropped.
struct Canary(Sender<News>);

impl Drop for Canary {
    fn drop(&mut self) {
        drop(self.0.send(News::Dropped));
    }
}

impl Dispatch for Methods {
    fn rules(&self) -> Rules {
        self.rules.clone()
    }

    fn executions(&self) -> PlaceGauge {
        PlaceGauge { running: 3, waiting: 2, refused: 1 }
    }

    async fn dispatch(self: &Arc<Self>, request: Request<'_>) -> Result<answer::Answer, RpcError> {
        self.called.fetch_add(1, Ordering::Relaxed);
        if request.method == "stream" {
            let params = request.params.map_or("null", RawValue::get);
            return Ok(answer::Answer::Stream(self.stream(decode(params)?)));
        }
        self.answer(request).await.map(answer::Answer::from)
    }
}

impl Methods {
    /// An array of so many numbers of so many digits, a piece each; then its end (0), an error (1)
    /// or nothing ever (2).
    fn stream(&self, [count, digits, ending]: [usize; 3]) -> TextStream {
        let canary = Canary(self.news.lock().expect("no test panics with it").clone());
        let number = "1".repeat(digits);
        let mut sent = 0;
        TextStream::new(move |_| {
            let _alive = &canary;
            sent += 1;
            let before = if sent == 1 { '[' } else { ',' };
            Poll::Ready(match (sent.cmp(&(count + 1)), ending) {
                (Less, _) => Some(Ok(Bytes::from(format!("{before}{number}")))),
                (Equal, 0) => Some(Ok(Bytes::from("]"))),
                (Equal, 1) => Some(Err(RpcError::server("it broke"))),
                (Greater, 0 | 1) => None,
                _ => return Poll::Pending,
            })
        })
    }

    async fn answer(&self, request: Request<'_>) -> Result<Box<RawValue>, RpcError> {
        let params = request.params.map_or("null", RawValue::get);
        match request.method {
            "echo" => Ok(request.params.map_or_else(|| encode(&()), ToOwned::to_owned)),
            "size" => {
                let [size] = decode::<[usize; 1]>(params)?;
                Ok(encode(&"x".repeat(size - 2)))
            }
            "revert" => {
                let [data, text] = decode::<[usize; 2]>(params)?;
                Err(RpcError::new(3, "x".repeat(text)).with_data(encode(&"x".repeat(data))))
            }
            "hang" => {
                let news = self.news.lock().expect("no test panics with it").clone();
                let _canary = Canary(news.clone());
                drop(news.send(News::Hanging));
                std::future::pending().await
            }
            "wait" => {
                let answer = self.wait.lock().expect("no test panics with it").take();
                let answer = answer.expect("one test waits once");
                answer.await.map_err(|_| RpcError::internal("lost"))?;
                Ok(encode(&"waited"))
            }
            "go" => {
                let reply = self.go.lock().expect("no test panics with it").take();
                reply.expect("one test goes once").send(());
                Ok(encode(&"gone"))
            }
            "subscribe" | "flood" => self.subscribe(request, decode::<[u32; 1]>(params)?[0]),
            "feed" => {
                let session = request.session.expect("it is a WebSocket");
                let text = self.stream([10, 10_000, 0]);
                let id = session.open(move |_, outbox| {
                    let sent = outbox.within("feed").stream(r#"{"list":"#, text);
                    Box::pin(async move { sent.expect("it is open") })
                })?;
                Ok(encode(&id))
            }
            "unsubscribe" => {
                let [id] = decode::<[String; 1]>(params)?;
                let id: SubscriptionId =
                    id.parse().map_err(|_| RpcError::invalid_params("no id"))?;
                Ok(encode(&request.session.is_some_and(|session| session.close(&id))))
            }
            name => Err(RpcError::method_not_found(name)),
        }
    }
}

impl Methods {
    /// Notifies `count` times and then stays, or (`flood`) until the connection is closed.
    fn subscribe(&self, request: Request<'_>, count: u32) -> Result<Box<RawValue>, RpcError> {
        let is_flood = request.method == "flood";
        let Some(session) = request.session else {
            return Err(RpcError::server("notifications not supported"));
        };
        let news = self.news.lock().expect("no test panics with it").clone();
        let id = session.open(move |_, outbox| {
            Box::pin(async move {
                let _canary = Canary(news.clone());
                let ballast = "x".repeat(if is_flood { 4_096 } else { 0 });
                let mut sent = 0_u32;
                while is_flood || sent < count {
                    if outbox.notify(&(sent, &ballast)).is_err() {
                        drop(news.send(News::Refused));
                        return;
                    }
                    sent += 1;
                    evenkeel_runtime::checkpoint().await;
                }
                std::future::pending::<()>().await;
            })
        })?;
        Ok(encode(&id))
    }
}

fn encode(value: &impl serde::Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("the tests return plain data")
}

fn decode<'a, T: serde::Deserialize<'a>>(params: &'a str) -> Result<T, RpcError> {
    serde_json::from_str(params).map_err(|error| RpcError::invalid_params(error.to_string()))
}

/// A server that runs for one test.
struct Bench {
    system: System,
    address: SocketAddr,
    methods: Arc<Methods>,
    news: Receiver<News>,
}

impl Bench {
    fn new(rules: Rules) -> Self {
        Self::with(rules, None)
    }

    /// The same with a Unix socket.
    fn with(rules: Rules, ipc: Option<&Path>) -> Self {
        let config =
            ThreadsConfig { workers: 2, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
        let system = System::threads(config).expect("threads can be started");
        let (sender, news) = channel();
        let (go, wait) = reply();
        let methods = Arc::new(Methods {
            rules,
            called: AtomicUsize::new(0),
            news: Mutex::new(sender),
            go: Mutex::new(Some(go)),
            wait: Mutex::new(Some(wait)),
        });
        let addresses = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let mut listeners = bind(&addresses).expect("a port is free");
        if let Some(path) = ipc {
            listeners = listeners.with_ipc(path).expect("nobody listens there");
        }
        let bound = serve_on(&system, Arc::clone(&methods), listeners).expect("threads");
        Self { system, address: bound.local[0], methods, news }
    }

    /// Waits for what the methods report next.
    fn news(&self) -> News {
        self.news.recv_timeout(PATIENCE).expect("the methods report in time")
    }

    fn called(&self) -> usize {
        self.methods.called.load(Ordering::Relaxed)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.system.stop(Duration::from_secs(5));
    }
}

fn call(id: impl std::fmt::Display, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

fn result(id: impl std::fmt::Display, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn error(id: impl std::fmt::Display, code: i64, text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"}}}}"#)
}

/// Goal: who takes nothing of a streamed answer is given up, and its work ends, over HTTP,
/// WebSocket and IPC.
#[test]
fn who_takes_nothing_of_a_streamed_answer_is_given_up() {
    let path = std::env::temp_dir().join(format!("evenkeel-stall-{}", std::process::id()));
    let patience = Patience { write_stall_max: Duration::from_millis(50), ..Patience::default() };
    let bench = Bench::with(Rules { patience, ..rules() }, Some(&path));
    let endless = call(1, "stream", "[100000000,10000,0]");

    let mut http = peer::Peer::new(bench.address);
    http.send(peer::post(&endless));
    assert_eq!(bench.news(), News::Dropped);

    let mut ws = ws::connect(&bench);
    ws::send(&mut ws, endless.clone());
    assert_eq!(bench.news(), News::Dropped);

    let mut ipc = ipc::connect(&path);
    ipc::send(&mut ipc, &endless);
    assert_eq!(bench.news(), News::Dropped);
}
