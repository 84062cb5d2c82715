//! A blocking JSON-RPC client over one kept-alive HTTP/1.1 connection to a loopback address.
//!
//! A request is one write and a reply is read into one buffer, so that what is timed is the node.
//! After an error, a timeout included, the connection is out of step: drop the client.

use crate::limits::{HEADER_BYTES_MAX, REPLY_BYTES_MAX, REPLY_MAX};
use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed or timed out.
    #[error("connection to {address}: {source}")]
    Connection {
        /// The node's address.
        address: SocketAddr,
        /// What the socket said.
        source: io::Error,
    },
    /// The server answered with another status than 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The reply is not HTTP/1.1 with a JSON-RPC body.
    #[error("malformed reply: {0}")]
    Malformed(&'static str),
    /// The reply is longer than the limit.
    #[error("reply of {found} bytes, limit {limit}")]
    TooLong {
        /// Announced or received bytes.
        found: usize,
        /// [`REPLY_BYTES_MAX`].
        limit: usize,
    },
    /// The body is not JSON.
    #[error("reply is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The node refused the call.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Error {
    /// Returns true if the reply did not come within the set time.
    pub fn is_timeout(&self) -> bool {
        let Self::Connection { source, .. } = self else { return false };
        matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
    }
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error {code}: {message}")]
pub struct Refused {
    /// The error code, for example -32601.
    pub code: i64,
    /// The node's text.
    pub message: String,
}

/// One connection to a node.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    request: Vec<u8>,
}

impl Client {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`].
    pub fn connect(address: SocketAddr) -> Result<Self, Error> {
        TcpStream::connect(address)
            .and_then(|stream| Self::over(stream, address))
            .map_err(|source| Error::Connection { address, source })
    }

    /// Connects to `address` from the loopback address `source`, so that a node that shares its
    /// time by remote address sees another client.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`].
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Result<Self, Error> {
        let connect = || -> io::Result<Self> {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
            rustix::net::bind(&socket, &SocketAddr::new(IpAddr::V4(source), 0))?;
            rustix::net::connect(&socket, &address)?;
            Self::over(TcpStream::from(socket), address)
        };
        connect().map_err(|source| Error::Connection { address, source })
    }

    fn over(stream: TcpStream, address: SocketAddr) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_MAX))?;
        stream.set_write_timeout(Some(REPLY_MAX))?;
        let stream = BufReader::with_capacity(64 << 10, stream);
        Ok(Self { stream, address, request: Vec::new() })
    }

    /// Sets how long a reply may take; zero counts as 1 µs.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`].
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        let timeout = timeout.max(Duration::from_micros(1));
        self.stream
            .get_ref()
            .set_read_timeout(Some(timeout))
            .map_err(|source| Error::Connection { address: self.address, source })
    }

    /// Returns a second handle of the socket, with which another thread may shut it down.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`].
    pub fn socket(&self) -> Result<TcpStream, Error> {
        self.stream
            .get_ref()
            .try_clone()
            .map_err(|source| Error::Connection { address: self.address, source })
    }

    /// Calls `method` and returns its result.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the node answers with an error, or what happened on the way.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value, Error> {
        let reply: Value = serde_json::from_slice(&self.post(&body(method, params))?)?;
        Ok(result_of(reply)?)
    }

    /// Sends `calls` as one batch and returns their results in the order of the calls.
    ///
    /// # Errors
    ///
    /// What happened on the way, or a batch refused as a whole; a refusal of one call is its
    /// element.
    pub fn batch(&mut self, calls: &[(&str, Value)]) -> Result<Vec<Result<Value, Refused>>, Error> {
        let requests: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(id, (method, params))| call(id, method, params))
            .collect();
        let reply = self.post(&serde_json::to_vec(&requests)?)?;
        let replies = match serde_json::from_slice(&reply)? {
            Value::Array(replies) => replies,
            whole => {
                result_of(whole)?;
                return Err(Error::Malformed("a batch answered by one result"));
            }
        };
        if replies.len() != calls.len() {
            return Err(Error::Malformed("a batch answered by another number of replies"));
        }
        let mut results = vec![None; calls.len()];
        for reply in replies {
            let id = reply["id"].as_u64().and_then(|id| usize::try_from(id).ok());
            let slot = id.and_then(|id| results.get_mut(id));
            *slot.ok_or(Error::Malformed("a reply with an unknown id"))? = Some(result_of(reply));
        }
        results.into_iter().map(|r| r.ok_or(Error::Malformed("two replies to one id"))).collect()
    }

    /// Posts `body` and returns the reply's body.
    ///
    /// # Errors
    ///
    /// All but [`Error::Json`] and [`Error::Refused`].
    pub fn post(&mut self, body: &[u8]) -> Result<Vec<u8>, Error> {
        self.request.clear();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(body);
        let address = self.address;
        let failed = |source| Error::Connection { address, source };
        self.stream.get_ref().write_all(&self.request).map_err(failed)?;

        let head = self.read_head()?;
        let reply = match head.body {
            Body::Bytes(length) => self.read_exactly(length)?,
            Body::Chunks => self.read_chunks()?,
        };
        if head.status == 200 { Ok(reply) } else { Err(Error::Status(head.status)) }
    }

    fn read_line(&mut self) -> Result<String, Error> {
        let failed = |source| Error::Connection { address: self.address, source };
        let mut line = String::new();
        let limit = HEADER_BYTES_MAX as u64;
        self.stream.by_ref().take(limit).read_line(&mut line).map_err(failed)?;
        if !line.ends_with('\n') {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn read_head(&mut self) -> Result<Head, Error> {
        let line = self.read_line()?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or(Error::Malformed("no HTTP status"))?;
        let mut body = Body::Bytes(0);
        loop {
            let line = self.read_line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                let length = value.trim().parse();
                body = Body::Bytes(length.map_err(|_| Error::Malformed("content-length"))?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                body = Body::Chunks;
            }
        }
        Ok(Head { status, body })
    }

    fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>, Error> {
        if length > REPLY_BYTES_MAX {
            return Err(Error::TooLong { found: length, limit: REPLY_BYTES_MAX });
        }
        let mut bytes = vec![0; length];
        let address = self.address;
        let failed = |source| Error::Connection { address, source };
        self.stream.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        loop {
            let line = self.read_line()?;
            let length = usize::from_str_radix(line.trim(), 16);
            let length = length.map_err(|_| Error::Malformed("chunk length"))?;
            let found = bytes.len().saturating_add(length);
            if found > REPLY_BYTES_MAX {
                return Err(Error::TooLong { found, limit: REPLY_BYTES_MAX });
            }
            bytes.extend(self.read_exactly(length)?);
            self.read_line()?;
            if length == 0 {
                return Ok(bytes);
            }
        }
    }
}

struct Head {
    status: u16,
    body: Body,
}

enum Body {
    Bytes(usize),
    Chunks,
}

/// The bytes of one request, for callers that send the same one many times.
pub fn body(method: &str, params: &Value) -> Vec<u8> {
    serde_json::to_vec(&call(1, method, params)).expect("a JSON value has an encoding")
}

fn call(id: usize, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn result_of(mut reply: Value) -> Result<Value, Refused> {
    match reply.get("error") {
        None => Ok(reply["result"].take()),
        Some(error) => Err(Refused {
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}

/// Reads a quantity such as `"0x1f"`.
///
/// # Errors
///
/// [`Error::Malformed`] when `value` is not one.
pub fn quantity(value: &Value) -> Result<u64, Error> {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x"));
    let number = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    number.ok_or(Error::Malformed("not a 64-bit quantity"))
}
