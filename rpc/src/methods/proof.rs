//! Accounts as the state trie has them, with proofs, and many slots at once.
//!
//! Only the head has its trie. That of an earlier block is the head's with every value that changed
//! since set back, in steps, in the client's share and with a place like an execution: it costs
//! what the blocks in between changed, up to a bound.

use std::collections::BTreeMap;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256};
use evenkeel_runtime::{Time, checkpoint, consume};
use evenkeel_state::{AccountProof, Durable, SlotProof, Trie, TrieStep};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    limits::{READ_REDUCTIONS, SLOTS_MAX, TRIE_STEP},
    logs::in_time,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Arg as _, Object, Params, Slot, refuse},
    position::{self, At, header_not_found},
    render::{Answered, answer},
};

/// geth's `errCodeClientLimitExceeded`.
const CODE_LIMIT: i64 = -38_026;

/// `eth_getProof` (EIP-1186).
pub(super) async fn proof(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown {
        address: Address,
        account_proof: Vec<Bytes>,
        balance: U256,
        code_hash: B256,
        nonce: String,
        storage_hash: B256,
        storage_proof: Vec<ShownSlot>,
    }
    #[derive(Serialize)]
    struct ShownSlot {
        key: String,
        value: U256,
        proof: Vec<Bytes>,
    }
    let params = Params::new(request.params, 3)?;
    let address = params.required(0)?;
    let Object(keys) = params.required::<Object<Vec<Box<RawValue>>>>(1)?;
    check_count(keys.len())?;
    let keys = keys.iter().map(|key| Key::parse(key)).collect::<Result<Vec<_>, _>>()?;
    let _place = api.place(request.client).await?;
    let deadline = api.deadline(request.client);
    let trie = trie(api, &api.durable.get(), params.block(2)?, deadline).await?;
    let AccountProof { account, nodes } = trie.prove_account(address)?;
    let mut storage_proof = Vec::with_capacity(keys.len());
    for Key { shown, slot } in keys {
        consume(READ_REDUCTIONS);
        checkpoint().await;
        in_time(api.system.now(), deadline)?;
        let SlotProof { value, nodes } = match &account {
            Some(account) => trie.prove_slot(address, account.storage_root, slot)?,
            None => SlotProof { value: U256::ZERO, nodes: Vec::new() },
        };
        storage_proof.push(ShownSlot { key: shown, value, proof: nodes });
    }
    // An account that is not there has neither hash, as in geth.
    let (code_hash, storage_hash) =
        account.map(|account| (account.code_hash, account.storage_root)).unwrap_or_default();
    answer(&Shown {
        address,
        account_proof: nodes,
        balance: account.map(|account| account.balance).unwrap_or_default(),
        code_hash,
        nonce: format!("{:#x}", account.map(|account| account.nonce).unwrap_or_default()),
        storage_hash,
        storage_proof,
    })
}

/// `eth_getAccount`: the account as it is in the state trie.
pub(super) async fn account(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown {
        balance: U256,
        code_hash: B256,
        nonce: String,
        storage_root: B256,
    }
    let params = Params::new(request.params, 2)?;
    let address = params.required(0)?;
    let _place = api.place(request.client).await?;
    let deadline = api.deadline(request.client);
    let trie = trie(api, &api.durable.get(), params.block(1)?, deadline).await?;
    let account = trie.prove_account(address)?.account.unwrap_or_default();
    answer(&Shown {
        balance: account.balance,
        code_hash: account.code_hash,
        nonce: format!("{:#x}", account.nonce),
        storage_root: account.storage_root,
    })
}

/// `eth_getStorageValues`: slots of several accounts.
pub(super) async fn storage_values(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let Object(asked) = params.required::<Object<BTreeMap<Address, Vec<Box<RawValue>>>>>(0)?;
    let count = asked.values().map(Vec::len).sum();
    if count == 0 {
        return Err(RpcError::invalid_params("empty request"));
    }
    check_count(count)?;
    let view = position::view(api, &api.durable.get(), params.block(1)?)?;
    let mut values = BTreeMap::<Address, Vec<B256>>::new();
    for (address, keys) in asked {
        let found = values.entry(address).or_default();
        for key in keys {
            consume(READ_REDUCTIONS);
            checkpoint().await;
            found.push(view.storage(address, Key::parse(&key)?.slot)?.into());
        }
    }
    answer(&values)
}

fn check_count(slots: usize) -> Result<(), RpcError> {
    if slots <= SLOTS_MAX {
        return Ok(());
    }
    Err(RpcError::new(CODE_LIMIT, format!("too many slots (max {SLOTS_MAX})")))
}

/// A slot, and how it is shown: 32 bytes as they came, all else as a quantity.
struct Key {
    shown: String,
    slot: U256,
}

impl Key {
    fn parse(raw: &RawValue) -> Result<Self, RpcError> {
        let Slot(slot) = Slot::parse(raw).map_err(|refusal| refuse(1, &refusal))?;
        // Two quotes, the prefix and 64 digits.
        let is_word = raw.get().len() == 2 + 2 + 64;
        let shown = if is_word { B256::from(slot).to_string() } else { format!("{slot:#x}") };
        Ok(Self { shown, slot })
    }
}

/// The trie of the block that `id` names; with the cheats if it is the head.
pub(super) async fn trie(
    api: &Api,
    durable: &Durable,
    id: BlockId,
    deadline: Time,
) -> Result<Trie, RpcError> {
    let at = position::locate(api, durable, id)?.ok_or_else(header_not_found)?;
    let pause = async || {
        consume(READ_REDUCTIONS);
        checkpoint().await;
        in_time(api.system.now(), deadline)
    };
    match at {
        At::Block(height) if height != position::head(durable) => {
            let mut rewind = durable.rewind(height).ok_or_else(header_not_found)?;
            loop {
                if let Some(tip) = rewind.step(TRIE_STEP)? {
                    return Ok(tip.trie);
                }
                pause().await?;
            }
        }
        At::Block(_) | At::Pending => {
            let tip = durable.tip();
            if tip.diffs.is_empty() {
                return Ok(tip.trie);
            }
            let mut update = tip.trie_with_diffs();
            loop {
                if let TrieStep::Done { trie, .. } = update.step(TRIE_STEP)? {
                    return Ok(trie);
                }
                pause().await?;
            }
        }
    }
}
