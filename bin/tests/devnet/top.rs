//! The scheduler of the real node as its operator sees it, and an execution that is held.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::json;

use super::process::Devnet;

/// Goal: `top --once` shows a loaded node; held executions pause and end on demand meanwhile.
/// Method: eight endless calls on connections of their own, which nobody waits for.
#[test]
fn a_loaded_node_is_seen_and_held() {
    const CODE_AT: &str = "0x00000000000000000000000000000000000000cc";
    let mut node = Devnet::start(&["--rpc.evmtimeout", "60s"]);
    let call = json!([{ "to": CODE_AT }, "latest", { CODE_AT: { "code": "0x5b600056" } }]);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": call });
    let load: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", node.port())).expect("it listens");
            let body = body.to_string();
            let head = "POST / HTTP/1.1\r\nHost: localhost";
            write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                .expect("it reads");
            stream
        })
        .collect();
    let listed = (0..10_000).any(|_| {
        let listed = node.call("sched_executions", &json!([]));
        listed.as_array().is_some_and(|list| list.len() == 8)
    });
    assert!(listed, "eight calls run");

    let id = node.call("exec_start", &json!(["eth_call", call]));
    let status = node.call("exec_pause", &json!([id]));
    assert!(status["state"] == "paused" || status["state"] == "pending", "{status}");
    let url = format!("http://127.0.0.1:{}", node.port());
    let top = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["top", "--once", &url])
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&top.stdout);
    assert!(top.status.success(), "{}", String::from_utf8_lossy(&top.stderr));
    assert!(text.contains("executions: 9 running, 0 waiting"), "{text}");
    let calls = text.lines().find(|line| line.starts_with("call  ") && line.contains(" call "));
    let columns: Vec<_> = calls.expect("the calls").split_whitespace().collect();
    assert_eq!(columns[2], "9", "eight endless ones and the paused one: {text}");
    assert!(columns[5].parse::<u64>().is_ok_and(|rate| rate > 0), "{text}");
    let metrics = node.get("/metrics");
    let calls = "evenkeel_processes{process=\"call\",class=\"call\"} 9\n";
    assert!(metrics.contains("\nevenkeel_executions_running 9\n"), "{metrics}");
    assert!(metrics.contains(calls), "{metrics}");

    let before = node.call("exec_status", &json!([id]));
    assert_eq!(before["state"], "paused", "{before}");
    let after = node.call("exec_step", &json!([id, 100]));
    let steps = |status: &serde_json::Value| status["steps"].as_u64().expect("a number");
    assert_eq!(steps(&after), steps(&before) + 100, "{after}");
    assert_eq!(node.call("exec_cancel", &json!([id])), true);
    let killed = node.call("sched_executions", &json!([]))[0]["id"].take();
    assert_eq!(node.call("sched_kill", &json!([killed])), true);
    prints_pages(&url);
    gives_the_terminal_back(&url);
    drop(load);
    assert_eq!(node.terminate(), Some(0));
    fails_top(&url);
}

/// A signal ends the picture as it ends any process, but for the terminal, which is left as it was.
fn gives_the_terminal_back(url: &str) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("a terminal");
    unlockpt(&master).expect("a terminal");
    let path = ptsname(&master, Vec::new()).expect("it has a name").into_string();
    let slave = File::options().read(true).write(true).open(path.expect("text")).expect("it opens");
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&slave, size).expect("a terminal has a size");
    let stdio = || Stdio::from(slave.try_clone().expect("it can be shared"));
    let mut top = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["top", url])
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .expect("the binary runs");
    drop(slave);
    let mut screen = File::from(master);
    let mut read_to = |sequence: &[u8]| {
        let mut seen = Vec::new();
        while !seen.ends_with(sequence) {
            let mut byte = [0];
            screen.read_exact(&mut byte).expect("it writes more");
            seen.push(byte[0]);
        }
    };
    // The alternate screen is entered, something is drawn, and it is left.
    read_to(b"\x1b[?1049h");
    read_to(b"evenkeel");
    kill_process(Pid::from_child(&top), Signal::TERM).expect("it runs");
    read_to(b"\x1b[?1049l");
    let status = top.wait().expect("it is our child");
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
}

/// A node that is gone is one clear line.
fn fails_top(url: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["top", "--once", "--url", url])
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.starts_with("error: cannot reach http://"), "{errors}");
    assert!(errors.trim().ends_with("`evenkeel top http://HOST:PORT` asks another)"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

/// Where there is no terminal, one page of plain text comes after another.
fn prints_pages(url: &str) {
    let mut top = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["top", url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let output = BufReader::new(top.stdout.take().expect("stdout is piped"));
    let lines = output.lines().map(|line| line.expect("its output is text"));
    let plain = lines.inspect(|line| assert!(!line.contains('\x1b'), "{line:?}"));
    assert_eq!(plain.filter(|line| line.starts_with("evenkeel http://")).take(2).count(), 2);
    top.kill().expect("it runs");
    top.wait().expect("it is our child");
}
