//! `eth_call`, `eth_estimateGas` and traced calls, as machines that run in slices. Pure.

mod access_list;
mod estimate;
mod replay;
mod replayed;
mod request;
mod run;
mod scripted;
mod single;
mod streamed;
mod trace_run;
mod traced;

pub use access_list::AccessListed;
pub use replayed::{ReplayJob, ReplayRun, Within};
pub use run::{CallJob, CallKind, CallNoting, CallOutcome, CallRun, CallStep};
pub(crate) use scripted::{Piece, Scripted};
pub(crate) use single::{Single, output_of};
pub use streamed::{TraceFrame, TracePiece};
pub use trace_run::{TraceCall, TraceItem, TraceJob, TraceRun, TraceStart, TraceStep};
