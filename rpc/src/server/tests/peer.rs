//! A client that writes HTTP by hand, so that it can do what libraries refuse to.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

pub(super) struct Peer {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer as it came.
pub(super) struct Reply {
    pub(super) status: u16,
    /// In lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Peer {
    pub(super) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("it is not zero");
        Self { stream, unread: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
    }

    pub(super) fn post(&mut self, body: &str) -> Reply {
        self.send(post(body));
        self.read()
    }

    /// The next answer.
    pub(super) fn read(&mut self) -> Reply {
        self.read_answer_to("GET")
    }

    /// The next answer, to a request of this method: that to HEAD ends with its head.
    pub(super) fn read_answer_to(&mut self, method: &str) -> Reply {
        let head_bytes = loop {
            let end = self.unread.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            assert!(self.fill(), "closed without an answer");
        };
        let rest = self.unread.split_off(head_bytes);
        let head = std::mem::replace(&mut self.unread, rest);
        let head = String::from_utf8(head).expect("heads are ASCII").to_ascii_lowercase();
        let status = head[9..12].parse().expect("a status is a number");
        if head.contains("transfer-encoding: chunked") {
            let body = self.read_chunks();
            return Reply { status, head, body };
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.filter(|_| method != "HEAD");
        let length = length.map_or(0, |length| length.parse().expect("a length is a number"));
        while self.unread.len() < length {
            assert!(self.fill(), "closed within a body");
        }
        let rest = self.unread.split_off(length);
        let body = std::mem::replace(&mut self.unread, rest);
        let body = String::from_utf8(body).expect("answers are UTF-8");
        Reply { status, head, body }
    }

    fn read_chunks(&mut self) -> String {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.unread.windows(2).position(|window| window == b"\r\n") {
                    break end;
                }
                assert!(self.fill(), "closed within a chunk's head");
            };
            let digits = str::from_utf8(&self.unread[..end]).expect("a length is ASCII");
            let length = usize::from_str_radix(digits, 16).expect("a length is a number");
            while self.unread.len() < end + 2 + length + 2 {
                assert!(self.fill(), "closed within a chunk");
            }
            let rest = self.unread.split_off(end + 2 + length + 2);
            let chunk = std::mem::replace(&mut self.unread, rest);
            if length == 0 {
                return String::from_utf8(body).expect("answers are UTF-8");
            }
            body.extend_from_slice(&chunk[end + 2..end + 2 + length]);
        }
    }

    /// Reads until the server closes; what came before it did.
    pub(super) fn read_to_end(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            // The server closed with bytes of ours unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the server neither answers nor closes: {error}"),
        }
    }
}

pub(super) fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
