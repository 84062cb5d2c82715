//! One `evenkeel` process on a free loopback port, and a JSON-RPC client of a few lines.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// A running devnet; killed when dropped.
pub(crate) struct Devnet {
    child: Child,
    port: u16,
    banner: String,
    output: BufReader<ChildStdout>,
    connection: BufReader<TcpStream>,
}

impl Devnet {
    /// Starts the binary on a free port and waits until it says that it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[])
    }

    /// The same with environment variables.
    pub(crate) fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(flags)
            .args(["--port", "0"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut seen = String::new();
        let port = loop {
            let mut line = String::new();
            let read = output.read_line(&mut line).expect("its output is text");
            assert!(read > 0, "it ended before it listened:\n{seen}");
            seen.push_str(&line);
            // As text and as JSON.
            let place = line.trim().strip_prefix("Listening on ");
            let place = place.or(line.split_once("addresses\":[\"").map(|(_, rest)| rest));
            if let Some(port) = place.and_then(|place| place.strip_prefix("127.0.0.1:")) {
                let end = port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len());
                break port[..end].parse().expect("a port");
            }
        };
        Self { child, port, banner: seen, output, connection: connect(port) }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// What it printed until it said where it listens.
    pub(crate) fn banner(&self) -> &str {
        &self.banner
    }

    /// Reads what the node prints up to a line that ends with `last`, and returns all of it.
    pub(crate) fn printed_until(&mut self, last: &str) -> String {
        let mut seen = String::new();
        while !seen.trim_end().ends_with(last) {
            let read = self.output.read_line(&mut seen).expect("its output is text");
            assert!(read > 0, "it ended before it printed {last:?}:\n{seen}");
        }
        seen
    }

    /// The result of one call; panics on a JSON-RPC error.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        let mut answer = self.answer(method, params);
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }

    /// The whole answer to one call.
    pub(crate) fn answer(&mut self, method: &str, params: &Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(&request.to_string())
    }

    /// The receipt of a transaction, as soon as it is mined.
    pub(crate) fn receipt(&mut self, hash: &Value) -> Value {
        for _ in 0..100_000 {
            let receipt = self.call("eth_getTransactionReceipt", &json!([hash]));
            if !receipt.is_null() {
                return receipt;
            }
        }
        panic!("transaction {hash} was not mined in 100,000 looks");
    }

    /// The body of the answer to a GET.
    pub(crate) fn get(&mut self, path: &str) -> String {
        let body = self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        String::from_utf8(body).expect("text")
    }

    /// Sends a call over a connection of its own and reads nothing; it lasts as long as that.
    pub(crate) fn ask_only(&self, method: &str, params: &Value) -> TcpStream {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut stream = connect(self.port).into_inner();
        stream.write_all(posted(&request.to_string()).as_bytes()).expect("it reads");
        stream
    }

    fn post(&mut self, body: &str) -> Value {
        let body = self.exchange(&posted(body));
        serde_json::from_slice(&body).expect("a JSON answer")
    }

    /// Sends a request and reads the body of its answer.
    fn exchange(&mut self, request: &str) -> Vec<u8> {
        self.connection.get_mut().write_all(request.as_bytes()).expect("it reads");
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.connection.read_line(&mut line).expect("a header line");
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.connection.read_exact(&mut body).expect("the whole body");
        body
    }

    /// Asks the node to end (SIGTERM) and returns its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "the node was gone already");
        self.child.wait().expect("it is our child").code()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        // Both fail when it has ended, which is fine here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A POST request with this body.
fn posted(body: &str) -> String {
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn connect(port: u16) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_nodelay(true).expect("a TCP option");
    BufReader::new(stream)
}

/// Where a test keeps its files; gone with it.
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let place = folder(name);
        std::fs::create_dir_all(&place).expect("a folder");
        Self(place)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a UTF-8 path").to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("it is there");
    }
}

/// A folder of this test alone, not there yet.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("our own folder");
    }
    folder
}

/// Runs the binary with `flags`; it shall fail at once and name `word` in one line.
pub(crate) fn fails(flags: &[&str], word: &str) {
    let mut arguments = flags.to_vec();
    if !flags.contains(&"--port") {
        arguments.extend(["--port", "0"]);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(&arguments)
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{flags:?} shall fail");
    assert!(errors.contains(word), "{flags:?} shall name {word:?}, said:\n{errors}");
    assert!(errors.starts_with("error: "), "{flags:?}: {errors}");
    assert_eq!(errors.lines().count(), 1, "{flags:?}: {errors}");
    assert!(!errors.contains("panicked"), "{flags:?}: {errors}");
}
