//! Binds the addresses and accepts connections.
//!
//! Policy when `connections_max` connections are open: a new one is told 503 and closed at once,
//! whoever it is. Those that are open keep working; idle ones end by themselves after
//! [`IDLE_MAX`](crate::limits::IDLE_MAX).

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use evenkeel_runtime::{Class, Spawn, System};
use tokio::net::{TcpListener, TcpStream};

use crate::{
    body::Calls,
    client::{ClientKey, Clients},
    dispatch::Dispatch,
    limits::{ACCEPT_REST, BODIES_BYTES_MAX},
    quota::Quota,
    server::{
        cors::{BadOrigin, Cors},
        http::{self, Door, Visit},
        ipc,
        wire::Gauge,
    },
    session::Outboxes,
};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// HTTP and WebSocket are served on each; port 0 lets the kernel choose.
    pub addresses: Vec<SocketAddr>,
}

/// A server that is listening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The addresses in the order of the configuration, with the ports that were chosen.
    pub local: Vec<SocketAddr>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The path is in use, or cannot be written.
    #[error("cannot listen on {}: {source}", path.display())]
    Ipc {
        /// The path that was asked for.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A bound socket cannot be used.
    #[error("cannot use a bound socket: {0}")]
    Register(io::Error),
    /// The list of allowed origins cannot be used.
    #[error(transparent)]
    Origin(#[from] BadOrigin),
    /// A simulated system has no sockets.
    #[error("a simulated system has no sockets")]
    NoReactor,
}

/// What a connection above the limit is told.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-length: 0\r\nconnection: close\r\n\r\n";

/// Sockets that listen; nobody is answered before [`serve_on`].
#[derive(Debug)]
pub struct Listeners {
    tcp: Vec<StdListener>,
    ipc: Option<ipc::Socket>,
}

impl Listeners {
    /// The same and a Unix socket at `path`, for the node's user alone. The file is removed when
    /// the server ends.
    ///
    /// # Errors
    ///
    /// [`ServeError::Ipc`]: somebody listens there, or something else lies there.
    pub fn with_ipc(self, path: &Path) -> Result<Self, ServeError> {
        Ok(Self { ipc: Some(ipc::Socket::bind(path)?), ..self })
    }
}

/// Binds all addresses, so that a busy port is known before anything is started.
///
/// # Errors
///
/// [`ServeError::Bind`] for the first address that cannot be had.
pub fn bind(addresses: &[SocketAddr]) -> Result<Listeners, ServeError> {
    let bound = addresses.iter().map(|&address| {
        let listener = StdListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        listener.map_err(|source| ServeError::Bind { address, source })
    });
    Ok(Listeners { tcp: bound.collect::<Result<_, _>>()?, ipc: None })
}

/// Binds all addresses, then serves `dispatch` on them until the system stops.
///
/// # Errors
///
/// [`ServeError`]; nothing is served then.
pub fn serve<D: Dispatch>(
    system: &System,
    dispatch: Arc<D>,
    config: &ServerConfig,
) -> Result<Bound, ServeError> {
    serve_on(system, dispatch, bind(&config.addresses)?)
}

/// Serves `dispatch` on `listeners` until the system stops.
///
/// # Errors
///
/// [`ServeError`]; nothing is served then.
pub fn serve_on<D: Dispatch>(
    system: &System,
    dispatch: Arc<D>,
    listeners: Listeners,
) -> Result<Bound, ServeError> {
    let rules = dispatch.rules();
    let reactor = system.reactor().ok_or(ServeError::NoReactor)?;
    let _entered = reactor.enter();
    let door = Arc::new(Door {
        system: system.clone(),
        calls: Calls::new(system.clone(), dispatch, rules.body),
        clients: Clients::default(),
        cors: Cors::new(rules.cors.as_deref())?,
        bodies: Quota::new(BODIES_BYTES_MAX),
        outboxes: Outboxes::default(),
        connections: Quota::new(rules.connections_max),
        patience: rules.patience,
        sockets: AtomicU64::new(0),
    });

    let mut local = Vec::with_capacity(listeners.tcp.len());
    let mut registered = Vec::with_capacity(listeners.tcp.len());
    for listener in listeners.tcp {
        local.push(listener.local_addr().map_err(ServeError::Register)?);
        registered.push(TcpListener::from_std(listener).map_err(ServeError::Register)?);
    }
    let ipc = match listeners.ipc {
        Some(socket) => Some((ipc::register(&socket).map_err(ServeError::Register)?, socket)),
        None => None,
    };
    if let Some((listener, socket)) = ipc {
        let accepting = ipc::accept(listener, socket, Arc::clone(&door));
        drop(system.spawn_future(Spawn::new("ipc accept", Class::Net), accepting));
    }
    for listener in registered {
        let accepting = accept(listener, Arc::clone(&door));
        // Dropping a handle lets its process go on by itself.
        drop(system.spawn_future(Spawn::new("rpc accept", Class::Net), accepting));
    }
    Ok(Bound { local })
}

async fn accept<D: Dispatch>(listener: TcpListener, door: Arc<Door<D>>) {
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => admit(&door, stream, remote),
            // The connection died in the queue, or the process has no file descriptor left; in
            // the latter case trying again at once would burn the CPU that could free one.
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                let at = door.system.now().saturating_add(ACCEPT_REST);
                door.system.sleep_until(at).await;
            }
        }
        evenkeel_runtime::checkpoint().await;
    }
}

fn admit<D: Dispatch>(door: &Arc<Door<D>>, stream: TcpStream, remote: SocketAddr) {
    let Some(seat) = door.connections.take(1) else {
        // One attempt: a socket that was just opened has room, and nobody waits for this one.
        drop(stream.try_write(BUSY));
        return;
    };
    // Answers are written whole, so waiting to fill a segment only adds delay. A socket that
    // refuses the option is about to fail anyway.
    drop(stream.set_nodelay(true));
    let member = door.clients.member(ClientKey::new(None, remote.ip()));
    let visit = Visit {
        door: Arc::clone(door),
        remote,
        member: member.clone(),
        gauge: Gauge::new(),
        _seat: seat,
    };
    let spawn = Spawn::new("http", Class::Rpc).share(member.share);
    drop(door.system.spawn_future(spawn, http::serve(visit, stream)));
}
