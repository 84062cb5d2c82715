//! HTTP over real sockets on loopback: keep-alive, limits, disconnects.

use std::io::Read as _;

use super::{
    peer::{Peer, post},
    *,
};
use crate::error::RESPONSE_TOO_LARGE;

/// Goal: a connection is kept, and requests sent before their answers are answered in order.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let bodies: String = (0..50).map(|id| post(&call(id, "echo", "[1]"))).collect();
    peer.send(bodies);
    for id in 0..50 {
        let reply = peer.read();
        assert_eq!((reply.status, reply.body), (200, result(id, "[1]")));
    }
    assert!(peer.post(&call("\"x\"", "no_such", "[]")).body.contains("-32601"));
    assert_eq!(peer.post(r#"{"jsonrpc":"2.0","method":"echo"}"#).body, "");
    assert_eq!(bench.called(), 52);
}

/// Goal: a body that comes in pieces, with or without a length, is put together.
#[test]
fn bodies_may_come_in_pieces() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let text = format!("[\"{}\"]", "y".repeat(300_000));
    let body = call(1, "echo", &text);
    // Not assert_eq: it would print both.
    assert!(peer.post(&body).body == result(1, &text));

    peer.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    for piece in body.as_bytes().chunks(70_001) {
        peer.send(format!("{:x}\r\n", piece.len()));
        peer.send(piece);
        peer.send("\r\n");
    }
    peer.send("0\r\n\r\n");
    assert!(peer.read().body == result(1, &text));
}

/// Goal: B1: items are worked at once, their answers keep the order, notifications get none.
/// Method: the first item ends only when the last has run.
#[test]
fn batches_are_worked_in_parallel_and_answered_in_order() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let silent = r#"{"jsonrpc":"2.0","method":"echo"}"#;
    let (wait, go) = (call(1, "wait", "[]"), call(3, "go", "[]"));
    let echo = call(2, "echo", "[]");
    let reply = peer.post(&format!("[{wait},{silent},7,{echo},{go}]"));
    let invalid = error("null", -32_600, "invalid request");
    let expected = [result(1, "\"waited\""), invalid, result(2, "[]"), result(3, "\"gone\"")];
    assert_eq!(reply.body, format!("[{}]", expected.join(",")));
    assert_eq!(bench.called(), 4);

    let many: Vec<_> = (0..1_000).map(|id| call(id, "echo", "[]")).collect();
    let expected: Vec<_> = (0..1_000).map(|id| result(id, "[]")).collect();
    assert_eq!(
        peer.post(&format!("[{}]", many.join(","))).body,
        format!("[{}]", expected.join(","))
    );
    assert_eq!(peer.post(&format!("[{silent},{silent}]")).body, "");
}

/// Goal: what is over a limit is refused before any of it is worked.
#[test]
fn excess_is_refused_unworked() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);

    let many: Vec<_> = (0..100_000).map(|id| call(id, "echo", "[]")).collect();
    let reply = peer.post(&format!("[{}]", many.join(",")));
    assert_eq!(reply.body, format!("[{}]", error(0, -32_600, "batch too large")));

    let reply = peer.post(&"[".repeat(1_000_000));
    assert_eq!(reply.body, error("null", -32_600, "nested deeper than 64 levels"));

    // The head alone is enough to be refused.
    peer.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999\r\n\r\n");
    let reply = peer.read();
    let text = "request too large: 99999999 bytes, limit 8388608";
    assert_eq!((reply.status, reply.body), (413, error("null", -32_600, text)));

    // Who sends its body all the same is answered too, and may go on.
    let mut peer = Peer::new(bench.address);
    assert_eq!(peer.post(&" ".repeat(20 << 20)).status, 413);
    assert_eq!(peer.post("").body, error("null", -32_700, "parse error"));

    let mut peer = Peer::new(bench.address);
    peer.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    for _ in 0..8 {
        peer.send(&chunk);
    }
    peer.send("1\r\n \r\n");
    assert_eq!(peer.read().status, 413);

    let heads = [
        "NONSENSE\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nno header\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000)),
        format!("GET / HTTP/1.1\r\nh: {}\r\n\r\n", "x".repeat(200_000)),
    ];
    for head in heads {
        let mut peer = Peer::new(bench.address);
        peer.send(head);
        // A reset may overtake the answer when the server has not read everything.
        let end = peer.read_to_end();
        assert!(end.is_empty() || end.starts_with(b"HTTP/1.1 4"), "{}", end.escape_ascii());
    }
    assert_eq!(bench.called(), 0);
}

