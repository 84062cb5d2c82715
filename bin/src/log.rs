//! The node's own log: warnings and errors on stderr, and whatever `--log` asks for.
//!
//! A terminal that takes nothing must not hold up a worker: lines go through a bounded queue to a
//! thread of their own, and what does not fit is dropped and counted in the next line. What still
//! waits when the process ends is lost; why the node stopped, `main` says itself.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use anyhow::{Context as _, Result};
use tracing_subscriber::{
    filter::Targets,
    fmt::{MakeWriter, format::FmtSpan},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Lines that wait for the terminal, of about 200 bytes each.
const LINES_MAX: usize = 4_096;

/// Sends everything that `filter` lets through to stderr, from here on.
///
/// # Errors
///
/// The machine refuses a thread, or a log was started before.
pub(crate) fn start(filter: Targets) -> Result<()> {
    let (lines, waiting) = sync_channel(LINES_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dropped);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || print(&waiting, &counted))
        .context("cannot start the log's thread")?;
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(Lines { lines, dropped });
    let registry = tracing_subscriber::registry().with(filter).with(layer);
    registry.try_init().context("cannot start the log")
}

fn print(waiting: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    for line in waiting {
        let lost = dropped.swap(0, Ordering::Relaxed);
        let mut stderr = io::stderr().lock();
        // Nobody is there to be told that stderr is closed.
        if lost > 0 {
            let _ = writeln!(stderr, "{lost} lines of the log were dropped");
        }
        let _ = stderr.write_all(&line);
    }
}

/// Makes a writer per line.
struct Lines {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { text: Vec::new(), to: self }
    }
}

/// A line that is sent when it is dropped.
struct Line<'a> {
    text: Vec<u8>,
    to: &'a Lines,
}

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.to.lines.try_send(std::mem::take(&mut self.text)).is_err() {
            self.to.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
