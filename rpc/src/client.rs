//! Who asks: the fair share a request is worked in, and when it arrived.
//!
//! A client is its API key (`x-api-key`) if it shows one, else its remote address. All it has
//! running at once divides one share, whatever the number of its connections.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use evenkeel_runtime::{Share, Time};

use crate::limits::{API_KEY_BYTES_MAX, CLIENTS_MAX};

/// One request's client.
#[derive(Clone, Debug)]
pub struct Client {
    /// What all work for this client is charged to.
    pub share: Share,
    /// When the request arrived: deadlines count from here.
    pub arrived: Time,
}

/// What tells clients apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientKey {
    /// Value of the `x-api-key` header.
    ApiKey(Box<[u8]>),
    /// Where the connection comes from.
    Address(IpAddr),
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

/// The shares of all clients seen lately, at most [`CLIENTS_MAX`].
#[derive(Debug, Default)]
pub struct Clients {
    shares: Mutex<BTreeMap<ClientKey, Share>>,
    /// For newcomers when the map is full of busy clients.
    crowd: Share,
}

impl Clients {
    /// The share of `key`; a new one if it has none. O(log n), O(n) when the map is full.
    pub fn share(&self, key: ClientKey) -> Share {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&key) {
            return share.clone();
        }
        if shares.len() >= CLIENTS_MAX {
            shares.retain(|_, share| share.active() > 0);
        }
        if shares.len() >= CLIENTS_MAX {
            return self.crowd.clone();
        }
        let share = Share::new();
        shares.insert(key, share.clone());
        assert!(shares.len() <= CLIENTS_MAX);
        share
    }

    /// Clients remembered now.
    pub fn len(&self) -> usize {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// True if no client is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a stranger with a new key for each request cannot grow the map.
    /// Method: three times as many keys as fit, none of them active.
    #[test]
    fn the_map_stays_bounded() {
        let clients = Clients::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        for n in 0..3 * CLIENTS_MAX {
            clients.share(ClientKey::new(Some(&n.to_le_bytes()), address));
            assert!(clients.len() <= CLIENTS_MAX);
        }
        let long = vec![b'k'; API_KEY_BYTES_MAX + 1];
        assert_eq!(ClientKey::new(Some(&long), address), ClientKey::Address(address));
        assert_eq!(ClientKey::new(Some(b""), address), ClientKey::Address(address));
    }
}
