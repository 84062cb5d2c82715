//! `eth_call`, `eth_estimateGas` and traced calls, as machines that run in slices. Pure.

mod estimate;
mod request;
mod run;
mod single;
mod trace_run;

pub use run::{CallJob, CallKind, CallOutcome, CallRun, CallStep};
pub(crate) use single::Single;
pub use trace_run::{TraceJob, TraceRun, TraceStep};
