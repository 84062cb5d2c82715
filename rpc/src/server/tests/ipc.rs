//! IPC over a real Unix socket: values in a row, subscriptions, what is too large, and the file.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::PathBuf,
};

use serde_json::{Value, json};

use super::*;
use crate::server::ServeError;

fn socket(name: &str) -> PathBuf {
    env::temp_dir().join(format!("evenkeel-ipc-{name}-{}", std::process::id()))
}

pub(super) fn connect(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    BufReader::new(stream)
}

pub(super) fn send(client: &mut BufReader<UnixStream>, text: &str) {
    client.get_mut().write_all(text.as_bytes()).expect("it reads");
}

fn line(client: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).expect("text");
    line.trim_end().to_owned()
}

/// Goal: values need no line of their own, answers have one; batches and subscriptions work; what
/// is no JSON is said to be none, and the next value is answered.
#[test]
fn values_are_answered_by_lines() {
    let path = socket("lines");
    let bench = Bench::with(rules(), Some(&path));
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = connect(&path);
    let two = format!("{}{}", call(1, "echo", "[\"}\"]"), call(2, "echo", "[2]"));
    send(&mut client, &two[..9]);
    send(&mut client, &two[9..]);
    let mut answers = [line(&mut client), line(&mut client)];
    answers.sort();
    assert_eq!(answers, [result(1, "[\"}\"]"), result(2, "[2]")]);
    send(&mut client, &format!("[{},{}]", call(3, "echo", "[]"), call(4, "echo", "[]")));
    assert_eq!(line(&mut client), format!("[{},{}]", result(3, "[]"), result(4, "[]")));

    send(&mut client, "nonsense\n");
    let refused: Value = serde_json::from_str(&line(&mut client)).expect("JSON");
    assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32_700), &Value::Null));

    send(&mut client, &call(5, "subscribe", "[2]"));
    let opened: Value = serde_json::from_str(&line(&mut client)).expect("JSON");
    for sent in 0..2 {
        let note: Value = serde_json::from_str(&line(&mut client)).expect("JSON");
        assert_eq!(note["params"]["subscription"], opened["result"]);
        assert_eq!(note["params"]["result"][0], sent);
    }
    drop(client);
    assert_eq!(bench.news(), News::Dropped, "the subscription ends with the connection");
    drop(bench);
    assert!(!path.exists(), "the file goes with the server");
}

/// Goal: a long answer comes as one line, whatever bounds whole ones, and others after it; one that
/// breaks ends within its line.
#[test]
fn streamed_answers_are_lines() {
    let path = socket("streams");
    let bench = Bench::with(rules(), Some(&path));
    let mut client = connect(&path);
    send(&mut client, &call(1, "stream", "[300,10000,0]"));
    let numbers = |count| format!("[{}]", vec!["1".repeat(10_000); count].join(","));
    // Not assert_eq: it would print both.
    assert!(line(&mut client) == result(1, &numbers(300)));
    assert_eq!(bench.news(), News::Dropped);
    send(&mut client, &call(2, "echo", "[2]"));
    assert_eq!(line(&mut client), result(2, "[2]"));

    let batch = [call(1, "stream", "[150,10000,0]"), call(2, "stream", "[150,10000,0]")];
    send(&mut client, &format!("[{}]", batch.join(",")));
    let expected = [1, 2].map(|id| result(id, &numbers(150))).join(",");
    assert!(line(&mut client) == format!("[{expected}]"), "a batch too");
    for _ in 0..2 {
        assert_eq!(bench.news(), News::Dropped);
    }

    send(&mut client, &call(3, "stream", "[300,10000,1]"));
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("text");
    let broken = result(3, &numbers(300));
    assert!(rest.len() > 1 << 20 && broken.starts_with(&rest), "its beginning, and no word behind");
    assert!(!rest.ends_with('}'), "it does not look whole");
    assert_eq!(bench.news(), News::Dropped);
}

/// Goal: a value above the limit is refused and ends the connection, whether it has come or not.
#[test]
fn what_is_too_large_ends_the_connection() {
    let path = socket("large");
    let mut rules = rules();
    rules.body.envelope.bytes_max = 1_000;
    let _bench = Bench::with(rules, Some(&path));
    for text in [call(1, "echo", &format!("[\"{}\"]", "x".repeat(1_000))), "[".repeat(1_500)] {
        let mut client = connect(&path);
        send(&mut client, &text);
        let refused: Value = serde_json::from_str(&line(&mut client)).expect("JSON");
        assert_eq!(refused["error"]["code"], -32_600, "{refused}");
        assert_eq!(line(&mut client), "", "it is closed");
    }
}

/// Goal: a value above the limit that comes while an answer is streamed puts nothing into its line.
#[test]
fn nothing_is_said_within_a_streamed_line() {
    let path = socket("within");
    let mut rules = rules();
    rules.body.envelope.bytes_max = 1_000;
    let bench = Bench::with(rules, Some(&path));
    let mut client = connect(&path);
    send(&mut client, &call(1, "stream", "[30,10000,2]"));
    let begun = result(1, &format!("[{}", vec!["1".repeat(10_000); 30].join(",")));
    // All that comes of it.
    let mut text = vec![0; begun.len() - 1];
    client.read_exact(&mut text).expect("it begins");
    send(&mut client, &"[".repeat(1_500));
    client.read_to_end(&mut text).expect("it ends");
    assert_eq!(bench.news(), News::Dropped);
    let text = String::from_utf8(text).expect("text");
    assert!(begun.starts_with(&text), "{}", &text[begun.len() - 1..]);
}

/// Goal: what a node that has gone left behind is taken over; a living one's socket and other
/// files are not.
#[test]
fn only_what_nobody_listens_on_is_taken_over() {
    let path = socket("taken");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("nothing is there"));
    assert!(path.exists(), "it is left behind");
    let bench = Bench::with(rules(), Some(&path));
    let second = bind(&[]).expect("no port is asked for").with_ipc(&path);
    assert!(matches!(second, Err(ServeError::Ipc { .. })), "somebody listens");
    let mut client = connect(&path);
    send(&mut client, &call(1, "echo", "[1]"));
    assert_eq!(line(&mut client), result(1, "[1]"), "the first one still does");
    drop((bench, client));

    fs::write(&path, "a letter").expect("it can be written");
    let third = bind(&[]).expect("no port is asked for").with_ipc(&path);
    assert!(matches!(third, Err(ServeError::Ipc { .. })), "it is no socket");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "a letter");
    fs::remove_file(&path).expect("it is there");
}
