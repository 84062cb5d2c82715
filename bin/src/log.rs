//! The node's own log: warnings and errors on stderr, and whatever `--log` asks for; and its spans
//! for a collector (`otlp`). What goes where is filtered for each by itself.
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
    Layer as _,
    fmt::{MakeWriter, format::FmtSpan},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{args::DisplayArgs, otlp::Exporter};

/// Lines that wait for the terminal, of about 200 bytes each.
const LINES_MAX: usize = 4_096;

/// Sends what the filters let through to stderr and to the collector, from here on. The exporter is
/// to be dropped when the node has ended.
///
/// # Errors
///
/// The machine refuses a thread, a log was started before, or as [`Exporter::to`].
pub(crate) fn start(args: &DisplayArgs) -> Result<Option<Exporter>> {
    let ratio = args.tracing_otlp_sample_ratio;
    let exporter = args.tracing_otlp.as_deref().map(|url| Exporter::to(url, ratio)).transpose()?;
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
        .with_writer(Lines { lines, dropped })
        .with_filter(args.log.clone());
    let spans = exporter.as_ref().map(|exporter| {
        tracing_opentelemetry::layer()
            .with_tracer(exporter.tracer())
            .with_location(false)
            .with_filter(args.tracing_otlp_filter.clone())
    });
    let registry = tracing_subscriber::registry().with(layer).with(spans);
    registry.try_init().context("cannot start the log")?;
    Ok(exporter)
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