/// Goal: a long answer that is streamed comes in chunks, whatever bounds whole ones, and its
/// connection goes on; a short one has a length, and its error is an answer; one that breaks late
/// is broken off; the work of one whose client leaves ends.
#[test]
fn answers_are_streamed() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let numbers =
        |count: usize, digits: usize| format!("[{}]", vec!["1".repeat(digits); count].join(","));
    let short = peer.post(&call(1, "stream", "[10,10,0]"));
    assert!(short.head.contains("content-length"), "{}", short.head);
    assert_eq!(short.body, result(1, &numbers(10, 10)));
    assert_eq!(bench.news(), News::Dropped);

    let long = peer.post(&call(2, "stream", "[300,10000,0]"));
    // Not assert_eq: it would print both.
    assert!(long.body == result(2, &numbers(300, 10_000)));
    assert_eq!(bench.news(), News::Dropped);

    let early = peer.post(&call(4, "stream", "[3,10,1]"));
    assert_eq!(early.body, error(4, -32_000, "it broke"));
    assert_eq!(bench.news(), News::Dropped);

    peer.send(post(&call(5, "stream", "[300,10000,1]")));
    let broken = peer.read_to_end();
    assert!(broken.len() > 64 << 10 && !broken.ends_with(b"0\r\n\r\n"));
    assert_eq!(bench.news(), News::Dropped);

    let mut peer = Peer::new(bench.address);
    peer.send(post(&call(6, "stream", "[30,10000,2]")));
    let mut first = [0; 17];
    peer.stream.read_exact(&mut first).expect("the answer begins");
    assert_eq!(&first, b"HTTP/1.1 200 OK\r\n");
    drop(peer);
    assert_eq!(bench.news(), News::Dropped);
}

/// Goal: B1 for answers of a batch that are streamed: in order between the others, each with its
/// error if it has one in time; one that breaks late breaks the batch off, and one whose client
/// leaves drops all of it.
#[test]
fn answers_of_a_batch_are_streamed() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let numbers =
        |count: usize, digits: usize| format!("[{}]", vec!["1".repeat(digits); count].join(","));
    let silent = r#"{"jsonrpc":"2.0","method":"echo"}"#;
    let batch = [
        call(1, "echo", "[1]"),
        call(2, "stream", "[300,10000,0]"),
        silent.to_owned(),
        call(3, "stream", "[3,10,1]"),
        call(4, "stream", "[200,10000,0]"),
        call(5, "stream", "[3,10,0]"),
        "7".to_owned(),
        call(6, "echo", "[6]"),
    ];
    let expected = [
        result(1, "[1]"),
        result(2, &numbers(300, 10_000)),
        error(3, -32_000, "it broke"),
        result(4, &numbers(200, 10_000)),
        result(5, &numbers(3, 10)),
        error("null", -32_600, "invalid request"),
        result(6, "[6]"),
    ];
    let reply = peer.post(&format!("[{}]", batch.join(",")));
    assert!(reply.head.contains("chunked"), "{}", reply.head);
    // Not assert_eq: it would print both.
    assert!(reply.body == format!("[{}]", expected.join(",")), "it is whole and in order");
    let only = peer.post(&format!("[{}]", batch[1]));
    assert!(only.body == format!("[{}]", expected[1]));
    for _ in 0..5 {
        assert_eq!(bench.news(), News::Dropped);
    }

    let broken = format!("[{},{}]", call(1, "stream", "[300,10000,1]"), batch[0]);
    peer.send(post(&broken));
    let broken = peer.read_to_end();
    assert!(broken.len() > 64 << 10 && !broken.ends_with(b"0\r\n\r\n"));
    assert_eq!(bench.news(), News::Dropped);

    let mut peer = Peer::new(bench.address);
    let left = [call(1, "stream", "[30,10000,2]"), call(2, "hang", "[]")];
    peer.send(post(&format!("[{}]", left.join(","))));
    let mut first = [0; 17];
    peer.stream.read_exact(&mut first).expect("the answer begins");
    assert_eq!(bench.news(), News::Hanging);
    drop(peer);
    assert_eq!(bench.news(), News::Dropped);
    assert_eq!(bench.news(), News::Dropped);
}

