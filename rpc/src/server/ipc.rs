//! JSON-RPC over a Unix socket: JSON values one after the other, as geth and anvil read them;
//! each answer and notification is a line. An answer that is streamed comes as it is made; if it
//! breaks, the connection ends within the line.
//!
//! A connection is worked like a WebSocket (`ws.rs`), with subscriptions, and without pings: who is
//! on the same machine and gone, is seen to be gone. What is no JSON is answered with -32700 for
//! each line; a value above the limit of a body is answered with -32600, and ends the connection.

use std::{
    collections::VecDeque,
    io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener as StdListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use evenkeel_runtime::{Class, Spawn, System};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, error::CapacityError};

use crate::{
    client::ClientKey,
    dispatch::Dispatch,
    error::RpcError,
    limits::{ACCEPT_REST, IPC_READ_BYTES},
    quota::Taken,
    server::{
        http::Door,
        listen::ServeError,
        wire::{Alarm, timed_out},
        ws::{converse, refusal},
    },
};

/// A socket in the file system; the file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    listener: StdListener,
    path: PathBuf,
}

impl Socket {
    /// Binds `path`, for its owner alone. What a node that has gone left there is removed.
    pub(super) fn bind(path: &Path) -> Result<Self, ServeError> {
        let bound = Self::try_bind(path);
        bound.map_err(|source| ServeError::Ipc { path: path.to_owned(), source })
    }

    fn try_bind(path: &Path) -> io::Result<Self> {
        let left = path.symlink_metadata();
        if left.is_ok_and(|file| file.file_type().is_socket()) && StdStream::connect(path).is_err()
        {
            std::fs::remove_file(path)?;
        }
        let listener = StdListener::bind(path)?;
        let socket = Self { listener, path: path.to_owned() };
        socket.listener.set_nonblocking(true)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have removed it: it is not there then either.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves who connects, until it is dropped.
pub(super) async fn accept<D: Dispatch>(
    listener: UnixListener,
    socket: Socket,
    door: Arc<Door<D>>,
) {
    let _removed_when_dropped = socket;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => admit(&door, stream),
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                door.system.sleep(ACCEPT_REST).await;
            }
        }
        evenkeel_runtime::checkpoint().await;
    }
}

/// The listener that `socket` is for the reactor of this thread.
pub(super) fn register(socket: &Socket) -> io::Result<UnixListener> {
    UnixListener::from_std(socket.listener.try_clone()?)
}

fn admit<D: Dispatch>(door: &Arc<Door<D>>, stream: UnixStream) {
    let Some(seat) = door.connections.take(1) else {
        let mut text = refusal(RpcError::limit("too many connections")).to_vec();
        text.push(b'\n');
        // One attempt: a socket that was just opened has room, and nobody waits for this one.
        drop(stream.try_write(&text));
        return;
    };
    let member = door.clients.member(ClientKey::Local);
    let spawn = Spawn::new("ipc", Class::Rpc).share(member.share.clone());
    let door = Arc::clone(door);
    let system = door.system.clone();
    drop(system.spawn_future(spawn, serve(door, stream, seat)));
}

async fn serve<D: Dispatch>(door: Arc<Door<D>>, stream: UnixStream, _seat: Taken) {
    let member = door.clients.member(ClientKey::Local);
    let bytes_max = door.calls.limits().envelope.bytes_max;
    let pipe = Pipe::new(stream, &door.system, bytes_max, door.patience.write_stall_max);
    let (mut sink, mut stream) = pipe.split();
    let farewell = converse(&door, member, (&mut sink, &mut stream), None).await;
    if farewell.is_some() {
        let text = format!("the message is too large (limit {bytes_max} bytes), or was not read");
        let text = refusal(RpcError::invalid_request(text));
        let text = String::from_utf8(text.into()).expect("an answer is JSON");
        // The client may be the very one that does not read: it is told if it can be. Behind half
        // an answer nothing is said.
        drop(sink.send(Message::text(text)).await);
    }
}

/// Messages over a byte stream, in the types of a WebSocket.
struct Pipe {
    stream: UnixStream,
    system: System,
    bytes_max: usize,
    read: BytesMut,
    scan: Scan,
    to_write: VecDeque<Bytes>,
    /// The last that was given to be written was a fragment, and not the last one of its line.
    is_within_line: bool,
    write_stall_max: Duration,
    stall: Alarm,
}

impl Pipe {
    fn new(stream: UnixStream, system: &System, bytes_max: usize, stall_max: Duration) -> Self {
        Self {
            stream,
            system: system.clone(),
            bytes_max,
            read: BytesMut::new(),
            scan: Scan::default(),
            to_write: VecDeque::new(),
            is_within_line: false,
            write_stall_max: stall_max,
            stall: Alarm::default(),
        }
    }

