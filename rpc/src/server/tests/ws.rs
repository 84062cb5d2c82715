//! WebSocket over real sockets on loopback: calls, subscriptions, slow readers.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    self, Error, Message, WebSocket,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

use super::*;

pub(super) type Socket = WebSocket<TcpStream>;

pub(super) fn connect(bench: &Bench) -> Socket {
    let stream = TcpStream::connect(bench.address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("it is not zero");
    tungstenite::client("ws://h/", stream).expect("the server agrees").0
}

pub(super) fn send(socket: &mut Socket, text: String) {
    socket.send(Message::text(text)).expect("the server reads");
}

fn read(socket: &mut Socket) -> String {
    loop {
        match socket.read().expect("the server answers") {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// Reads up to the close frame, or to the end without one.
fn read_close(socket: &mut Socket) -> Option<CloseCode> {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return frame.map(|CloseFrame { code, .. }| code),
            Ok(_) => {}
            Err(Error::Io(error)) => {
                let is_late = matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
                assert!(!is_late, "the server did not close");
                return None;
            }
            Err(_) => return None,
        }
    }
}

/// Goal: a call that hangs holds up no other; batches work; a disconnect drops what runs.
#[test]
fn calls_are_worked_at_once_and_dropped_with_the_connection() {
    let bench = Bench::new(rules());
    let mut socket = connect(&bench);
    send(&mut socket, call(1, "hang", "[]"));
    assert_eq!(bench.news(), News::Hanging);
    send(&mut socket, call(2, "echo", "[5]"));
    assert_eq!(read(&mut socket), result(2, "[5]"));
    send(&mut socket, format!("[{},{}]", call(3, "echo", "[]"), call(4, "echo", "[]")));
    assert_eq!(read(&mut socket), format!("[{},{}]", result(3, "[]"), result(4, "[]")));
    send(&mut socket, "{".to_owned());
    assert_eq!(read(&mut socket), error("null", -32_700, "parse error"));
    drop(socket);
    assert_eq!(bench.news(), News::Dropped);
}

/// Goal: W1: with all calls hanging nothing more is read, and the connection still ends.
#[test]
fn too_many_calls_push_back() {
    let bench = Bench::new(rules());
    let mut socket = connect(&bench);
    let bound = crate::limits::SOCKET_CALLS_MAX;
    for id in 0..bound - 1 {
        send(&mut socket, call(id, "hang", "[]"));
        assert_eq!(bench.news(), News::Hanging);
    }
    // The one free place is enough for all that end.
    for id in 0..bound {
        send(&mut socket, call(id, "echo", "[]"));
        assert_eq!(read(&mut socket), result(id, "[]"));
    }
    assert_eq!(bench.called(), 2 * bound - 1);
    drop(socket);
    for _ in 0..bound - 1 {
        assert_eq!(bench.news(), News::Dropped);
    }
}

/// Goal: S2 and S3: the answer comes before the first notification, notifications come in order,
/// and a subscription ends when it is closed or its connection ends.
#[test]
fn subscriptions_notify_after_their_answer() {
    let bench = Bench::new(rules());
    let mut socket = connect(&bench);
    let mut ids = Vec::new();
    for round in 0..20 {
        send(&mut socket, call(round, "subscribe", "[3]"));
        let answer: Value = serde_json::from_str(&read(&mut socket)).expect("it is JSON");
        assert_eq!(answer["id"], json!(round));
        let id = answer["result"].as_str().expect("an id is a string").to_owned();
        for count in 0..3 {
            let notice: Value = serde_json::from_str(&read(&mut socket)).expect("it is JSON");
            let params = json!({"subscription": id, "result": [count, ""]});
            let expected =
                json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params});
            assert_eq!(notice, expected);
        }
        assert!(!ids.contains(&id));
        ids.push(id);
    }
    // Another connection can neither draw the same id nor end what is not its own.
    let mut other = connect(&bench);
    send(&mut other, call(1, "subscribe", "[0]"));
    let answer: Value = serde_json::from_str(&read(&mut other)).expect("it is JSON");
    assert!(!ids.contains(&answer["result"].as_str().expect("an id is a string").to_owned()));
    send(&mut other, call(2, "unsubscribe", &format!("[\"{}\"]", ids[0])));
    assert_eq!(read(&mut other), result(2, "false"));

    for expected in ["true", "false"] {
        send(&mut socket, call(1, "unsubscribe", &format!("[\"{}\"]", ids[0])));
        assert_eq!(read(&mut socket), result(1, expected));
    }
    assert_eq!(bench.news(), News::Dropped);
    drop((socket, other));
    for _ in 0..20 {
        assert_eq!(bench.news(), News::Dropped);
    }
}

