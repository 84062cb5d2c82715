//! Keeps a number of calls in flight: each is sent again as soon as it ends.

use evenkeel_benches::{http::Client, programs::Program};
use serde_json::{Value, json};
use std::{
    fmt,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Pause before a broken connection is opened again, so that a dead node is not hammered.
const RECONNECT: Duration = Duration::from_millis(100);

/// How the calls of one program ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Calls with a result.
    results: u64,
    /// Calls answered by an error.
    refusals: u64,
    /// Connections that broke.
    broken: u64,
    /// The last error answered.
    refusal: Option<String>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.results += other.results;
        self.refusals += other.refusals;
        self.broken += other.broken;
        self.refusal = other.refusal.or(self.refusal.take());
    }

    /// The counts as a JSON object.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "results": self.results, "refusals": self.refusals, "broken": self.broken,
            "refusal": self.refusal })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { results, refusals, broken, refusal } = self;
        write!(f, "{results} results, {refusals} errors, {broken} broken connections")?;
        refusal.as_ref().map_or(Ok(()), |text| write!(f, " ({text})"))
    }
}

/// Calls in flight.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<Caller>,
}

struct Caller {
    program: &'static str,
    thread: JoinHandle<Outcome>,
    /// The connection in use, to be shut down from outside.
    socket: Arc<Mutex<TcpStream>>,
}

impl Load {
    /// Puts `calls` calls in flight, the programs in turn, each on a connection of its own.
    pub(crate) fn start(
        address: SocketAddr,
        programs: &[Program],
        calls: usize,
        clients: u8,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = Vec::new();
        let clients = usize::from(clients.max(1));
        for (index, program) in programs.iter().cycle().take(calls).enumerate() {
            let last = u8::try_from(index % clients + 1).expect("below 256");
            let client = Client::connect_from(Ipv4Addr::new(127, 0, 0, last), address)?;
            let (body, stop) = (program.body.clone(), Arc::clone(&stop));
            let socket = Arc::new(Mutex::new(client.socket()?));
            let thread = {
                let socket = Arc::clone(&socket);
                thread::spawn(move || repeat(client, address, &body, &stop, &socket))
            };
            callers.push(Caller { program: program.name, thread, socket });
        }
        Ok(Self { stop, callers })
    }

    /// Ends the calls by closing their connections and returns the outcomes by program.
    pub(crate) fn stop(self) -> Vec<(&'static str, Outcome)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut outcomes: Vec<(&'static str, Outcome)> = Vec::new();
        for caller in &self.callers {
            // Fails only on a connection that is closed already.
            let socket = caller.socket.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = socket.shutdown(Shutdown::Both);
        }
        for caller in self.callers {
            let outcome = caller.thread.join().expect("a caller does not panic");
            match outcomes.iter_mut().find(|(program, _)| *program == caller.program) {
                Some((_, sum)) => sum.add(outcome),
                None => outcomes.push((caller.program, outcome)),
            }
        }
        outcomes
    }
}

fn repeat(
    mut client: Client,
    address: SocketAddr,
    body: &[u8],
    stop: &AtomicBool,
    socket: &Mutex<TcpStream>,
) -> Outcome {
    let mut outcome = Outcome::default();
    while !stop.load(Ordering::Relaxed) {
        match client.post(body) {
            Ok(reply) => outcome.count(&reply),
            Err(_) if stop.load(Ordering::Relaxed) => break,
            Err(_) => {
                outcome.broken += 1;
                thread::sleep(RECONNECT);
                // A refused connection leaves the broken client, which fails again at once.
                if let Ok((next, handle)) =
                    Client::connect(address).and_then(|next| next.socket().map(|h| (next, h)))
                {
                    // Under the lock: either `stop` shuts the new socket or this sees `stop`.
                    *socket.lock().unwrap_or_else(PoisonError::into_inner) = handle;
                    client = next;
                }
            }
        }
    }
    outcome
}

impl Outcome {
    fn count(&mut self, reply: &[u8]) {
        let reply: Value = serde_json::from_slice(reply).unwrap_or_default();
        match reply.get("error") {
            Some(error) => {
                self.refusals += 1;
                let mut text = error["message"].as_str().unwrap_or_default().to_owned();
                // Some nodes quote the whole request.
                text.truncate(text.char_indices().nth(100).map_or(text.len(), |(at, _)| at));
                self.refusal = Some(text);
            }
            None => self.results += 1,
        }
    }
}