    /// Writes what is to be written; an error if the peer takes nothing for too long.
    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(front) = self.to_write.front_mut() {
            let written = match self.stream.poll_write_ready(cx)? {
                Poll::Ready(()) => self.stream.try_write(front),
                Poll::Pending => {
                    let deadline = self.system.now().saturating_add(self.write_stall_max);
                    ready!(self.stall.poll(&self.system, deadline, cx));
                    return Poll::Ready(Err(timed_out("nothing taken", self.write_stall_max)));
                }
            };
            match written {
                Ok(count) => {
                    self.stall = Alarm::default();
                    front.advance(count);
                    if front.is_empty() {
                        self.to_write.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Stream for Pipe {
    type Item = Result<Message, WsError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let whole = this.scan.next(&this.read);
            let (size, max_size) = (whole.unwrap_or(this.read.len()), this.bytes_max);
            if size > max_size {
                let error = CapacityError::MessageTooLong { size, max_size };
                return Poll::Ready(Some(Err(WsError::Capacity(error))));
            }
            if let Some(length) = whole {
                let value = this.read.split_to(length).freeze();
                return Poll::Ready(Some(Ok(Message::Binary(value))));
            }
            this.read.reserve(IPC_READ_BYTES);
            ready!(this.stream.poll_read_ready(cx))?;
            match this.stream.try_read_buf(&mut this.read) {
                Ok(0) => return Poll::Ready(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}

impl Sink<Message> for Pipe {
    type Error = WsError;

    /// One message is written before the next is taken.
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        self.get_mut().poll_write_all(cx).map_err(WsError::from)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), WsError> {
        let this = self.get_mut();
        let (text, is_last) = match message {
            // A line that will have no end takes nothing else.
            Message::Text(_) if this.is_within_line => return Ok(()),
            Message::Text(text) => (text.into(), true),
            Message::Frame(frame) => {
                let is_last = frame.header().is_final;
                (frame.into_payload(), is_last)
            }
            // Between the two ends of a machine there are none.
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {
                return Ok(());
            }
        };
        this.to_write.push_back(text);
        this.is_within_line = !is_last;
        if is_last {
            this.to_write.push_back(Bytes::from_static(b"\n"));
        }
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        self.get_mut().poll_write_all(cx).map_err(WsError::from)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        self.poll_flush(cx)
    }
}

/// Finds where JSON values end; each byte is looked at once.
#[derive(Default)]
struct Scan {
    /// Bytes of the value that were looked at.
    seen: usize,
    /// Open brackets; of a value that begins with none, its line is taken.
    depth: usize,
    kind: Kind,
    is_escaped: bool,
}

/// Where the scan stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    /// Before a value.
    #[default]
    Between,
    /// Within brackets.
    Nested,
    /// Within a string, within brackets.
    Text,
    /// In something that is no array and no object.
    Line,
}

impl Scan {
    /// The length of the value that `bytes` begins with, white space before it included; none while
    /// it is not whole. `bytes` must be those of the last call with others behind them, or what is
    /// left after a value.
    fn next(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(&byte) = bytes.get(self.seen) {
            self.seen += 1;
            let is_over = match self.kind {
                Kind::Between => {
                    match byte {
                        b'{' | b'[' => (self.kind, self.depth) = (Kind::Nested, 1),
                        _ if byte.is_ascii_whitespace() => {}
                        _ => self.kind = Kind::Line,
                    }
                    false
                }
                Kind::Nested => {
                    match byte {
                        b'{' | b'[' => self.depth += 1,
                        b'}' | b']' => self.depth -= 1,
                        b'"' => self.kind = Kind::Text,
                        _ => {}
                    }
                    self.depth == 0
                }
                Kind::Text => {
                    if !self.is_escaped && byte == b'"' {
                        self.kind = Kind::Nested;
                    }
                    self.is_escaped = !self.is_escaped && byte == b'\\';
                    false
                }
                Kind::Line => byte == b'\n',
            };
            if is_over {
                let length = self.seen;
                *self = Self::default();
                return Some(length);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        /// Goal: values are found whole, whatever is in them and however they come in.
        /// Method: arrays of strings of brackets, quotes and backslashes, in pieces.
        #[test]
        fn values_are_found_whole(
            values in vec(vec("[\\[\\]{}\"\\\\a ]{0,6}", 0..4), 1..6),
            pieces in vec(1..9_usize, 1..200),
        ) {
            let texts: Vec<_> =
                values.iter().map(|value| serde_json::to_string(value).expect("JSON")).collect();
            let all = texts.join(" \n");
            let (mut scan, mut read, mut found) = (Scan::default(), BytesMut::new(), Vec::new());
            let (mut rest, mut pieces) = (all.as_bytes(), pieces.iter().cycle());
            while !rest.is_empty() {
                let count = *pieces.next().expect("it never ends");
                let (piece, after) = rest.split_at(count.min(rest.len()));
                read.extend_from_slice(piece);
                rest = after;
                while let Some(length) = scan.next(&read) {
                    let value = read.split_to(length);
                    found.push(String::from_utf8(value.to_vec()).expect("text").trim().to_owned());
                }
            }
            prop_assert_eq!(found, texts);
        }
    }
}
