//! The rule of an actor that has no supervisor: it is supervised by itself, alone.

use std::time::Duration;

use super::machine::{Backoff, Intensity, Rules, Strategy};

/// What the system does when an actor panics that has no supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// A panic stops the actor.
    Never,
    /// It is made anew, its mailbox kept, after `backoff` * 2^k ± 20 %, where k counts the panics
    /// since it last ran for `window`. After more than `max` within `window` the system is stopped.
    Always {
        /// Restarts within `window` before giving up.
        max: u32,
        /// How long a panic is remembered.
        window: Duration,
        /// The first wait.
        backoff: Duration,
    },
}

impl Restart {
    /// For actors without which the node is not whole: 5 restarts a minute, 10 ms at first.
    pub const DEFAULT: Self =
        Self::Always { max: 5, window: Duration::from_mins(1), backoff: Duration::from_millis(10) };

    /// The rules of a supervisor with this one child and nobody above; `None` if there is nothing
    /// to decide.
    pub(crate) fn rules(self) -> Option<Rules> {
        let Self::Always { max, window, backoff } = self else {
            return None;
        };
        Some(Rules {
            strategy: Strategy::Restart,
            intensity: Intensity { max, window },
            backoff: Backoff { base: backoff, reset_after: window, ..Backoff::DEFAULT },
            is_root: true,
        })
    }
}
