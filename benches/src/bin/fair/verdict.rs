//! Holds the loaded phases against the idle one.

use crate::Phase;
use serde_json::{Value, json};
use std::fmt;

/// A loaded block interval p99 may be this many times the idle one.
const BLOCKS_RATIO_MAX: f64 = 1.2;
/// A loaded probe p99 may be this many times the idle one ...
const PROBE_RATIO_MAX: f64 = 5.0;
/// ... or this long, whichever is more, ms.
const PROBE_MS: f64 = 10.0;

/// One budget and what was measured against it.
pub(crate) struct Verdict {
    phase: &'static str,
    what: &'static str,
    idle_ms: f64,
    loaded_ms: f64,
    limit_ms: f64,
}

/// Compares every loaded phase with the first, the idle one.
pub(crate) fn of(phases: &[Phase]) -> Vec<Verdict> {
    let Some((idle, loaded)) = phases.split_first() else { return Vec::new() };
    let probe_limit = |idle_ms: f64| (PROBE_RATIO_MAX * idle_ms).max(PROBE_MS);
    let mut verdicts = Vec::new();
    for phase in loaded {
        let mut add = |what, idle_ms, loaded_ms, limit_ms| {
            verdicts.push(Verdict { phase: phase.name, what, idle_ms, loaded_ms, limit_ms });
        };
        let (before, now) = (idle.block_number.p99_ms, phase.block_number.p99_ms);
        add("eth_blockNumber p99", before, now, probe_limit(before));
        let (before, now) = (idle.balance.p99_ms, phase.balance.p99_ms);
        add("eth_getBalance p99", before, now, probe_limit(before));
        let (before, now) = (idle.blocks.p99_ms, phase.blocks.p99_ms);
        add("block interval p99", before, now, BLOCKS_RATIO_MAX * before);
    }
    verdicts
}

impl Verdict {
    /// Returns true if the budget is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.loaded_ms <= self.limit_ms
    }

    /// The comparison as a JSON object.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "phase": self.phase, "what": self.what, "idle_ms": self.idle_ms,
            "loaded_ms": self.loaded_ms, "limit_ms": self.limit_ms, "is_kept": self.is_kept() })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, what, idle_ms, loaded_ms, limit_ms } = self;
        let ratio = loaded_ms / idle_ms;
        let word = if self.is_kept() { "kept" } else { "MISSED" };
        write!(
            f,
            "{word}: {phase} {what} {loaded_ms:.1} ms, {ratio:.2} x idle, budget {limit_ms:.1} ms"
        )
    }
}