/// Goal: B2: answers stop growing at their limit, and the rest is told so.
#[test]
fn answers_over_the_limit_are_refused() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let limit = 1 << 20;
    let too_large = |id: i32| error(id, -32_003, RESPONSE_TOO_LARGE);
    assert_eq!(peer.post(&call(1, "size", &format!("[{limit}]"))).body.len(), limit + 34);
    assert_eq!(peer.post(&call(1, "size", &format!("[{}]", limit + 1))).body, too_large(1));

    let many: Vec<_> = (0..1_000).map(|id| call(id, "size", "[100000]")).collect();
    let reply = peer.post(&format!("[{}]", many.join(",")));
    assert!(reply.body.len() < limit + 1_000 * 200, "{}", reply.body.len());
    assert_eq!(reply.body.matches("-32003").count(), 990);
    assert!(bench.called() < 2 + 10 + 2 * crate::limits::BATCH_FANOUT, "{}", bench.called());
}

/// Goal: B2 counts errors too: large revert data, or a large text, is no way around the limit.
#[test]
fn errors_over_the_limit_are_refused() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let limit = 1 << 20;
    for large in ["[1048576, 0]", "[0, 1048576]"] {
        let reply = peer.post(&call(1, "revert", large));
        assert_eq!(reply.body, error(1, -32_003, RESPONSE_TOO_LARGE));
    }
    assert!(peer.post(&call(1, "revert", "[1000000, 0]")).body.len() > 1_000_000);

    for each in ["[100000, 0]", "[0, 100000]"] {
        let many: Vec<_> = (0..1_000).map(|id| call(id, "revert", each)).collect();
        let before = bench.called();
        let reply = peer.post(&format!("[{}]", many.join(",")));
        assert!(reply.body.len() < limit + 1_000 * 200, "{}", reply.body.len());
        assert_eq!(reply.body.matches("-32003").count(), 990);
        let called = bench.called() - before;
        assert!(called < 10 + 2 * crate::limits::BATCH_FANOUT, "{called}");
    }
}

/// Goal: B3: nobody works for a client that has gone.
#[test]
fn a_disconnect_drops_the_calls() {
    let bench = Bench::new(rules());
    for (body, calls) in
        [(call(1, "hang", "[]"), 1), (format!("[{0},{0},{0}]", call(1, "hang", "[]")), 3)]
    {
        let mut peer = Peer::new(bench.address);
        peer.send(post(&body));
        for _ in 0..calls {
            assert_eq!(bench.news(), News::Hanging);
        }
        drop(peer);
        for _ in 0..calls {
            assert_eq!(bench.news(), News::Dropped);
        }
    }
    // Nor for one that has sent further requests behind it.
    let mut peer = Peer::new(bench.address);
    peer.send([post(&call(1, "hang", "[]")), post(&call(2, "echo", "[]"))].concat());
    assert_eq!(bench.news(), News::Hanging);
    drop(peer);
    assert_eq!(bench.news(), News::Dropped);
}

