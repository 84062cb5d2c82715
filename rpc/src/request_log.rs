//! What the node tells its operator on standard output: methods called, what failed, blocks made.
//!
//! The lines are anvil's, as people read them and scripts match on them, or one JSON object each.
//! Nothing waits for the output: lines gather in a bounded buffer that one reader empties, and
//! what finds it full is left out and counted.

mod blocks;
mod call_tree;
mod console;
mod date;
mod notes;
mod test_events;

use std::{
    fmt::Write as _,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use alloy_primitives::B256;
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_vm::{BlockNotes, CallTree, ConsoleCalls, ConsoleLine, Noted, Noting, TxNote};
use futures_util::task::AtomicWaker;
use serde_json::json;

use crate::{
    api::Request,
    error::RpcError,
    limits::{
        LOG_BYTES_MAX, LOG_CALLS_WAITING_MAX, LOG_CONSOLE_BYTES_MAX, LOG_CONSOLES_BYTES_MAX,
        LOG_TEXT_BYTES_MAX,
    },
};
use notes::Notes;

pub use blocks::log_blocks;

/// How the lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogForm {
    /// For people, in anvil's layout.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is written, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How the lines look.
    pub form: LogForm,
    /// Whether anything is written from the start.
    pub is_on: bool,
    /// Whether `console.log` and traces are printed.
    pub noting: Noting,
}

impl Default for LogConfig {
    fn default() -> Self {
        let noting = Noting { has_console: true, has_calls: false };
        Self { form: LogForm::Text, is_on: true, noting }
    }
}

/// Reductions (25 ns) charged for a line of `console.log`: 4 KB are decoded, formatted and escaped
/// (guess).
const CONSOLE_REDUCTIONS: u32 = 800;
/// The same for a line of a trace (guess).
const TRACE_REDUCTIONS: u32 = 200;

/// Lines on their way to the operator.
#[derive(Debug)]
pub struct RequestLog {
    config: LogConfig,
    is_on: AtomicBool,
    lines: Mutex<Lines>,
    filled: AtomicWaker,
    /// Of blocks that are not durable yet.
    notes: Mutex<Notes>,
    /// Held once by each call whose lines wait to be written.
    waiting: Arc<()>,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    left_out: u64,
}

impl RequestLog {
    /// An empty log.
    #[must_use]
    pub fn new(config: LogConfig) -> Self {
        Self {
            config,
            is_on: AtomicBool::new(config.is_on),
            lines: Mutex::default(),
            filled: AtomicWaker::new(),
            notes: Mutex::default(),
            waiting: Arc::default(),
        }
    }

    /// What it was made with.
    #[must_use]
    pub const fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Whether anything is written.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Switches it on or off (`anvil_setLoggingEnabled`).
    pub fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// What gathered since the last call; waits until there is something. One caller at a time.
    pub async fn next(&self) -> String {
        poll_fn(|cx| {
            self.filled.register(cx.waker());
            let mut lines = self.lock();
            if lines.text.is_empty() {
                return Poll::Pending;
            }
            Poll::Ready(lines.take(self.config.form))
        })
        .await
    }

    /// A method is called.
    pub(crate) fn called(&self, method: &str) {
        match self.config.form {
            _ if !self.is_on() => {}
            LogForm::Text => self.push(format_args!("{}\n", shown(method))),
            LogForm::Json => self.object(&json!({ "event": "request", "method": shown(method) })),
        }
    }

    /// A call ended with an error.
    pub(crate) fn failed(&self, request: &Request<'_>, error: &RpcError) {
        if !self.is_on() {
            return;
        }
        let params = shown(request.params.map_or("[]", |params| params.get()));
        let (method, message) = (shown(request.method), shown(&error.message));
        match self.config.form {
            LogForm::Text => self.push(format_args!(
                "\nRPC request failed:\n    Request: {method} {params}\n    Error: {message}\n\n"
            )),
            LogForm::Json => self.object(&json!({
                "event": "failed", "method": method, "params": params,
                "code": error.code, "error": message,
            })),
        }
    }

    /// Keeps what the executor noted of a block until [`log_blocks`] writes the block.
    pub fn keep_notes(&self, notes: BlockNotes) {
        if self.is_on() {
            self.notes.lock().unwrap_or_else(PoisonError::into_inner).keep(notes);
        }
    }

