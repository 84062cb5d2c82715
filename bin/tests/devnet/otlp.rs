//! The real node's spans as a collector gets them.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use serde_json::json;

use super::process::{Devnet, fails};

/// Goal: a collector gets every turn and message, each message within a turn of its actor, until
/// the node has ended; what is no collector's URL is refused.
#[test]
fn a_collector_gets_turns_and_messages() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = listener.local_addr().expect("it has an address");
    let url = format!("--tracing-otlp=http://{place}/v1/traces");
    let mut node = Devnet::start(&[&url, "--tracing-otlp.sample-ratio", "1"]);
    #[expect(clippy::disallowed_methods, reason = "the collector is no part of the node")]
    let collector = thread::spawn(move || collect(&listener));
    node.call("evm_mine", &json!([]));
    assert_eq!(node.terminate(), Some(0));
    // An empty connection is the end.
    drop(TcpStream::connect(place).expect("it listens"));
    let requests = collector.join().expect("the collector does not panic");

    let resources = || requests.iter().flat_map(|request| &request.resource_spans);
    assert!(resources().all(|one| {
        let attributes = one.resource.as_ref().map(|resource| resource.attributes.as_slice());
        text(attributes.unwrap_or_default(), "service.name") == Some("evenkeel")
    }));
    let spans: Vec<_> =
        resources().flat_map(|one| &one.scope_spans).flat_map(|scope| &scope.spans).collect();
    let is_executor = |span: &Span| text(&span.attributes, "actor") == Some("Executor");
    let turns: Vec<_> =
        spans.iter().filter(|span| span.name == "turn" && is_executor(span)).collect();
    assert!(!turns.is_empty(), "a block was built: {} spans", spans.len());
    assert!(turns.iter().all(|turn| text(&turn.attributes, "class") == Some("exec")));
    let is_in_turn =
        |message: &Span| turns.iter().any(|turn| turn.span_id == message.parent_span_id);
    let messages = spans.iter().filter(|span| span.name == "message" && is_in_turn(span));
    assert!(messages.clone().all(|message| text(&message.attributes, "kind").is_some()));
    assert!(messages.count() > 0, "{} turns of the executor", turns.len());

    for alone in ["--tracing-otlp.sample-ratio=1", "--tracing-otlp.filter=info"] {
        fails(&[alone], "required arguments were not provided: --tracing-otlp[=<URL>]");
    }
    for wrong in ["https://127.0.0.1:1/v1/traces", "127.0.0.1:4318", "http:///v1/traces"] {
        let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["--port", "0", &format!("--tracing-otlp={wrong}")])
            .output()
            .expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("expected http://HOST[:PORT]/PATH, found"), "{wrong}: {errors}");
        assert_eq!(output.status.code(), Some(1), "{wrong}");
    }
}

/// Takes batches until somebody comes who sends none.
fn collect(listener: &TcpListener) -> Vec<ExportTraceServiceRequest> {
    let mut requests = Vec::new();
    loop {
        let (stream, _) = listener.accept().expect("it listens");
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        if reader.read_line(&mut first).expect("text") == 0 {
            return requests;
        }
        assert_eq!(first, "POST /v1/traces HTTP/1.1\r\n");
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("text");
            let line = line.trim_end().to_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a number");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("as many bytes as it says");
        requests.push(ExportTraceServiceRequest::decode(body.as_slice()).expect("a batch"));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        reader.get_mut().write_all(answer).expect("it reads");
    }
}

/// The text of the attribute of this name.
fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
