//! Pages of accounts and slots by hashed key: `debug_accountRange`, `debug_storageRangeAt`.
//!
//! Source: geth `eth/api_debug.go`, `core/state/dump.go`. The store knows keys as they are, not
//! hashed, so a page is the least of all keys that are not below its start: each page is a walk
//! over all of them, in steps, under the request's deadline.

use std::collections::BTreeMap;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use evenkeel_runtime::{Time, checkpoint, consume};
use evenkeel_state::{Account, AccountSearch, SlotSearch, Trie, View, address_after};
use serde::Serialize;

use super::{
    debug_state,
    limits::{ACCOUNT_RANGE_MAX, ACCOUNT_RANGE_SLOTS_MAX, RANGE_REDUCTIONS, STORAGE_RANGE_MAX},
    logs::in_time,
    proof,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::Params,
    position,
    render::{Answered, joined, pieces},
};

/// The least keys from a start on, and the one after them.
struct Page<K, V> {
    start: B256,
    /// How many are wanted; one more is kept.
    len: usize,
    kept: BTreeMap<B256, (K, V)>,
}

impl<K, V> Page<K, V> {
    fn new(start: B256, len: usize) -> Self {
        Self { start, len, kept: BTreeMap::new() }
    }

    fn add(&mut self, hashed: B256, item: (K, V)) {
        let is_beyond = || self.kept.last_key_value().is_some_and(|(last, _)| *last < hashed);
        if hashed < self.start || self.kept.len() > self.len && is_beyond() {
            return;
        }
        self.kept.insert(hashed, item);
        if self.kept.len() > self.len + 1 {
            self.kept.pop_last();
        }
    }

    /// The page, and where the next one begins.
    fn finish(mut self) -> (BTreeMap<B256, (K, V)>, Option<B256>) {
        let next = if self.kept.len() > self.len { self.kept.pop_last() } else { None };
        (self.kept, next.map(|(hashed, _)| hashed))
    }
}

/// The key that bytes name as geth pads them: on their right; more than 32 are cut.
fn start_of(bytes: &[u8]) -> B256 {
    let mut start = B256::ZERO;
    let len = bytes.len().min(start.len());
    start[..len].copy_from_slice(&bytes[..len]);
    start
}

async fn pause(api: &Api, deadline: Time) -> Result<(), RpcError> {
    consume(RANGE_REDUCTIONS);
    checkpoint().await;
    in_time(api.system.now(), deadline)
}

/// `debug_storageRangeAt`: slots of a contract before a transaction.
pub(super) async fn storage_range(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    struct Entry {
        key: B256,
        value: B256,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown {
        storage: BTreeMap<B256, Box<serde_json::value::RawValue>>,
        next_key: Option<B256>,
    }
    let params = Params::new(request.params, 5)?;
    let block = params.required::<BlockId>(0)?;
    let index = params.required::<u64>(1)?;
    let address = params.required::<Address>(2)?;
    let start = start_of(&params.required::<Bytes>(3)?);
    let len = params.required::<u64>(4)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(STORAGE_RANGE_MAX);
    let _place = api.place(request.client).await?;
    let view = debug_state::view_within(api, request, (block, index)).await?;
    let deadline = api.deadline(request.client);
    let mut page = Page::new(start, len);
    let mut from = Some(U256::ZERO);
    while let Some(slot) = from {
        pause(api, deadline).await?;
        from = match view.search_storage(address, slot)? {
            SlotSearch::Found(slot) => {
                let value = view.storage(address, slot)?;
                page.add(keccak256(slot.to_be_bytes::<32>()), (slot, value));
                slot.checked_add(U256::ONE)
            }
            SlotSearch::Nothing => None,
            SlotSearch::Unfinished(slot) => Some(slot),
        };
    }
    let (kept, next_key) = page.finish();
    let hashes: Vec<B256> = kept.keys().copied().collect();
    let entries =
        kept.into_values().map(|(key, value)| Entry { key: key.into(), value: value.into() });
    let entries = pieces(entries).await?;
    let bytes = entries.iter().map(|entry| entry.get().len() + size_of::<B256>()).sum();
    let storage = hashes.into_iter().zip(entries).collect();
    joined(&api.system, Shown { storage, next_key }, bytes).await
}

/// What is asked of `debug_accountRange`.
struct Dump {
    view: View,
    trie: Trie,
    has_code: bool,
    has_storage: bool,
    deadline: Time,
    /// Slots shown so far.
    slots: usize,
}

/// An account of a dump.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DumpAccount {
    balance: String,
    nonce: u64,
    root: B256,
    code_hash: B256,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Bytes>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    storage: BTreeMap<B256, String>,
    address: String,
    key: B256,
}