    fn take_notes(&self, block: B256) -> Vec<TxNote> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).take(block)
    }

    /// A place for the lines of one more call, to be held until they are written; `None` if
    /// [`LOG_CALLS_WAITING_MAX`] wait, which counts an entry as left out. Calls that ask at the
    /// same moment on other workers may each get the last one.
    pub(crate) fn place_for_notes(&self) -> Option<Arc<()>> {
        if Arc::strong_count(&self.waiting) > LOG_CALLS_WAITING_MAX {
            self.lock().left_out += 1;
            return None;
        }
        Some(Arc::clone(&self.waiting))
    }

    /// Writes what was noted of a call, or of this transaction: of a transaction the trace first,
    /// as anvil does.
    pub(crate) async fn noted(&self, tx: Option<B256>, noted: Noted) {
        let Noted { console, calls } = noted;
        if tx.is_some() {
            self.calls(tx, &calls).await;
            self.console(tx, console).await;
        } else {
            self.console(tx, console).await;
            self.calls(tx, &calls).await;
        }
    }

    /// Writes a trace.
    async fn calls(&self, tx: Option<B256>, tree: &CallTree) {
        if tree.is_empty() {
            return;
        }
        let mut text = String::new();
        for lines in call_tree::Lines::new(tree) {
            if !self.is_on() {
                return;
            }
            consume(TRACE_REDUCTIONS);
            checkpoint().await;
            text.push_str(&lines);
        }
        if tree.left_out > 0 {
            let left_out = tree.left_out;
            let _infallible = writeln!(text, "  ({left_out} calls, logs and slots left out)");
        }
        match self.config.form {
            LogForm::Text => self.push(format_args!("Traces=\n{text}\n")),
            LogForm::Json => {
                self.object(&json!({ "event": "trace", "transaction": tx, "text": text }));
            }
        }
    }

    /// Writes the lines of `console.log`, unindented as anvil does.
    async fn console(&self, tx: Option<B256>, calls: ConsoleCalls) {
        let ConsoleCalls { lines, mut left_out } = calls;
        let mut text = String::new();
        for line in lines {
            if text.len() >= LOG_CONSOLES_BYTES_MAX || !self.is_on() {
                left_out += 1;
                continue;
            }
            consume(CONSOLE_REDUCTIONS);
            checkpoint().await;
            let line = match line {
                ConsoleLine::Call(input) => Some(console::line(&input)),
                ConsoleLine::Event(topic, data) => test_events::line(topic, &data),
            };
            let Some(line) = line.as_deref().map(shown_lines) else { continue };
            let _infallible = match self.config.form {
                LogForm::Text => writeln!(text, "{line}"),
                LogForm::Json => {
                    let object = json!({ "event": "console", "transaction": tx, "text": line });
                    writeln!(text, "{object}")
                }
            };
        }
        let _infallible = match self.config.form {
            _ if left_out == 0 => Ok(()),
            LogForm::Text => writeln!(text, "({left_out} lines of console.log left out)"),
            LogForm::Json => {
                let object = json!({ "event": "leftOut", "transaction": tx, "console": left_out });
                writeln!(text, "{object}")
            }
        };
        if self.is_on() && !text.is_empty() {
            // In one piece, so that the lines of two calls do not mix.
            self.push(format_args!("{text}"));
        }
    }

    fn object(&self, object: &serde_json::Value) {
        self.push(format_args!("{object}\n"));
    }

    fn push(&self, line: std::fmt::Arguments<'_>) {
        let mut lines = self.lock();
        if lines.text.len() >= LOG_BYTES_MAX {
            lines.left_out += 1;
            return;
        }
        let is_first = lines.text.is_empty();
        lines.text.write_fmt(line).expect("writing to a String cannot fail");
        drop(lines);
        if is_first {
            self.filled.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn take(&mut self, form: LogForm) -> String {
        let note = match (std::mem::take(&mut self.left_out), form) {
            (0, _) => String::new(),
            (n, LogForm::Text) => format!("({n} entries left out)\n"),
            (n, LogForm::Json) => format!("{}\n", json!({ "event": "leftOut", "entries": n })),
        };
        std::mem::take(&mut self.text) + &note
    }
}

/// What a terminal may be shown of text that came from outside: its first bytes, on one line, with
/// escapes in place of other control characters. Up to six times [`LOG_TEXT_BYTES_MAX`].
fn shown(text: &str) -> String {
    escaped(text, LOG_TEXT_BYTES_MAX, |_| Some(' '))
}

/// The same of what a contract says, whose lines and columns are meant.
fn shown_lines(text: &str) -> String {
    escaped(text, LOG_CONSOLE_BYTES_MAX, |space| (space != '\r').then_some(space))
}

/// The first bytes of `text`, with `space` in place of line breaks and tabs, and escapes in place
/// of other control characters.
fn escaped(text: &str, bytes_max: usize, space: impl Fn(char) -> Option<char>) -> String {
    let end = text.floor_char_boundary(bytes_max);
    let mut shown = String::with_capacity(end);
    for char in text[..end].chars() {
        match char {
            '\n' | '\r' | '\t' => shown.extend(space(char)),
            control if control.is_control() => shown.extend(control.escape_default()),
            other => shown.push(other),
        }
    }
    if end < text.len() {
        shown.push_str("..");
    }
    shown
}

#[cfg(test)]
mod tests {
    use evenkeel_runtime::{Share, Time};
    use serde_json::value::RawValue;

    use super::*;
    use crate::client::{Client, ClientId, Member};

    /// Goal: a reader that does not come costs a bounded buffer, and learns what it missed.
    #[test]
    fn lines_are_bounded_and_counted() {
        let log = RequestLog::new(LogConfig::default());
        let method = "x".repeat(1_000);
        for _ in 0..2 * LOG_BYTES_MAX / 1_000 {
            log.called(&method);
        }
        let text = log.lock().take(LogForm::Text);
        assert!(text.len() <= LOG_BYTES_MAX + 1_100, "{}", text.len());
        assert!(text.ends_with(" entries left out)\n"));
        assert!(log.lock().text.is_empty() && log.lock().left_out == 0);

        log.set_on(false);
        log.called("eth_chainId");
        assert!(log.lock().text.is_empty(), "switched off");
    }

    /// Goal: calls whose lines wait are bounded, those left out counted, and places come back.
    #[test]
    fn calls_that_wait_for_their_lines_are_bounded() {
        let log = RequestLog::new(LogConfig::default());
        let mut places: Vec<_> =
            (0..LOG_CALLS_WAITING_MAX).map(|_| log.place_for_notes()).collect();
        assert!(places.iter().all(Option::is_some) && log.place_for_notes().is_none());
        assert_eq!(log.lock().left_out, 1);
        places.pop();
        assert!(log.place_for_notes().is_some());
    }

    /// Goal: foreign text cannot break the layout or speak to the terminal, nor be cut inside a
    /// character.
    #[test]
    fn foreign_text_is_cut_on_one_line() {
        assert_eq!(shown("[1,\r\n2]"), "[1,  2]");
        assert_eq!(shown("\u{1b}[2J\u{9b}31m\u{7f}\0"), r"\u{1b}[2J\u{9b}31m\u{7f}\u{0}");
        let long = shown(&"é".repeat(LOG_TEXT_BYTES_MAX));
        assert!(long.ends_with("é..") && long.len() <= LOG_TEXT_BYTES_MAX + 2);
    }

    /// Goal: none of the three foreign texts of a line (method, parameters, reason) reaches it raw
    /// or whole, in either form.
    #[test]
    fn every_foreign_text_is_cut_and_escaped() {
        let foreign = format!("\u{1b}]0;x\u{7}\n\u{9b}{}", "x".repeat(1 << 20));
        let params = RawValue::from_string(json!([foreign]).to_string()).expect("JSON");
        let member = Member { share: Share::new(), id: ClientId::default() };
        let client = Client::new(&member, Time::ZERO);
        let (method, params) = (foreign.as_str(), Some(&*params));
        let request = Request { method, params, client: &client, session: None };
        for form in [LogForm::Text, LogForm::Json] {
            let log = RequestLog::new(LogConfig { form, ..LogConfig::default() });
            log.called(&foreign);
            log.failed(&request, &RpcError::server(foreign.clone()));
            let text = log.lock().take(form);
            assert!(text.len() < 6 * LOG_TEXT_BYTES_MAX, "{}", text.len());
            assert!(!text.contains(|char: char| char != '\n' && char.is_control()), "{text:?}");
            let lines = if form == LogForm::Text { 6 } else { 2 };
            assert_eq!(text.lines().count(), lines, "{text}");
        }
    }
}
