//! The order in which clients get places.
//!
//! Pure.
//!
//! # Invariants
//!
//! - P1: no bound of [`PlaceLimits`] is ever exceeded.
//! - P2: nobody waits who could run.
//! - P3: a client's requests get places in the order they came; of clients that could run, the one
//!   that got a place longest ago by turns is next, so one with a thousand waiting delays another
//!   with one by one place.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use super::PlaceLimits;
use crate::client::ClientId;

/// When the one who came gets its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has it.
    Now,
    /// It waits under this number.
    Later(u64),
}

/// Whose line is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Client,
    Node,
}

/// Who runs and who waits; `W` wakes one who waits.
pub(super) struct Line<W> {
    limits: PlaceLimits,
    /// Clients that run or wait.
    lanes: BTreeMap<ClientId, Lane<W>>,
    running: usize,
    waiting: usize,
    next_ticket: u64,
    /// Who got the last place that was waited for; the next turn is the next client's.
    last: ClientId,
}

struct Lane<W> {
    running: usize,
    /// By ticket, which grows.
    waiting: VecDeque<(u64, W)>,
}

impl<W> Line<W> {
    pub(super) fn new(limits: PlaceLimits) -> Self {
        assert!(limits.running_max > 0 && limits.running_per_client_max > 0, "somebody may run");
        let last = ClientId::default();
        Self { limits, lanes: BTreeMap::new(), running: 0, waiting: 0, next_ticket: 0, last }
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// One of `client` comes. O(log clients).
    pub(super) fn enter(&mut self, client: ClientId, waker: W) -> Result<Turn, Full> {
        let limits = self.limits;
        let lane = self.lanes.get(&client);
        let (running, waiting) = lane.map_or((0, 0), |lane| (lane.running, lane.waiting.len()));
        // P2: whoever waits cannot run, so nobody is passed by.
        if self.running < limits.running_max && running < limits.running_per_client_max {
            self.lane(client).running += 1;
            self.running += 1;
            return Ok(Turn::Now);
        }
        if waiting >= limits.waiting_per_client_max {
            return Err(Full::Client);
        }
        if self.waiting >= limits.waiting_max {
            return Err(Full::Node);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        self.lane(client).waiting.push_back((ticket, waker));
        Ok(Turn::Later(ticket))
    }

    /// One of `client` ends; who gets the place. O(clients).
    pub(super) fn leave(&mut self, client: ClientId) -> Option<(ClientId, W)> {
        let lane = self.lanes.get_mut(&client).expect("who leaves has run");
        assert!(lane.running > 0 && self.running > 0, "who leaves has run");
        lane.running -= 1;
        self.running -= 1;
        self.forget_if_idle(client);
        let next = self.next()?;
        let lane = self.lanes.get_mut(&next)?;
        let (_, waker) = lane.waiting.pop_front()?;
        lane.running += 1;
        self.running += 1;
        self.waiting -= 1;
        self.last = next;
        Some((next, waker))
    }

    /// The one with this ticket does not wait any more; its waker, if it still did. O(log).
    pub(super) fn give_up(&mut self, client: ClientId, ticket: u64) -> Option<W> {
        let lane = self.lanes.get_mut(&client)?;
        let index = lane.waiting.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        let (_, waker) = lane.waiting.remove(index)?;
        self.waiting -= 1;
        self.forget_if_idle(client);
        Some(waker)
    }

    /// Whose turn it is, of those that wait and may run.
    fn next(&self) -> Option<ClientId> {
        let after = self.lanes.range((Bound::Excluded(self.last), Bound::Unbounded));
        let mut in_turn = after.chain(self.lanes.range(..=self.last));
        let may_run = |lane: &Lane<W>| {
            !lane.waiting.is_empty() && lane.running < self.limits.running_per_client_max
        };
        in_turn.find(|(_, lane)| may_run(lane)).map(|(client, _)| *client)
    }

    fn lane(&mut self, client: ClientId) -> &mut Lane<W> {
        self.lanes.entry(client).or_insert(Lane { running: 0, waiting: VecDeque::new() })
    }

    fn forget_if_idle(&mut self, client: ClientId) {
        let is_idle = |lane: &Lane<W>| lane.running == 0 && lane.waiting.is_empty();
        if self.lanes.get(&client).is_some_and(is_idle) {
            self.lanes.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENTS: u64 = 4;
    const LIMITS: PlaceLimits = PlaceLimits {
        running_max: 5,
        running_per_client_max: 3,
        waiting_max: 7,
        waiting_per_client_max: 4,
        late_max: 0,
        late_per_client_max: 0,
    };

    /// The same with plain lists: who runs, and who waits in order of arrival.
    #[derive(Default)]
    struct Model {
        running: Vec<ClientId>,
        waiting: Vec<(ClientId, u64)>,
    }

    impl Model {
        fn count(list: impl Iterator<Item = ClientId>, client: ClientId) -> usize {
            list.filter(|other| *other == client).count()
        }

        fn running_of(&self, client: ClientId) -> usize {
            Self::count(self.running.iter().copied(), client)
        }

        fn waiting_of(&self, client: ClientId) -> usize {
            Self::count(self.waiting.iter().map(|(client, _)| *client), client)
        }

        fn may_run(&self, client: ClientId) -> bool {
            self.running.len() < LIMITS.running_max
                && self.running_of(client) < LIMITS.running_per_client_max
        }
    }

    proptest! {
        /// Goal: P1 to P3, and that every waker is given out once.
        /// Method: random arrivals, ends and departures of 4 clients beside a model; P3 by counting
        /// how often a client that could run was passed by.
        #[test]
        fn places_are_given_in_turn(
            events in proptest::collection::vec((0..4_u8, 0..CLIENTS, any::<usize>()), 0..300),
        ) {
            let mut line = Line::new(LIMITS);
            let mut model = Model::default();
            let mut passed_by = BTreeMap::<ClientId, u64>::new();
            for (what, client, random) in events {
                let client = ClientId::new(client);
                match what {
                    0 | 1 => {
                        let (waits, all) = (model.waiting_of(client), model.waiting.len());
                        match line.enter(client, line.next_ticket) {
                            Ok(Turn::Now) => {
                                prop_assert!(model.may_run(client), "P1");
                                model.running.push(client);
                            }
                            Ok(Turn::Later(ticket)) => {
                                prop_assert!(!model.may_run(client), "P2");
                                model.waiting.push((client, ticket));
                            }
                            Err(Full::Client) => {
                                prop_assert_eq!(waits, LIMITS.waiting_per_client_max);
                            }
                            Err(Full::Node) => prop_assert_eq!(all, LIMITS.waiting_max),
                        }
                    }
                    2 if !model.running.is_empty() => {
                        let gone = model.running.swap_remove(random % model.running.len());
                        let could: Vec<_> = model.waiting.iter().map(|(client, _)| *client)
                            .filter(|client| model.may_run(*client)).collect();
                        let Some((next, ticket)) = line.leave(gone) else {
                            prop_assert!(could.is_empty(), "P2");
                            continue;
                        };
                        prop_assert!(could.contains(&next), "P1");
                        let first = model.waiting.iter().position(|(client, _)| *client == next);
                        let first = model.waiting.remove(first.expect("it waits"));
                        prop_assert_eq!(first, (next, ticket), "P3: in order within a client");
                        model.running.push(next);
                        passed_by.remove(&next);
                        for client in (0..CLIENTS).map(ClientId::new) {
                            if client != next && could.contains(&client) {
                                *passed_by.entry(client).or_default() += 1;
                                prop_assert!(passed_by[&client] < CLIENTS, "P3: in turn");
                            } else {
                                passed_by.remove(&client);
                            }
                        }
                    }
                    3 if !model.waiting.is_empty() => {
                        let (client, ticket) =
                            model.waiting.remove(random % model.waiting.len());
                        prop_assert_eq!(line.give_up(client, ticket), Some(ticket));
                        prop_assert_eq!(line.give_up(client, ticket), None);
                    }
                    _ => {}
                }
                prop_assert_eq!(line.running(), model.running.len());
                prop_assert_eq!(line.waiting(), model.waiting.len());
                prop_assert!(line.running() <= LIMITS.running_max, "P1");
                let lanes = (0..CLIENTS).map(ClientId::new)
                    .filter(|client| model.running_of(*client) + model.waiting_of(*client) > 0);
                prop_assert_eq!(line.lanes.len(), lanes.count(), "idle clients are forgotten");
            }
        }
    }
}