/// Goal: what is not HTTP is told so before the connection is closed.
#[test]
fn malformed_requests_are_answered() {
    let bench = Bench::new(rules());
    let long = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", "h".repeat(1 << 20));
    let cases = [
        ("garbage\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: -5\r\n\r\n", "400"),
        (&long, "431"),
    ];
    for (request, status) in cases {
        let mut peer = Peer::new(bench.address);
        peer.send(request);
        let answer = String::from_utf8(peer.read_to_end()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {answer:?}");
    }
}

/// Goal: a peer that sends slowly or not at all is dropped, before and within a body.
#[test]
fn slow_senders_are_dropped() {
    let short = Duration::from_millis(50);
    let patience = Patience { idle_max: short, body_read_max: short, ..Patience::default() };
    let bench = Bench::new(Rules { patience, ..rules() });
    let beginnings = [
        "",
        "POST / HTTP/1.1\r\nhost:",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    ];
    for beginning in beginnings {
        let mut peer = Peer::new(bench.address);
        peer.send(beginning);
        assert_eq!(peer.read_to_end(), b"", "{beginning:?}");
    }
    // After an answer the connection is idle again.
    let mut peer = Peer::new(bench.address);
    assert_eq!(peer.post(&call(1, "echo", "[]")).status, 200);
    assert_eq!(peer.read_to_end(), b"");
    // A call that takes longer than that is not idleness: here it ends only with its client.
    let mut peer = Peer::new(bench.address);
    peer.send(post(&call(1, "hang", "[]")));
    let mut other = Peer::new(bench.address);
    assert_eq!(other.read_to_end(), b"");
    drop(peer);
    assert_eq!((bench.news(), bench.news()), (News::Hanging, News::Dropped));
}

/// Goal: paths and methods are answered as the table in `http.rs` says.
#[test]
fn other_requests_have_their_status() {
    let bench = Bench::new(rules());
    let mut peer = Peer::new(bench.address);
    let cases = [
        ("GET /", 200),
        ("HEAD /", 200),
        ("GET /health", 200),
        ("GET /ready", 200),
        ("GET /etc/passwd", 404),
        ("POST /else", 404),
        ("OPTIONS /", 200),
        ("PUT /", 405),
        ("DELETE /", 405),
    ];
    for (line, status) in cases {
        peer.send(format!("{line} HTTP/1.1\r\nhost: h\r\n\r\n"));
        let reply = peer.read();
        assert_eq!((reply.status, reply.body.as_str()), (status, ""), "{line}");
        assert!(reply.head.contains("access-control-allow-origin: *\r\n"), "{}", reply.head);
    }
}

/// Goal: pages of foreign origins can neither read nor act, on HTTP and on WebSocket.
#[test]
fn foreign_origins_are_refused() {
    let here = "http://here.example".to_owned();
    for cors in [None, Some(vec![here.clone()])] {
        let is_allowed = cors.is_some();
        let bench = Bench::new(Rules { cors, ..rules() });
        let mut peer = Peer::new(bench.address);
        let body = call(1, "echo", "[]");
        let mut ask = |origin: &str, rest: &str| {
            peer.send(format!("{rest}host: h\r\norigin: {origin}\r\n"));
            peer.send(format!("content-length: {}\r\n\r\n{body}", body.len()));
            peer.read()
        };
        let reply = ask(&here, "POST / HTTP/1.1\r\n");
        assert_eq!(reply.status, if is_allowed { 200 } else { 403 });
        let marked = format!("access-control-allow-origin: {here}\r\n");
        assert_eq!(reply.head.contains(&marked), is_allowed);
        assert_eq!(bench.called(), usize::from(is_allowed));

        let reply = ask("http://else.example", "POST / HTTP/1.1\r\n");
        assert_eq!((reply.status, bench.called()), (403, usize::from(is_allowed)));
        let mut peer = Peer::new(bench.address);
        peer.send(
            "GET / HTTP/1.1\r\nhost: h\r\norigin: http://else.example\r\nupgrade: websocket\r\n\
            connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n",
        );
        assert_eq!(peer.read().status, 403);
    }
}

/// Goal: the policy of `listen.rs`: one connection too many is told so, the others live on.
#[test]
fn a_connection_too_many_is_turned_away() {
    let bench = Bench::new(Rules { connections_max: 2, ..rules() });
    let mut peers = [Peer::new(bench.address), Peer::new(bench.address)];
    for peer in &mut peers {
        assert_eq!(peer.post(&call(1, "echo", "[]")).status, 200);
    }
    let mut third = Peer::new(bench.address);
    assert_eq!(third.read().status, 503);
    assert_eq!(third.read_to_end(), b"");
    for peer in &mut peers {
        assert_eq!(peer.post(&call(1, "echo", "[]")).status, 200);
    }
}

/// Goal: a busy port is an error that names it.
#[test]
fn a_busy_port_is_named() {
    let bench = Bench::new(rules());
    let config = ServerConfig { addresses: vec![bench.address] };
    let error = serve(&bench.system, Arc::clone(&bench.methods), &config).expect_err("it is taken");
    assert!(error.to_string().contains(&bench.address.to_string()), "{error}");
}
