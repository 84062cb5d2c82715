//! Subscriptions: order, bounds, and who is thrown out.

use std::time::Duration;

use evenkeel_runtime::{Faults, ThreadsConfig};
use futures_util::FutureExt;

use super::*;
use crate::{
    answer::{Answer, Reply, Streamed, TextStream},
    api::Request,
    body::Calls,
    client::{Client, ClientId, Member},
    dispatch::{BodyLimits, Dispatch, Rules},
    envelope::EnvelopeLimits,
    places::PlaceGauge,
};

fn line() -> (System, Arc<Line>) {
    let config =
        ThreadsConfig { workers: 1, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
    let system = System::threads(config).expect("threads can be started");
    let line = Line::new(system.clone(), Share::new(), system.entropy("test"), Outboxes::default());
    (system, line)
}

/// Goal: S1 by items and by bytes, and that the overrun is final.
#[test]
fn the_queue_is_bounded_and_its_overrun_is_final() {
    for (length, fits) in [(1, OUTBOX_ITEMS_MAX), (1 << 20, 15), (OUTBOX_BYTES_MAX, 1)] {
        let (system, line) = line();
        let outbox = Outbox { id: SubscriptionId(1), namespace: "eth", line: Arc::clone(&line) };
        let ballast = "x".repeat(length);
        let queued = (0..=fits).take_while(|_| outbox.notify(&ballast).is_ok()).count();
        assert_eq!(queued, fits, "of {length} bytes");
        assert!(outbox.is_closed());
        assert_eq!(outbox.notify(&ballast), Err(Closed));
        assert_eq!(line.take_text(), Err(End::Overrun));
        system.stop(Duration::from_secs(5));
    }
}

/// Goal: S1 for all connections together: who holds much is closed, who reads is not, and what was
/// held is given back.
#[test]
fn all_queues_together_are_bounded() {
    let (system, _) = line();
    let together = Outboxes::default();
    let open = |seed| {
        let ids = Entropy::from_seed(seed);
        let line = Line::new(system.clone(), Share::new(), ids, together.clone());
        (Outbox { id: SubscriptionId(1), namespace: "eth", line: Arc::clone(&line) }, line)
    };
    let held = || together.0.load(Ordering::Relaxed);
    let ballast = Bytes::from(vec![b'x'; 1 << 20]);
    let greedy: Vec<_> = (0..20).map(open).collect();
    for _ in 0..15 {
        for (_, line) in &greedy {
            // Some are closed on the way.
            let _ = line.notify(ballast.clone());
            assert!(held() <= OUTBOXES_BYTES_MAX);
        }
    }
    let closed = greedy.iter().filter(|(outbox, _)| outbox.is_closed()).count();
    assert!((1..20).contains(&closed), "{closed} of 20 closed");

    let (outbox, reader) = open(99);
    for _ in 0..100 {
        outbox.notify(&"small").expect("a reader is not closed for others");
        assert!(reader.take_text().expect("open").is_some());
    }
    drop((outbox, reader, greedy));
    assert_eq!(held(), 0);
    system.stop(Duration::from_secs(5));
}

/// Goal: S3, and that a connection that has ended opens nothing.
#[test]
fn the_end_drops_subscriptions() {
    let (system, line) = line();
    let session = Session::new(Arc::clone(&line));
    let mut ends = Vec::new();
    for _ in 0..SUBSCRIPTIONS_MAX {
        let (held, end) = reply::<()>();
        let id = session.open(|_, outbox| {
            Box::pin(async move {
                let _held = (held, outbox);
                std::future::pending::<()>().await;
            })
        });
        assert!(id.is_ok());
        ends.push(end);
    }
    let refused = session.open(|_, _| Box::pin(async {})).expect_err("that is one too many");
    assert_eq!(refused.code, -32_005);
    session.release();
    line.end();
    for end in ends {
        assert!(end.wait().is_err(), "its future was dropped");
    }
    let refused = session.open(|_, _| Box::pin(async {})).expect_err("the line has ended");
    assert_eq!(refused.code, -32_000);
    system.stop(Duration::from_secs(5));
}

/// Goal: S2: a subscription that has something to say at once says it after its answer; one whose
/// answer never comes never starts.
/// Method: simulated, so that "nothing more will happen" can be seen.
#[test]
fn subscriptions_start_when_their_answer_is_queued() {
    for seed in 0..20 {
        let mut simulation = System::simulated(seed, Faults::default());
        let system = simulation.system().clone();
        let line =
            Line::new(system.clone(), Share::new(), system.entropy("test"), Outboxes::default());
        let open = |session: &Session| {
            let run = |_, outbox: Outbox| async move { assert!(outbox.notify(&1).is_ok()) }.boxed();
            session.open(run).expect("the line is open")
        };
        let (answered, forgotten) = (Session::new(line.clone()), Session::new(line.clone()));
        let (first, second) = (open(&answered), open(&forgotten));
        simulation.run_until_idle();
        assert_eq!(line.take_text(), Ok(None));

        answered.release();
        drop(forgotten);
        simulation.run_until_idle();
        let note = line.take_text().expect("it is open").expect("the first has spoken");
        assert!(note.escape_ascii().to_string().contains(&first.to_string()));
        assert_eq!(line.take_text(), Ok(None));
        assert!(!answered.close(&first) && !answered.close(&second), "both have ended");
    }
}

/// Goal: ids survive their text form.
#[test]
fn ids_round_trip() {
    for id in [SubscriptionId(0), SubscriptionId(u128::MAX), SubscriptionId(0xab)] {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    assert!("0x".parse::<SubscriptionId>().is_err());
    assert!(format!("0x1{:032x}", 0).parse::<SubscriptionId>().is_err());
}

/// Answers `stream` with a long text and `subscribe` with a subscription that says that it runs.
struct Methods(Arc<AtomicUsize>);

impl Dispatch for Methods {
    fn rules(&self) -> Rules {
        unreachable!("there is no server")
    }

    fn executions(&self) -> PlaceGauge {
        PlaceGauge::default()
    }

    async fn dispatch(self: &Arc<Self>, request: Request<'_>) -> Result<Answer, RpcError> {
        if request.method == "stream" {
            let pieces = (0..100).map(|_| Ok(Bytes::from(vec![b'1'; 10_000])));
            return Ok(Answer::Stream(TextStream::of(futures_util::stream::iter(pieces))));
        }
        let running = Arc::clone(&self.0);
        let run = async move {
            running.fetch_add(1, Ordering::Relaxed);
        };
        let id = request.session.expect("it has one").open(|_, _| run.boxed())?;
        Ok(serde_json::value::to_raw_value(&id).expect("plain data").into())
    }
}

/// Goal: S2 for a batch that is streamed: its subscriptions, before the first long answer and
/// behind it, start when it has ended, and not at all if it is dropped before.
#[test]
fn subscriptions_of_a_streamed_batch_start_at_its_end() {
    let mut sim = System::simulated(1, Faults::default());
    let system = sim.system().clone();
    let envelope = EnvelopeLimits { bytes_max: 1 << 20, batch_max: 100, depth_max: 8 };
    let limits = BodyLimits { envelope, response_bytes_max: 1 << 20, answers_bytes_max: 1 << 20 };
    let running = Arc::new(AtomicUsize::new(0));
    let calls = Calls::new(system.clone(), Arc::new(Methods(Arc::clone(&running))), limits);
    let member = Member { share: Share::new(), id: ClientId::default() };
    for is_read in [false, true] {
        let ids = system.entropy("test");
        let line = Line::new(system.clone(), Share::new(), ids, Outboxes::default());
        let session = Session::new(Arc::clone(&line));
        let call = |name| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{name}"}}"#);
        let body = ["subscribe", "stream", "subscribe"].map(call).join(",");
        let client = Client::new(&member, system.now());
        let (calls, here) = (calls.clone(), session.clone());
        let task = system.spawn_future(Spawn::new("body", Class::Rpc), async move {
            calls.serve(&client, Some(&here), Bytes::from(format!("[{body}]"))).await
        });
        let reply = sim.run_until(task).expect("no panic").expect("an answer");
        let Reply::Streamed(Streamed { mut rest, .. }) = reply else { panic!("it is streamed") };
        sim.run_until_idle();
        assert_eq!(running.load(Ordering::Relaxed), 0, "nothing of it is read");
        if is_read {
            let read = async move {
                while let Some(piece) = poll_fn(|cx| rest.poll_next(cx)).await {
                    piece.expect("it does not break");
                }
            };
            let read = system.spawn_future(Spawn::new("read", Class::Rpc), read);
            sim.run_until(read).expect("no panic");
        } else {
            drop((rest, session));
        }
        sim.run_until_idle();
        assert_eq!(running.load(Ordering::Relaxed), if is_read { 2 } else { 0 });
    }
}
