//! Who asks: the fair share a request is worked in, and when it arrived.
//!
//! A client is its API key (`x-api-key`) if it shows one, else its remote address. All it has
//! running at once divides one share, whatever the number of its connections.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_runtime::{Share, Time};
use evenkeel_vm::Hold;

use crate::{
    executions::Held,
    limits::{API_KEY_BYTES_MAX, CLIENTS_MAX},
};

/// Tells clients apart where their requests wait in line; not used twice in a run of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

impl ClientId {
    /// The client with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of the client.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What all requests of one client have in common.
#[derive(Clone, Debug)]
pub struct Member {
    /// What all work for it is charged to.
    pub share: Share,
    /// Which one it is.
    pub id: ClientId,
}

/// One request's client.
#[derive(Clone, Debug)]
pub struct Client {
    /// What all work for this client is charged to.
    pub share: Share,
    /// Which one it is.
    pub id: ClientId,
    /// When the request arrived: deadlines count from here.
    pub arrived: Time,
    /// How what it asks for is held, if it is.
    pub(crate) held: Option<Arc<Held>>,
}

impl Client {
    /// A request of `member` that arrived at `arrived`.
    #[must_use]
    pub fn new(member: &Member, arrived: Time) -> Self {
        Self { share: member.share.clone(), id: member.id, arrived, held: None }
    }

    /// Who may pause what is executed for it.
    pub(crate) fn hold(&self) -> Option<&Hold> {
        self.held.as_ref().map(|held| &held.hold)
    }
}

/// What tells clients apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKey {
    /// Value of the `x-api-key` header.
    ApiKey(Box<[u8]>),
    /// Where the connection comes from.
    Address(IpAddr),
    /// The machine itself, over a Unix socket.
    Local,
}

impl ClientKey {
    /// The key of a request with this API key, from this address.
    pub fn new(api_key: Option<&[u8]>, address: IpAddr) -> Self {
        match api_key {
            Some(key) if !key.is_empty() && key.len() <= API_KEY_BYTES_MAX => {
                Self::ApiKey(key.into())
            }
            Some(_) | None => Self::Address(address),
        }
    }
}

/// All clients seen lately, at most [`CLIENTS_MAX`]. One is not forgotten while anybody holds its
/// share, so what it owns (held executions, its weight) stays its own.
#[derive(Debug)]
pub struct Clients {
    known: Mutex<Known>,
    /// For newcomers when the map is full of busy clients.
    crowd: Member,
}

#[derive(Debug, Default)]
struct Known {
    members: BTreeMap<ClientKey, Member>,
    /// How many there ever were; the crowd is number 0.
    count: u64,
}

impl Default for Clients {
    fn default() -> Self {
        let crowd = Member { share: Share::new(), id: ClientId(0) };
        Self { known: Mutex::default(), crowd }
    }
}

impl Clients {
    /// The client with `key`; a new one if it is not known. O(log n), O(n) when the map is full.
    pub fn member(&self, key: ClientKey) -> Member {
        let mut known = self.lock();
        if let Some(member) = known.members.get(&key) {
            return member.clone();
        }
        if known.members.len() >= CLIENTS_MAX {
            // Who has a connection, a request, a held execution or a weight comes back as the same.
            known.members.retain(|_, member| member.share.is_held_elsewhere());
        }
        if known.members.len() >= CLIENTS_MAX {
            return self.crowd.clone();
        }
        known.count += 1;
        let member = Member { share: Share::new(), id: ClientId(known.count) };
        known.members.insert(key, member.clone());
        assert!(known.members.len() <= CLIENTS_MAX);
        member
    }

    /// Clients remembered now.
    pub fn len(&self) -> usize {
        self.lock().members.len()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if no client is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_runtime::limits::SHARE_WEIGHT_ONE;

    use super::*;
    use crate::executions::{Executions, Method, ToHold};

    /// Goal: a stranger with a new key for each request cannot grow the map.
    /// Method: three times as many keys as fit, none of them active.
    #[test]
    fn the_map_stays_bounded() {
        let clients = Clients::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        for n in 0..3 * CLIENTS_MAX {
            clients.member(ClientKey::new(Some(&n.to_le_bytes()), address));
            assert!(clients.len() <= CLIENTS_MAX);
        }
        let long = vec![b'k'; API_KEY_BYTES_MAX + 1];
        assert_eq!(ClientKey::new(Some(&long), address), ClientKey::Address(address));
        assert_eq!(ClientKey::new(Some(b""), address), ClientKey::Address(address));
        let newest = ClientKey::new(Some(b"newest"), address);
        let id = clients.member(newest.clone()).id;
        assert_eq!(clients.member(newest).id, id, "one client is one");
        assert_ne!(clients.member(ClientKey::Address(address)).id, id);
    }

    /// Goal: a crowd of newcomers cannot part a client from its held execution or its weight,
    /// though nothing of it runs; once both are gone it is forgotten.
    #[test]
    fn who_owns_something_is_not_forgotten() {
        let clients = Clients::default();
        let executions = Executions::default();
        let key = |name: &[u8]| ClientKey::new(Some(name), IpAddr::from([127, 0, 0, 1]));
        let flood = |round: u64| {
            for n in 0..CLIENTS_MAX as u64 {
                clients.member(key(&[round.to_le_bytes(), n.to_le_bytes()].concat()));
            }
        };
        let client = Client::new(&clients.member(key(b"owner")), Time::ZERO);
        let id = client.id;
        let to_hold = ToHold {
            method: Method::Call,
            params: None,
            hold: Hold::new(true),
            deadline: Time::ZERO,
            timeout: Duration::ZERO,
        };
        let held = executions.hold(&client, to_hold).expect("there is room").held.id;
        executions.set_weight(id, 32).expect("it holds an execution");
        drop(client);
        flood(1);
        assert_eq!(clients.member(key(b"owner")).id, id, "an execution and a weight");
        executions.forget(held);
        flood(2);
        assert_eq!(clients.member(key(b"owner")).id, id, "a weight");
        executions.set_weight(id, SHARE_WEIGHT_ONE).expect("it has a weight");
        flood(3);
        assert_ne!(clients.member(key(b"owner")).id, id, "nothing");
    }
}
