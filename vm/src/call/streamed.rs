//! What of traces is taken while they run, and how their text is framed. Pure.

use std::collections::VecDeque;

use alloy_primitives::{B256, bytes::Bytes};
use alloy_rpc_types_trace::parity::LocalizedTransactionTrace;

use super::traced::TracedTx;
use crate::{
    limits::TEXT_PIECE_BYTES,
    tracer::{Items, Json, Traced},
};

/// How the text of streamed traces is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceFrame {
    /// It is the text of the one trace.
    One,
    /// It is geth's list: each trace with the hash of its transaction.
    Block,
    /// It is a list of the traces.
    List,
    /// It is a list of the traces between these texts.
    ListWithin {
        /// What comes before the list.
        before: String,
        /// What comes after it.
        after: String,
    },
    /// It is a list of lists, which have so many traces.
    Lists(Vec<usize>),
    /// Each trace is a text by itself.
    Apart,
}

/// A part of what is streamed.
#[derive(Debug)]
pub enum TracePiece {
    /// Text; all pieces one after the other are JSON.
    Text(Bytes),
    /// Another trace follows, for [`TraceFrame::Block`] and [`TraceFrame::Apart`]. With `]` instead
    /// of it the traces of a block are JSON too.
    Between,
    /// Some traces, for [`TraceKind::Flat`](crate::TraceKind::Flat). They have no frame.
    Flat {
        /// The traces, in order.
        traces: Vec<LocalizedTransactionTrace>,
        /// Bytes that they hold.
        bytes: usize,
    },
}

impl TracePiece {
    /// Bytes that it holds.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Between => 0,
            Self::Flat { bytes, .. } => *bytes,
        }
    }
}

/// What is taken while the traces run.
pub(super) struct Streamed {
    frame: Frame,
    pieces: VecDeque<TracePiece>,
    /// Whether a trace has begun.
    has_traces: bool,
}

/// A frame in the middle of being written.
enum Frame {
    /// Nothing but what the traces are.
    Bare,
    Apart,
    Block,
    /// What comes before the first of the traces, and after the last.
    List {
        before: String,
        after: String,
    },
    /// What comes before each of the traces, and after the last.
    Lists {
        before: VecDeque<String>,
        end: String,
    },
}

impl Frame {
    fn lists(lens: &[usize]) -> Self {
        let (mut before, mut open) = (VecDeque::new(), "[".to_owned());
        for (nth, &len) in lens.iter().enumerate() {
            open.push_str(if nth == 0 { "[" } else { ",[" });
            for nth in 0..len {
                open.push_str(if nth == 0 { "" } else { "," });
                before.push_back(std::mem::take(&mut open));
            }
            open.push(']');
        }
        Self::Lists { before, end: open + "]" }
    }
}

impl Streamed {
    /// Traces that are `is_flat` have no frame.
    pub(super) fn new(frame: TraceFrame, is_flat: bool) -> Self {
        let frame = match frame {
            _ if is_flat => Frame::Bare,
            TraceFrame::One => Frame::Bare,
            TraceFrame::Apart => Frame::Apart,
            TraceFrame::Block => Frame::Block,
            TraceFrame::List => Frame::List { before: String::new(), after: String::new() },
            TraceFrame::ListWithin { before, after } => Frame::List { before, after },
            TraceFrame::Lists(lens) => Frame::lists(&lens),
        };
        Self { frame, pieces: VecDeque::new(), has_traces: false }
    }

    /// The next piece, if there is one.
    pub(super) fn take(&mut self) -> Option<TracePiece> {
        self.pieces.pop_front()
    }

    fn push(&mut self, text: impl Into<Bytes>) {
        self.pieces.push_back(TracePiece::Text(text.into()));
    }

    /// What the trace under way has written.
    pub(super) fn extend(&mut self, tracing: &mut TracedTx) {
        for text in tracing.take_text() {
            self.push_long(text.into());
        }
        let Items { traces, bytes } = tracing.take_items();
        if !traces.is_empty() {
            self.pieces.push_back(TracePiece::Flat { traces, bytes });
        }
    }

    fn push_long(&mut self, mut text: Bytes) {
        while !text.is_empty() {
            let piece = text.split_to(TEXT_PIECE_BYTES.min(text.len()));
            self.push(piece);
        }
    }

    /// A trace follows: of the transaction with this hash, if it has been signed.
    pub(super) fn begin(&mut self, hash: Option<B256>) {
        let before = if std::mem::replace(&mut self.has_traces, true) { ',' } else { '[' };
        if before == ',' && matches!(self.frame, Frame::Block | Frame::Apart) {
            self.pieces.push_back(TracePiece::Between);
        }
        match &mut self.frame {
            Frame::Bare | Frame::Apart => {}
            Frame::Block => {
                let hash = hash.unwrap_or_default();
                self.push(format!(r#"{before}{{"txHash":"{hash}","result":"#));
            }
            Frame::List { before: head, .. } => {
                let before = std::mem::take(head) + before.encode_utf8(&mut [0; 4]);
                self.push(before);
            }
            Frame::Lists { before, .. } => {
                let before = before.pop_front().expect("the lists have as many as there are");
                self.push(before);
            }
        }
    }

    /// A trace has ended, which left this if it did not write while it ran.
    pub(super) fn end_trace(&mut self, left: Option<Traced>) {
        match left {
            Some(Traced::Json(Json(text))) => {
                self.push_long(Box::<str>::from(text).into_string().into());
            }
            Some(Traced::Operations(_) | Traced::Output(_)) => {
                unreachable!("they are not streamed")
            }
            None => {}
        }
        if matches!(self.frame, Frame::Block) {
            self.push("}");
        }
    }

    /// The last trace has ended.
    pub(super) fn end(&mut self) {
        match &mut self.frame {
            Frame::Bare | Frame::Apart => {}
            Frame::Block => self.push(if self.has_traces { "]" } else { "[]" }),
            Frame::List { before, after } => {
                let list = if self.has_traces { "]" } else { "[]" };
                let end = format!("{before}{list}{after}");
                self.push(end);
            }
            Frame::Lists { end, .. } => {
                let end = std::mem::take(end);
                self.push(end);
            }
        }
    }
}
