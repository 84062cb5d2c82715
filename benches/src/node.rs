//! Starts a node as a child process on a free loopback port and ends it by its process id.

use crate::{
    http::{self, Client},
    limits::{START_MAX, STOP_MAX},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How often a starting or stopping node is looked at; bounds the error of the start time.
const LOOK: Duration = Duration::from_micros(500);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The binary could not be executed or its log not be written.
    #[error("{}: {source}", path.display())]
    Spawn {
        /// The binary.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it answered.
    #[error("{} ended with {status}; see {}", path.display(), log.display())]
    Ended {
        /// The binary.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        log: PathBuf,
    },
    /// It did not answer in time.
    #[error("{} did not answer within {START_MAX:?}; see {}", path.display(), log.display())]
    Silent {
        /// The binary.
        path: PathBuf,
        /// What it wrote to standard error.
        log: PathBuf,
    },
}

/// A node that answers on [`Node::address`]. Dropping it kills it if it was started here.
#[derive(Debug)]
pub struct Node {
    /// None for a node that somebody else started.
    child: Option<Child>,
    address: SocketAddr,
    started_in: Duration,
    log: PathBuf,
}

impl Node {
    /// Runs `binary` with `arguments` and a free `--port`, and returns when it answers
    /// `eth_blockNumber`. Standard error goes to a file in `log_folder`.
    ///
    /// # Errors
    ///
    /// Every [`StartError`]; the process is gone then.
    pub fn start(binary: &Path, arguments: &[String], logs: &Path) -> Result<Self, StartError> {
        let spawn = |source| StartError::Spawn { path: binary.to_owned(), source };
        fs::create_dir_all(logs).map_err(spawn)?;
        let address = free_address().map_err(spawn)?;
        let log = logs.join(format!("node-{}.log", address.port()));
        let stderr = fs::File::create(&log).map_err(spawn)?;
        let begin = Instant::now();
        let mut child = Command::new(binary)
            .args(["--port", &address.port().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(spawn)?;
        let ended = loop {
            if answers(address) {
                return Ok(Self { child: Some(child), address, started_in: begin.elapsed(), log });
            }
            if let Some(status) = child.try_wait().map_err(spawn)? {
                break StartError::Ended { path: binary.to_owned(), status, log };
            }
            if begin.elapsed() > START_MAX {
                break StartError::Silent { path: binary.to_owned(), log };
            }
            thread::sleep(LOOK);
        };
        // Dropped as a node so that a silent one is killed.
        let log = PathBuf::new();
        drop(Self { child: Some(child), address, started_in: Duration::ZERO, log });
        Err(ended)
    }

    /// Takes a node that already runs at `address`. It is never signalled.
    pub const fn attach(address: SocketAddr) -> Self {
        Self { child: None, address, started_in: Duration::ZERO, log: PathBuf::new() }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Time from its execution to its first answer.
    pub const fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Reads field `name` of the process's status in bytes, for example `VmRSS`.
    ///
    /// # Errors
    ///
    /// The process is gone or not ours, or the system has no such field.
    pub fn memory_bytes(&self, name: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib << 10).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// User and system time the process has used.
    ///
    /// # Errors
    ///
    /// The process is gone or not ours.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()?))?;
        // The name, field 2, may hold anything but ends with the last parenthesis; utime and
        // stime are fields 14 and 15, in ticks of 1/100 s on every Linux this runs on.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        Ok(Duration::from_millis(ticks.sum::<u64>() * 10))
    }

    fn id(&self) -> io::Result<u32> {
        self.child.as_ref().map(Child::id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Sends SIGKILL and reaps the process; nothing of it runs after this returns.
    ///
    /// # Errors
    ///
    /// The process could not be signalled or reaped.
    pub fn kill(mut self) -> io::Result<()> {
        if let Some(child) = &mut self.child {
            child.kill()?;
            child.wait()?;
            fs::remove_file(&self.log)?;
        }
        Ok(())
    }

    /// Sends SIGTERM and waits. Returns true if the process ended by itself with status 0 within
    /// [`STOP_MAX`]; it is killed otherwise. A node that is not ours is left alone.
    ///
    /// # Errors
    ///
    /// The process could not be signalled or reaped.
    pub fn stop(mut self) -> io::Result<bool> {
        let Some(child) = &mut self.child else { return Ok(true) };
        kill_process(Pid::from_child(child), Signal::TERM)?;
        let begin = Instant::now();
        while begin.elapsed() < STOP_MAX {
            if let Some(status) = child.try_wait()? {
                if status.success() {
                    // What is left of a good end only fills the folder.
                    fs::remove_file(&self.log)?;
                }
                return Ok(status.success());
            }
            thread::sleep(LOOK);
        }
        Ok(false)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only when it has been reaped already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn answers(address: SocketAddr) -> bool {
    let ask = || -> Result<u64, http::Error> {
        let mut client = Client::connect(address)?;
        client.set_timeout(Duration::from_secs(1))?;
        http::quantity(&client.call("eth_blockNumber", &json!([]))?)
    };
    ask().is_ok()
}

/// A loopback port nobody listens on now. Another process may take it before the node does; the
/// node then ends with an error and the run is repeated by hand.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
