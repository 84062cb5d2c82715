//! Looks at the state between transactions, and at what blocks changed.
//!
//! Source: geth `eth/api_debug.go` for modified accounts, erigon for `debug_accountAt` (the state
//! before the transaction; reth shows it after), reth for `debug_codeByHash`.

use std::{collections::BTreeMap, sync::Arc};

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use evenkeel_chain::Height;
use evenkeel_runtime::{Time, checkpoint, consume};
use evenkeel_state::{Durable, StateError, View};
use evenkeel_vm::{ReplayJob, Within, spawn_replay};
use serde::Serialize;

use super::{
    chain_reads::By,
    limits::{MODIFIED_KEYS_MAX, READ_REDUCTIONS},
    logs::in_time,
    traced::{self, Scene},
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::Params,
    position::{self, At, header_not_found},
    render::{Answered, answer, null},
};

/// `debug_codeByHash`: code by its hash, as long as any state has it; or null.
pub(super) fn code_by_hash(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    let view = position::view(api, &api.durable.get(), params.block(1)?)?;
    match view.code(hash) {
        Ok(code) => answer(&code),
        Err(StateError::CodeMissing { .. }) => null(),
        Err(error) => Err(error.into()),
    }
}

/// `debug_accountAt`: an account before a transaction of a block, or after its last one.
pub(super) async fn account_at(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shown {
        balance: U256,
        nonce: String,
        code: Bytes,
        code_hash: B256,
    }
    let params = Params::new(request.params, 3)?;
    let block = params.required::<BlockId>(0)?;
    let index = params.required::<u64>(1)?;
    let address = params.required::<Address>(2)?;
    let _place = api.place(request.client).await?;
    let view = view_within(api, request, (block, index)).await?;
    let account = view.account(address)?.unwrap_or_default();
    answer(&Shown {
        balance: account.balance,
        nonce: format!("{:#x}", account.nonce),
        code: view.code(account.code_hash)?,
        code_hash: account.code_hash,
    })
}

/// The state before the transaction `index` of a block, for a request that has its place.
pub(super) async fn view_within(
    api: &Api,
    request: Request<'_>,
    (block, index): (BlockId, u64),
) -> Result<View, RpcError> {
    let durable = api.durable.get();
    let height = match position::locate(api, &durable, block)?.ok_or_else(header_not_found)? {
        At::Block(height) => height,
        At::Pending => return Err(RpcError::server("pending state is not available")),
    };
    if height == durable.chain.genesis() {
        return Err(RpcError::server("no transaction in genesis"));
    }
    let scene = traced::scene(&durable, height).await?.ok_or_else(header_not_found)?;
    let Scene { block, parent_view } = scene;
    let count = usize::try_from(index).ok().filter(|index| *index <= block.txs.len());
    let count = count.ok_or_else(|| {
        RpcError::server(format!("transaction index {index} out of range for block {}", block.hash))
    })?;
    let spec = Arc::clone(&api.spec);
    let limits = api.limits(request.client);
    let within = Within { parent_view, block, replayed: count };
    let job = ReplayJob { within, spec, limits };
    let method = traced::method(request)?;
    let share = api.executions.share(request.client, method);
    let view = spawn_replay(&api.system, &share, job);
    Ok(api.executions.run(request.client, method, view).await??)
}

/// `debug_getModifiedAccountsByNumber`, `debug_getModifiedAccountsByHash`: accounts of the second
/// block's state that are not the same in the first one's, by hashed address; of one block, those
/// that it changed.
pub(super) async fn modified_accounts(api: &Api, request: Request<'_>, by: By) -> Answered {
    let params = Params::new(request.params, 2)?;
    let durable = api.durable.get();
    let missing = || RpcError::invalid_params("missing value for required argument 0");
    let start = named(api, &durable, (&params, by), 0)?.ok_or_else(missing)?;
    let (start, end) = if let Some(end) = named(api, &durable, (&params, by), 1)? {
        (start, end)
    } else {
        let parent = start.prev().filter(|parent| *parent >= durable.chain.genesis());
        let orphan = || RpcError::server(format!("block {:x} has no parent", start.get()));
        (parent.ok_or_else(orphan)?, start)
    };
    if start >= end {
        return Err(RpcError::server(format!(
            "start block height ({start}) must be less than end block height ({end})"
        )));
    }
    let _place = api.place(request.client).await?;
    let mut compared = Compared {
        deadline: api.deadline(request.client),
        before: durable.chain.view_at(start)?.ok_or_else(header_not_found)?,
        after: durable.chain.view_at(end)?.ok_or_else(header_not_found)?,
        modified: BTreeMap::new(),
        keys: 0,
    };
    for number in start.get() + 1..=end.get() {
        compared.add(api, &durable, Height::new(number)).await?;
    }
    answer(&compared.modified.into_values().collect::<Vec<_>>())
}

/// The block of the chain that an argument names, if it is there: the start or the end of a range.
fn named(
    api: &Api,
    durable: &Durable,
    (params, by): (&Params<'_>, By),
    index: usize,
) -> Result<Option<Height>, RpcError> {
    let which = if index == 0 { "start" } else { "end" };
    let (id, shown) = match by {
        By::Number => {
            let Some(number) = params.optional::<u64>(index)? else { return Ok(None) };
            // As geth prints them.
            let shown = if index == 0 { format!("{number:x}") } else { number.to_string() };
            (BlockId::number(number), shown)
        }
        By::Hash => {
            let Some(hash) = params.optional::<B256>(index)? else { return Ok(None) };
            (BlockId::hash(hash), format!("{hash:x}"))
        }
    };
    let heights = durable.chain.genesis()..=durable.chain.head();
    match position::locate(api, durable, id)? {
        Some(At::Block(height)) if heights.contains(&height) => Ok(Some(height)),
        _ => Err(RpcError::server(format!("{which} block {shown} not found"))),
    }
}

/// Two states, and the accounts that are found to differ.
struct Compared {
    before: View,
    after: View,
    /// By hashed address.
    modified: BTreeMap<B256, Address>,
    /// Keys looked at.
    keys: usize,
    deadline: Time,
}

impl Compared {
    /// Compares what the block at `height` changed.
    async fn add(&mut self, api: &Api, durable: &Durable, height: Height) -> Result<(), RpcError> {
        let changed = durable.chain.changed(height)?.ok_or_else(header_not_found)?;
        self.keys += changed.accounts.len() + changed.slots.len();
        if self.keys > MODIFIED_KEYS_MAX {
            let text = format!("the blocks changed more than {MODIFIED_KEYS_MAX} keys");
            return Err(RpcError::limit(text));
        }
        for address in changed.accounts {
            self.pause(api).await?;
            let after = self.after.account(address)?;
            if after.is_some() && after != self.before.account(address)? {
                self.modified.insert(keccak256(address), address);
            }
        }
        for (address, slot) in changed.slots {
            self.pause(api).await?;
            // What is gone is no account of the second state, its storage included.
            if self.after.storage(address, slot)? != self.before.storage(address, slot)?
                && self.after.account(address)?.is_some()
            {
                self.modified.insert(keccak256(address), address);
            }
        }
        Ok(())
    }

    async fn pause(&self, api: &Api) -> Result<(), RpcError> {
        consume(READ_REDUCTIONS);
        checkpoint().await;
        in_time(api.system.now(), self.deadline)
    }
}
