//! Bounds of the measuring programs: value, unit, why.

use std::time::Duration;

/// A reply longer than this ends the measurement: a full block of 20,000 receipts is ~15 MB.
pub const REPLY_BYTES_MAX: usize = 256 << 20;
/// A header block longer than this is not from a JSON-RPC server.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long a node may take from its start to its first answer before the run is given up.
pub const START_MAX: Duration = Duration::from_secs(20);
/// How long a node may take to flush and exit after SIGTERM before it is killed.
pub const STOP_MAX: Duration = Duration::from_secs(5);
/// How long an ordinary request may wait for its reply before the run is given up. anvil was
/// measured to stall for 46 s.
pub const REPLY_MAX: Duration = Duration::from_mins(2);
/// Requests in one JSON-RPC batch of the programs' own reads; nodes refuse 1,000 and more.
pub const READ_BATCH_MAX: usize = 100;