/// Goal: S1: a subscriber that never reads is disconnected, and disturbs nobody meanwhile.
#[test]
fn a_subscriber_that_never_reads_is_dropped() {
    let bench = Bench::new(rules());
    let mut socket = connect(&bench);
    send(&mut socket, call(1, "flood", "[0]"));
    let mut other = connect(&bench);
    send(&mut other, call(1, "echo", "[]"));
    assert_eq!(read(&mut other), result(1, "[]"));

    assert_eq!(bench.news(), News::Refused);
    assert_eq!(bench.news(), News::Dropped);
    // The kernel still holds what was sent before; behind it the connection ends.
    read_close(&mut socket);
    send(&mut other, call(2, "echo", "[]"));
    assert_eq!(read(&mut other), result(2, "[]"));
}

/// An array of so many times the same number of so many digits.
fn numbers(count: usize, digits: usize) -> String {
    format!("[{}]", vec!["1".repeat(digits); count].join(","))
}

/// Goal: a long answer is one message in fragments, whatever bounds whole ones; nothing comes
/// between them but pongs, and what was queued meanwhile comes behind.
#[test]
fn a_streamed_answer_is_one_message() {
    let bench = Bench::new(rules());
    let mut socket = connect(&bench);
    for id in 0..3 {
        send(&mut socket, call(id, "stream", "[300,10000,0]"));
        // Not read yet: it may be answered while the answer before it is being sent.
        send(&mut socket, call(9, "subscribe", "[1]"));
        socket.send(Message::Ping("p".into())).expect("the server reads");
    }
    let (mut streams, mut rest, mut pongs) = (Vec::new(), 0, 0);
    while streams.len() < 3 || rest < 6 || pongs < 3 {
        match socket.read().expect("the server answers") {
            Message::Text(text) if text.len() > 1 << 20 => streams.push(text.to_string()),
            Message::Text(_) => rest += 1,
            Message::Pong(_) => pongs += 1,
            other => panic!("unexpected: {other:?}"),
        }
    }
    streams.sort();
    let expected: Vec<_> = (0..3).map(|id| result(id, &numbers(300, 10_000))).collect();
    // Not assert_eq: it would print them.
    assert!(streams == expected, "they are whole");

    send(&mut socket, call(7, "stream", "[300,10000,0]"));
    let mut head = [0];
    socket.get_mut().read_exact(&mut head).expect("the server answers");
    assert_eq!(head, [1], "text, and more to come");
    drop(socket);
    for _ in 0..7 {
        assert_eq!(bench.news(), News::Dropped);
    }
}

/// Goal: a batch with long answers is one message, whatever bounds whole ones; subscriptions in it
/// notify behind it; an answer that breaks late ends the connection.
#[test]
fn a_batch_is_streamed_as_one_message() {
    let bench = Bench::new(rules());
    let mut socket = connect(&bench);
    let long = "[150,10000,0]";
    let calls = [
        call(1, "echo", "[1]"),
        call(2, "stream", long),
        call(3, "subscribe", "[1]"),
        call(4, "stream", long),
        call(5, "stream", "[3,10,1]"),
    ];
    send(&mut socket, format!("[{}]", calls.join(",")));
    let answer = read(&mut socket);
    let answers: Vec<&RawValue> = serde_json::from_str(&answer).expect("it is whole");
    let answers: Vec<_> = answers.into_iter().map(RawValue::get).collect();
    let long = numbers(150, 10_000);
    // Not assert_eq: it would print them.
    assert!(answers[1] == result(2, &long) && answers[3] == result(4, &long));
    assert_eq!((answers[0], answers.len()), (&*result(1, "[1]"), 5));
    assert_eq!(answers[4], error(5, -32_000, "it broke"));
    let opened: Value = serde_json::from_str(answers[2]).expect("JSON");
    let notice: Value = serde_json::from_str(&read(&mut socket)).expect("JSON");
    assert_eq!(notice["params"]["subscription"], opened["result"]);

    send(&mut socket, format!("[{},{}]", calls[0], call(2, "stream", "[300,10000,1]")));
    assert_eq!(read_close(&mut socket), Some(CloseCode::Error));
}

