//! Listens to `newHeads` on a connection of its own and notes when each block became visible.

use serde_json::{Value, json};
use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tungstenite::{Error, Message, WebSocket};

/// How often the listener looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(50);

/// A running `newHeads` subscription. Dropping it ends the connection.
#[derive(Debug)]
pub struct Heads {
    arrivals: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Heads {
    /// Subscribes at `address`.
    ///
    /// # Errors
    ///
    /// The connection fails or the node answers `eth_subscribe` with an error.
    pub fn subscribe(address: SocketAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream)?;
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe",
            "params": ["newHeads"] });
        socket.send(Message::text(request.to_string()))?;
        let reply: Value = serde_json::from_str(socket.read()?.to_text()?)?;
        if !reply["result"].is_string() {
            return Err(format!("eth_subscribe answered {reply}").into());
        }
        socket.get_ref().set_read_timeout(Some(LOOK))?;

        let arrivals = Arc::default();
        let stop = Arc::default();
        let listener = {
            let (arrivals, stop) = (Arc::clone(&arrivals), Arc::clone(&stop));
            thread::spawn(move || listen(socket, &arrivals, &stop))
        };
        Ok(Self { arrivals, stop, listener: Some(listener) })
    }

    /// Returns the intervals between blocks of those that became visible in `from..to`.
    ///
    /// A wait still open at `to` counts as an interval once it is the longest: a node that stalls
    /// must not look better because its next block never came.
    pub fn intervals(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        intervals(&arrivals, from, to)
    }
}

impl Drop for Heads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            // A panic of the listener has been printed; there is nothing left to release.
            let _ = listener.join();
        }
    }
}

fn listen(mut socket: WebSocket<TcpStream>, arrivals: &Mutex<Vec<Instant>>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match socket.read() {
            Ok(Message::Text(text)) if text.contains("eth_subscription") => {
                let at = Instant::now();
                arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(at);
            }
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// The intervals that end in `from..to`, and the open one if it is the longest. Before the first
/// arrival of all, the wait is counted from `from`.
fn intervals(arrivals: &[Instant], from: Instant, to: Instant) -> Vec<Duration> {
    let earlier = arrivals.partition_point(|&at| at < from);
    let mut last = earlier.checked_sub(1).map_or(from, |index| arrivals[index]);
    let mut intervals = Vec::new();
    for &at in arrivals[earlier..].iter().take_while(|&&at| at < to) {
        intervals.push(at.duration_since(last));
        last = at;
    }
    let open = to.duration_since(last);
    if intervals.iter().all(|&interval| interval < open) {
        intervals.push(open);
    }
    intervals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no stall goes uncounted, wherever in the phase it lies.
    /// Method: blocks every second but for one stall of 5 s, which begins at every second of a
    /// phase of 20 s, its first and its last included; also a phase with no block at all.
    #[test]
    fn a_stall_anywhere_in_the_phase_is_the_longest_interval() {
        let from = Instant::now();
        let second = |count: u64| from + Duration::from_secs(count);
        for stall in 0..=15 {
            let times = (0..=20).filter(|&at| at <= stall || at >= stall + 5);
            let arrivals: Vec<_> = times.map(second).collect();
            let longest = intervals(&arrivals, from, second(20)).into_iter().max();
            assert_eq!(longest, Some(Duration::from_secs(5)), "stall after second {stall}");
        }
        assert_eq!(intervals(&[], from, second(9)), [Duration::from_secs(9)]);
    }
}
