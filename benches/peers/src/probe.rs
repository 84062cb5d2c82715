//! Probes from a thread that no runtime owns, and what they say about fairness.

use std::{
    sync::mpsc::{Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// The longest wait for one answer; after it the actor counts as starved.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How long the busy actors run before the first probe.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);

/// A message that wants an answer.
pub struct Probe {
    sent: Instant,
    waited: Sender<Duration>,
}

impl Probe {
    /// Says that its actor has got its turn.
    pub fn answer(self) {
        // Nobody listens after the time is up.
        let _ = self.waited.send(self.sent.elapsed());
    }
}

/// How long each probe waited; one that nobody answered has waited for ever.
pub(crate) struct Waits {
    sorted: Vec<Duration>,
    pub(crate) sent: usize,
}

impl Waits {
    fn new(mut waits: Vec<Duration>, sent: usize) -> Self {
        waits.sort_unstable();
        Self { sorted: waits, sent }
    }

    pub(crate) const fn answered(&self) -> usize {
        self.sorted.len()
    }

    /// All but `100 - percent` in a hundred waited no longer than this, in us.
    pub(crate) fn percentile_us(&self, percent: usize) -> f64 {
        let index = (self.sent * percent).div_ceil(100).saturating_sub(1);
        self.sorted.get(index).map_or(f64::INFINITY, |wait| wait.as_secs_f64() * 1e6)
    }
}

/// Sends up to `probes` messages, one after the other, each with a pause before it, and measures
/// until the answer is here. Ends early after `time_max` or an answer that does not come.
pub(crate) fn probe(probes: usize, time_max: Duration, send: impl Fn(Probe)) -> Waits {
    let (waited, answers) = channel();
    let first = Instant::now();
    let mut waits = Vec::with_capacity(probes);
    let mut number = 0;
    while number < probes && first.elapsed() < time_max {
        // Pauses of different length, so that probes do not keep step with a quantum or a timer.
        thread::sleep(Duration::from_micros(700 + (number as u64 * 37) % 300));
        let began = Instant::now();
        send(Probe { sent: began, waited: waited.clone() });
        number += 1;
        if answers.recv_timeout(WAIT_MAX).is_err() {
            break;
        }
        waits.push(began.elapsed());
    }
    Waits::new(waits, number)
}

/// Sends a probe to each of `actors` at once and waits until all are answered, or nothing comes
/// any more. Each measures until its actor has its turn.
pub(crate) fn burst(actors: &[impl Fn(Probe)]) -> Vec<Duration> {
    let (waited, answers) = channel();
    for send in actors {
        send(Probe { sent: Instant::now(), waited: waited.clone() });
    }
    let answer = |_| answers.recv_timeout(WAIT_MAX).ok();
    actors.iter().map_while(answer).collect()
}

/// All waits of some bursts to this many actors each.
pub(crate) fn bursts(times: usize, actors: &[impl Fn(Probe)]) -> Waits {
    let waits = (0..times).flat_map(|_| burst(actors)).collect();
    Waits::new(waits, times * actors.len())
}

/// Jain's fairness index of what equal actors got: 1 if all got the same, 1/n if one got all.
pub(crate) fn jain_index(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a starved actor shows, however few they are.
    #[test]
    fn what_is_never_answered_has_waited_for_ever() {
        let waits = Waits::new((1..=98).map(Duration::from_micros).collect(), 100);
        assert!((waits.percentile_us(50) - 50.0).abs() < 1e-6);
        assert!((waits.percentile_us(98) - 98.0).abs() < 1e-6);
        assert!(waits.percentile_us(99).is_infinite());
    }

    /// Goal: the index is 1 for equal shares and 1/n if one has all.
    #[test]
    fn jain_index_of_extremes() {
        assert!((jain_index(&[7, 7, 7, 7]) - 1.0).abs() < 1e-9);
        assert!((jain_index(&[9, 0, 0, 0]) - 0.25).abs() < 1e-9);
        assert!(jain_index(&[0, 0]).abs() < 1e-9);
    }
}
