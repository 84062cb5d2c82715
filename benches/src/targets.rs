//! Which nodes to measure: `--bin NAME=PATH`, `--url NAME=URL`, `--arg NAME=ARGUMENT`.

use crate::node::{Node, StartError};
use std::{
    fmt::Display,
    io,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

/// Where `make build` puts the node.
const OURS: &str = "target/release/evenkeel";
/// Where `scripts/peers` puts anvil.
const ANVIL: &str = "target/peers/bin/anvil";

/// Every program's options for choosing nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct Targets {
    /// A node to start and end; the name `anvil` marks a peer without --datadir. If no node is
    /// given: target/release/evenkeel and, where it is, target/peers/bin/anvil
    #[arg(long = "bin", value_name = "NAME=PATH")]
    binaries: Vec<Named<PathBuf>>,
    /// A node that already runs on this machine; the caller gives it its arguments
    #[arg(long = "url", value_name = "NAME=URL")]
    urls: Vec<Named<Loopback>>,
    /// A further argument for a node that is started; may be repeated
    #[arg(long = "arg", value_name = "NAME=ARGUMENT", allow_hyphen_values = true)]
    arguments: Vec<Named<String>>,
    /// Folder for databases and logs; put it on the disk to be measured
    #[arg(long, value_name = "DIR", default_value = "target/bench-data")]
    data_root: PathBuf,
}

/// One node to measure.
#[derive(Clone, Debug)]
pub struct Target {
    /// What the report calls it.
    pub name: String,
    place: Place,
    arguments: Vec<String>,
    data_root: PathBuf,
}

#[derive(Clone, Debug)]
enum Place {
    Binary(PathBuf),
    Address(SocketAddr),
}

impl Targets {
    /// Returns the nodes: those to start, then those that run, in the order given. If none is
    /// given, they are what `make build` and `scripts/peers` left under `target`.
    ///
    /// # Errors
    ///
    /// A binary does not exist.
    pub fn list(&self) -> Result<Vec<Target>, io::Error> {
        let target = |name: &str, place| {
            let own = self.arguments.iter().filter(|argument| argument.name == name);
            Target {
                name: name.to_owned(),
                place,
                arguments: own.map(|argument| argument.value.clone()).collect(),
                data_root: self.data_root.clone(),
            }
        };
        let mut targets = Vec::new();
        for binary in &self.binaries {
            if !binary.value.is_file() {
                let path = binary.value.display();
                return Err(io::Error::other(format!("{path}: no such binary")));
            }
            targets.push(target(&binary.name, Place::Binary(binary.value.clone())));
        }
        for url in &self.urls {
            targets.push(target(&url.name, Place::Address(url.value.0)));
        }
        if targets.is_empty() {
            let defaults = [("evenkeel", OURS), ("anvil", ANVIL)].into_iter();
            let defaults = defaults.filter(|(_, path)| Path::new(path).is_file());
            targets.extend(defaults.map(|(name, path)| target(name, Place::Binary(path.into()))));
        }
        if targets.is_empty() {
            return Err(io::Error::other(format!("no node: {OURS} is not built, no --bin given")));
        }
        Ok(targets)
    }

    /// Returns the first node that is to be started and keeps its chain on disk.
    ///
    /// # Errors
    ///
    /// As [`Targets::list`], or there is none.
    pub fn durable(&self) -> Result<Target, io::Error> {
        let is_durable = |target: &Target| target.is_durable() && target.binary().is_some();
        let durable = self.list()?.into_iter().find(is_durable);
        durable.ok_or_else(|| io::Error::other("needs --bin of a node with --datadir"))
    }
}

impl Target {
    /// Returns true if the node has `--datadir`.
    pub fn is_durable(&self) -> bool {
        self.name != "anvil"
    }

    /// The binary to execute; none for a node that already runs.
    pub fn binary(&self) -> Option<&Path> {
        match &self.place {
            Place::Binary(path) => Some(path),
            Place::Address(_) => None,
        }
    }

    /// A folder name for a database that no other run uses.
    pub fn fresh_datadir(&self) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.data_root.join(format!("{}-{}-{number}", self.name, std::process::id()))
    }

    /// Starts it with `arguments`, its own `--arg`s and `--datadir` if one is given. A node that
    /// already runs is taken as it is.
    ///
    /// # Errors
    ///
    /// As [`Node::start`].
    pub fn start(&self, arguments: &[&str], datadir: Option<&Path>) -> Result<Node, StartError> {
        let mut all: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        all.extend(self.arguments.iter().cloned());
        if let Some(datadir) = datadir {
            all.extend(["--datadir".to_owned(), datadir.display().to_string()]);
        }
        match &self.place {
            Place::Binary(path) => Node::start(path, &all, &self.data_root),
            Place::Address(address) => Ok(Node::attach(*address)),
        }
    }
}

/// `NAME=VALUE` on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named<T> {
    name: String,
    value: T,
}

impl<T: FromStr<Err: Display>> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        let value = value.parse().map_err(|error| format!("{value}: {error}"))?;
        Ok(Self { name: name.to_owned(), value })
    }
}

/// An `http://` URL on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Loopback(SocketAddr);

impl FromStr for Loopback {
    type Err = io::Error;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
        let address = host.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        if address.ip().is_loopback() {
            Ok(Self(address))
        } else {
            Err(io::Error::other(format!("{address}: only loopback addresses are measured")))
        }
    }
}
