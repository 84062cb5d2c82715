//! A WebSocket client of a few lines: what a test needs of RFC 6455.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open WebSocket, with the notifications that came between the answers.
pub(crate) struct Socket {
    stream: BufReader<TcpStream>,
    notices: VecDeque<Value>,
}

impl Socket {
    pub(crate) fn connect(port: u16) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        let head = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut stream = BufReader::new(stream);
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.trim().is_empty()) {
            let mut line = String::new();
            assert!(stream.read_line(&mut line).expect("text") > 0, "it ended: {lines:?}");
            lines.push(line);
        }
        assert!(lines[0].starts_with("HTTP/1.1 101 "), "{lines:?}");
        Self { stream, notices: VecDeque::new() }
    }

    /// The whole answer to one call.
    pub(crate) fn answer(&mut self, method: &str, params: &Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.send(&request.to_string());
        loop {
            let message = self.read();
            if message["method"] != "eth_subscription" {
                return message;
            }
            self.notices.push_back(message);
        }
    }

    /// The result of one call; panics on a JSON-RPC error.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = self.answer(method, params);
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// What the next notification says; it is one of this subscription.
    pub(crate) fn notice(&mut self, subscription: &Value) -> Value {
        let mut notice = self.notices.pop_front().unwrap_or_else(|| self.read());
        assert_eq!(&notice["params"]["subscription"], subscription, "{notice}");
        notice["params"]["result"].take()
    }

    fn send(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("the test's requests are short");
        // FIN and text; masked, by zeros, and an extended length.
        let mut frame = vec![0x81, 0x80 | 0x7e];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.stream.get_mut().write_all(&frame).expect("it reads");
    }

    fn read(&mut self) -> Value {
        loop {
            let [kind, length] = self.bytes();
            let length = match length {
                126 => u64::from(u16::from_be_bytes(self.bytes())),
                127 => u64::from_be_bytes(self.bytes()),
                short => u64::from(short),
            };
            let mut payload = Vec::new();
            self.stream.by_ref().take(length).read_to_end(&mut payload).expect("the whole frame");
            match kind {
                0x81 => return serde_json::from_slice(&payload).expect("JSON"),
                // A ping.
                0x89 => {}
                other => panic!("unexpected frame {other:#x} {payload:?}"),
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).expect("it sends more");
        bytes
    }
}