/// Goal: a notification that is streamed is one message too, and is no call that is worked.
#[test]
fn a_streamed_notification_is_one_message() {
    let bench = Bench::new(rules());
    let mut socket = connect(&bench);
    for _ in 0..crate::limits::SOCKET_CALLS_MAX + 2 {
        send(&mut socket, call(1, "feed", "[]"));
        // In any order: the notification does not wait for a gate here.
        let mut came = [read(&mut socket), read(&mut socket)];
        came.sort_by_key(String::len);
        let opened: Value = serde_json::from_str(&came[0]).expect("JSON");
        let id = opened["result"].as_str().expect("an id");
        let head = r#"{"jsonrpc":"2.0","method":"feed_subscription","params":"#;
        let list = numbers(10, 10_000);
        let expected = format!(r#"{head}{{"subscription":"{id}","result":{{"list":{list}}}}}}}"#);
        // Not assert_eq: it would print both.
        assert!(came[1] == expected, "it is whole");
    }
    send(&mut socket, call(2, "echo", "[2]"));
    assert_eq!(read(&mut socket), result(2, "[2]"));
}

/// Goal: a short answer that is streamed is whole, and its error an answer; one that breaks late
/// ends the connection with the code for it, and one whose peer leaves is dropped.
#[test]
fn a_streamed_answer_may_break() {
    let bench = Bench::new(rules());
    let mut socket = connect(&bench);
    send(&mut socket, call(1, "stream", "[3,10,0]"));
    assert_eq!(read(&mut socket), result(1, &numbers(3, 10)));
    send(&mut socket, call(2, "stream", "[3,10,1]"));
    assert_eq!(read(&mut socket), error(2, -32_000, "it broke"));
    send(&mut socket, call(3, "stream", "[300,10000,1]"));
    assert_eq!(read_close(&mut socket), Some(CloseCode::Error));
    for _ in 0..3 {
        assert_eq!(bench.news(), News::Dropped);
    }

    let mut socket = connect(&bench);
    send(&mut socket, call(4, "stream", "[300,10000,2]"));
    let mut head = [0];
    socket.get_mut().read_exact(&mut head).expect("the server answers");
    drop(socket);
    assert_eq!(bench.news(), News::Dropped);
}

/// Goal: W1 for answers that are streamed: with as many as may be under way nothing more is read;
/// those of a peer that does not read are no work for the others.
#[test]
fn streamed_answers_push_back() {
    let body = BodyLimits { answers_bytes_max: 64 << 20, ..rules().body };
    let bench = Bench::new(Rules { body, ..rules() });
    let mut socket = connect(&bench);
    let bound = crate::limits::SOCKET_CALLS_MAX;
    // Endless: the first is sent, the rest waits behind it.
    for id in 0..bound + 10 {
        send(&mut socket, call(id, "stream", "[100000000,10000,0]"));
    }
    let mut other = connect(&bench);
    for id in 0..100 {
        send(&mut other, call(id, "echo", "[]"));
        assert_eq!(read(&mut other), result(id, "[]"));
    }
    assert!(bench.called() <= 100 + bound, "{} calls", bench.called());
    drop(socket);
}

/// Goal: broken protocol ends the connection, with the code that RFC 6455 has for it.
#[test]
fn broken_protocol_ends_the_connection() {
    let small = EnvelopeLimits { bytes_max: 1_000, batch_max: 10, depth_max: 64 };
    let body = BodyLimits { envelope: small, ..rules().body };
    let bench = Bench::new(Rules { body, ..rules() });

    let mut socket = connect(&bench);
    send(&mut socket, " ".repeat(1_001));
    assert_eq!(read_close(&mut socket), Some(CloseCode::Size));

    let mut socket = connect(&bench);
    // An unmasked frame: a client must not.
    socket.get_mut().write_all(b"\x81\x02{}").expect("the server reads");
    assert_eq!(read_close(&mut socket), Some(CloseCode::Protocol));

    let mut socket = connect(&bench);
    socket.get_mut().write_all(b"\x81\x81\0\0\0\0\xff").expect("the server reads");
    assert_eq!(read_close(&mut socket), Some(CloseCode::Invalid));

    let mut socket = connect(&bench);
    socket.send(Message::Ping("p".into())).expect("the server reads");
    assert_eq!(socket.read().expect("the server answers"), Message::Pong("p".into()));
    socket.close(None).expect("the server reads");
    read_close(&mut socket);
    let mut rest = Vec::new();
    assert_eq!(socket.get_mut().read_to_end(&mut rest).expect("the server closes"), 0);
}

/// Goal: a peer that is silent, as one whose machine is gone, is given up, and told so in case it
/// is there after all.
#[test]
fn a_silent_peer_is_given_up() {
    let patience = Patience { ping_every: Duration::from_millis(20), ..Patience::default() };
    let bench = Bench::new(Rules { patience, ..rules() });
    // Below the protocol, where nothing answers the pings. By hand from the first byte on: a
    // client's library may read frames with the answer to its handshake, and keep them.
    let mut silent = TcpStream::connect(bench.address).expect("the server listens");
    silent.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    silent.write_all(request.as_bytes()).expect("the server reads");
    let mut frames = Vec::new();
    silent.read_to_end(&mut frames).expect("the server closes");
    let close = b"\x88\x11\x03\xe9no sign of life";
    assert!(frames.ends_with(close), "{}", frames.escape_ascii());
}