/// `debug_accountRange`: a page of all accounts of a state.
pub(super) async fn account_range(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    struct Shown {
        /// Without `0x`, as in geth.
        root: String,
        accounts: BTreeMap<String, Box<serde_json::value::RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next: Option<B256>,
    }
    let params = Params::new(request.params, 6)?;
    let block = params.required::<BlockId>(0)?;
    let start = start_of(&params.optional::<Bytes>(1)?.unwrap_or_default());
    let len = params.optional::<u64>(2)?.and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|len| (1..=ACCOUNT_RANGE_MAX).contains(len)).unwrap_or(ACCOUNT_RANGE_MAX);
    let flag = |index| Ok::<_, RpcError>(params.optional::<bool>(index)?.unwrap_or(false));
    let (has_code, has_storage) = (!flag(3)?, !flag(4)?);
    // Whose address is not known: nobody's.
    let _incompletes = flag(5)?;

    let _place = api.place(request.client).await?;
    let deadline = api.deadline(request.client);
    let durable = api.durable.get();
    let view = position::view(api, &durable, block)?;
    let trie = proof::trie(api, &durable, block, deadline).await?;
    let mut dump = Dump { view, trie, has_code, has_storage, deadline, slots: 0 };
    let (kept, next) = dump.page(api, (start, len)).await?;
    let mut bytes = 0;
    let mut accounts = BTreeMap::new();
    for (key, item) in kept {
        let account = dump.account(api, key, item).await?;
        let address = account.address.clone();
        let text = pieces(std::iter::once(account)).await?.swap_remove(0);
        bytes += text.get().len() + address.len();
        accounts.insert(address, text);
    }
    let root = hex::encode(dump.trie.root());
    joined(&api.system, Shown { root, accounts, next }, bytes).await
}

type Accounts = BTreeMap<B256, (Address, Account)>;

impl Dump {
    async fn page(
        &self,
        api: &Api,
        (start, len): (B256, usize),
    ) -> Result<(Accounts, Option<B256>), RpcError> {
        let mut page = Page::new(start, len);
        let mut from = Some(Address::ZERO);
        while let Some(address) = from {
            pause(api, self.deadline).await?;
            from = match self.view.search_account(address)? {
                AccountSearch::Found(address, account) => {
                    page.add(keccak256(address), (address, account));
                    address_after(address)
                }
                AccountSearch::Nothing => None,
                AccountSearch::Unfinished(address) => Some(address),
            };
        }
        Ok(page.finish())
    }

    async fn account(
        &mut self,
        api: &Api,
        key: B256,
        (address, account): (Address, Account),
    ) -> Result<DumpAccount, RpcError> {
        pause(api, self.deadline).await?;
        let has_code = self.has_code && account.has_code();
        let code = has_code.then(|| self.view.code(account.code_hash)).transpose()?;
        let root = self.trie.prove_account(address)?.account.unwrap_or_default().storage_root;
        Ok(DumpAccount {
            balance: account.balance.to_string(),
            nonce: account.nonce,
            root,
            code_hash: account.code_hash,
            code,
            storage: self.storage(api, address).await?,
            address: address.to_string(),
            key,
        })
    }

    /// All slots of an account, in geth's notation.
    async fn storage(
        &mut self,
        api: &Api,
        address: Address,
    ) -> Result<BTreeMap<B256, String>, RpcError> {
        let mut storage = BTreeMap::new();
        let mut from = self.has_storage.then_some(U256::ZERO);
        while let Some(slot) = from {
            pause(api, self.deadline).await?;
            from = match self.view.search_storage(address, slot)? {
                SlotSearch::Found(slot) => {
                    self.slots += 1;
                    if self.slots > ACCOUNT_RANGE_SLOTS_MAX {
                        return Err(RpcError::limit(format!(
                            "more than {ACCOUNT_RANGE_SLOTS_MAX} slots in {address} and the \
                             accounts before it: ask for fewer accounts, or without storage"
                        )));
                    }
                    let value = self.view.storage(address, slot)?;
                    storage.insert(slot.into(), hex::encode(value.to_be_bytes_trimmed_vec()));
                    slot.checked_add(U256::ONE)
                }
                SlotSearch::Nothing => None,
                SlotSearch::Unfinished(slot) => Some(slot),
            };
        }
        Ok(storage)
    }
}
