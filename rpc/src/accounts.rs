//! Whose name this node may sign in: the dev accounts it has keys of, and the impersonated ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use evenkeel_chain::DevAccounts;
use futures_util::lock::Mutex as AsyncMutex;

use crate::methods::limits::IMPERSONATED_MAX;

/// Locks that senders take turns by.
const TURNS: usize = 32;

/// Keys of the dev accounts, and who is impersonated.
#[derive(Default)]
pub struct Accounts {
    /// In the order of the mnemonic's paths, then of the other keys, as `eth_accounts` lists them.
    order: Vec<Address>,
    signers: BTreeMap<Address, PrivateKeySigner>,
    impersonated: Mutex<BTreeSet<Address>>,
    is_auto: AtomicBool,
    /// One lock for the senders of one residue: bounded, and two of them rarely meet.
    turns: [AsyncMutex<()>; TURNS],
}

/// How a transaction of an address may be signed here.
#[derive(Clone, Copy)]
pub(crate) enum Authority<'a> {
    /// With the key we hold.
    Key(&'a PrivateKeySigner),
    /// With a made-up signature: the operator said so.
    Impersonated,
    /// Not at all.
    None,
}

impl Accounts {
    /// Accounts with the keys of `dev`, then `keys`; nobody is impersonated.
    pub fn new(dev: &DevAccounts, keys: &[PrivateKeySigner]) -> Self {
        let mut order = Vec::new();
        let mut signers = BTreeMap::new();
        for signer in dev.signers().iter().chain(keys) {
            if signers.insert(signer.address(), signer.clone()).is_none() {
                order.push(signer.address());
            }
        }
        Self { order, signers, ..Self::default() }
    }

    /// The dev accounts, then the impersonated ones.
    pub fn addresses(&self) -> Vec<Address> {
        let mut all = self.order.clone();
        let others = self.lock();
        all.extend(others.iter().filter(|address| !self.signers.contains_key(*address)));
        all
    }

    /// The key of `address`, if it is a dev account.
    pub fn signer(&self, address: Address) -> Option<&PrivateKeySigner> {
        self.signers.get(&address)
    }

    /// Lets transactions of `address` through without its key. False if too many are impersonated.
    pub fn impersonate(&self, address: Address) -> bool {
        let mut set = self.lock();
        if set.len() >= IMPERSONATED_MAX && !set.contains(&address) {
            return false;
        }
        set.insert(address);
        true
    }

    /// Ends [`impersonate`](Self::impersonate).
    pub fn stop_impersonating(&self, address: Address) {
        self.lock().remove(&address);
    }

    /// Impersonates everybody, or no longer.
    pub fn set_auto_impersonate(&self, is_auto: bool) {
        self.is_auto.store(is_auto, Ordering::Relaxed);
    }

    /// Held while a transaction of `sender` draws its nonce and enters the pool.
    pub(crate) fn turn(&self, sender: Address) -> &AsyncMutex<()> {
        &self.turns[usize::from(sender[19]) % TURNS]
    }

    /// How `address` may sign. Impersonation wins over a key, as the operator asked for it.
    pub(crate) fn authority(&self, address: Address) -> Authority<'_> {
        if self.lock().contains(&address) {
            return Authority::Impersonated;
        }
        match self.signers.get(&address) {
            Some(signer) => Authority::Key(signer),
            None if self.is_auto.load(Ordering::Relaxed) => Authority::Impersonated,
            None => Authority::None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Address>> {
        // A set of addresses cannot be half changed, so a poisoned lock still guards a good set.
        self.impersonated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
