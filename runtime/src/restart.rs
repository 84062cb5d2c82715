//! What happens after a panic. Pure: time and entropy are parameters.

use std::{collections::VecDeque, time::Duration};

use crate::{entropy::Entropy, time::Time};

/// What the system does when an actor panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// A panic stops the actor.
    Never,
    /// It is made anew, its mailbox kept, after `backoff` * 2^k ± 20 %, where k counts the panics
    /// within `window`. After more than `max` of them the system is stopped.
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
}

/// No wait is longer than this, however often an actor panics.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Stop,
    Again { at: Time },
    Escalate { panics: u32 },
}

/// The panics of one actor that are still remembered.
#[derive(Debug, Default)]
pub(crate) struct Restarts(VecDeque<Time>);

impl Restarts {
    pub(crate) fn decide(&mut self, rule: Restart, now: Time, entropy: &mut Entropy) -> Decision {
        let Restart::Always { max, window, backoff } = rule else {
            return Decision::Stop;
        };
        self.0.retain(|&at| now - at < window);
        self.0.push_back(now);
        let panics = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if panics > max {
            return Decision::Escalate { panics };
        }
        let doubled = 2_u32.checked_pow(panics - 1).and_then(|by| backoff.checked_mul(by));
        let wait = doubled.unwrap_or(BACKOFF_MAX).min(BACKOFF_MAX);
        // 80 % to 120 %, so that actors that fell together do not get up together.
        let percent = 80 + u32::try_from(entropy.below(41)).expect("below 41");
        Decision::Again { at: now + wait * percent / 100 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: waits double within ± 20 %, the bound escalates, and old panics are forgotten.
    #[test]
    fn waits_double_until_the_bound_and_are_forgotten_after_the_window() {
        let window = Duration::from_secs(10);
        let backoff = Duration::from_millis(100);
        let rule = Restart::Always { max: 3, window, backoff };
        for seed in 0..100 {
            let mut entropy = Entropy::from_seed(seed);
            let mut restarts = Restarts::default();
            for k in 0..3_u32 {
                let Decision::Again { at } = restarts.decide(rule, Time::ZERO, &mut entropy) else {
                    panic!("restart {k} is within the bound");
                };
                let (wait, base) = (at - Time::ZERO, backoff * 2_u32.pow(k));
                assert!(wait >= base * 8 / 10 && wait <= base * 12 / 10, "{k}: {wait:?}");
            }
            let fourth = restarts.decide(rule, Time::ZERO, &mut entropy);
            assert_eq!(fourth, Decision::Escalate { panics: 4 });
            let later = restarts.decide(rule, Time::ZERO + window, &mut entropy);
            assert!(matches!(later, Decision::Again { .. }), "{later:?}");
        }
    }
}
