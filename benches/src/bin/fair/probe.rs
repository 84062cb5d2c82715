//! Times small requests at a fixed rate.
//!
//! A request that could not be sent when it was due, because the one before it was still waiting,
//! is timed from when it was due: a node that stalls for 10 s delays every request of these 10 s,
//! not one. Requests without an answer at the end count with the time they have waited.

use evenkeel_benches::http::{Client, Error, body};
use serde_json::json;
use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

/// The latencies of one phase.
pub(crate) struct Seen {
    /// Of `eth_blockNumber`.
    pub(crate) block_number: Vec<Duration>,
    /// Of `eth_getBalance`.
    pub(crate) balance: Vec<Duration>,
    /// How much later than asked the probes' own threads woke up: what of the above is not the
    /// node's.
    pub(crate) wake_up: Vec<Duration>,
}

/// Probes with both requests, one each `period`, until `end`.
pub(crate) fn run(address: SocketAddr, period: Duration, end: Instant) -> Result<Seen, Error> {
    let account = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
    let balance = body("eth_getBalance", &json!([account, "latest"]));
    let block_number = body("eth_blockNumber", &json!([]));
    thread::scope(|scope| {
        let other = scope.spawn(|| probe(address, &balance, period, end));
        let (block_number, mut wake_up) = probe(address, &block_number, period, end)?;
        let (balance, more) = other.join().expect("a probe does not panic")?;
        wake_up.extend(more);
        Ok(Seen { block_number, balance, wake_up })
    })
}

fn probe(
    address: SocketAddr,
    body: &[u8],
    period: Duration,
    end: Instant,
) -> Result<(Vec<Duration>, Vec<Duration>), Error> {
    let mut client = Client::connect(address)?;
    let (mut latencies, mut wake_ups) = (Vec::new(), Vec::new());
    let mut due = Instant::now();
    let mut was_late = false;
    while due < end {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
            wake_ups.push(due.elapsed());
            was_late = false;
        }
        let begin = if was_late { due } else { Instant::now() };
        client.set_timeout(end.saturating_duration_since(Instant::now()))?;
        match client.post(body) {
            Ok(_) => latencies.push(begin.elapsed()),
            Err(error) if error.is_timeout() => {
                // This one and those behind it.
                latencies.push(begin.elapsed());
                let mut unsent = due + period;
                while unsent < end {
                    latencies.push(end - unsent);
                    unsent += period;
                }
                break;
            }
            Err(error) => return Err(error),
        }
        due += period;
        was_late = true;
    }
    Ok((latencies, wake_ups))
}
