//! `anvil_rollback`, `anvil_reorg`, `debug_setHead`: the chain goes back without a snapshot.
//!
//! As in anvil, transactions of dropped blocks are gone: nothing puts them back into the pool. What
//! waits there stays; what has a gap of nonces before it now waits for that to be filled.
//!
//! A reorg is all or nothing: everything that is given is decoded, filled and signed before the
//! engine is asked. A transaction that its block cannot have (a nonce that is not next, too little
//! balance or gas left) is left out of the block, as in anvil.

use std::{collections::BTreeMap, sync::Arc};

use alloy_eips::BlockId;
use alloy_primitives::{Address, Bytes, TxKind};
use alloy_rpc_types_eth::TransactionRequest;
use evenkeel_chain::{
    Command, CommandError, Fork, Height, RecoveredTx,
    limits::{REORG_BLOCKS_MAX, TX_GAS_LIMIT_MAX},
};
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::{Durable, SealedHeader, View};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    call::{self, Unestimated},
    dev,
    limits::{RECOVER_REDUCTIONS, REORG_TXS_MAX},
    send,
};
use crate::{
    accounts::Authority,
    api::{Api, Request},
    client::Client,
    error::RpcError,
    flags::Snapshots,
    params::{Arg as _, Object, Params, refuse},
    position::header_not_found,
    render::{Answered, null},
};

/// Gas of a plain transfer.
const TRANSFER_GAS: u64 = 21_000;

/// `anvil_rollback`: the last blocks are gone, one if it is not said how many.
pub(super) async fn rollback(api: &Api, request: Request<'_>) -> Answered {
    let depth = Params::new(request.params, 1)?.optional(0)?.unwrap_or(1);
    let kept = kept(&api.durable.get(), depth, "Rollback")?;
    if depth > 0 {
        go_back(api, kept, Command::Rollback(kept)).await?;
    }
    null()
}

/// `debug_setHead`: the block of this number is the head.
pub(super) async fn set_head(api: &Api, request: Request<'_>) -> Answered {
    let number: u64 = Params::new(request.params, 1)?.required(0)?;
    let durable = api.durable.get();
    if number >= durable.header.number {
        return Err(RpcError::server("not allowed to rewind to a future block"));
    }
    let first = durable.chain.oldest_state().get();
    if number < first {
        let text = format!("not allowed to rewind below block {first}, which has the oldest state");
        return Err(RpcError::server(text));
    }
    let kept = Height::new(number);
    go_back(api, kept, Command::Rollback(kept)).await?;
    null()
}

/// `anvil_reorg`: as many blocks in the place of the last ones, with the given transactions.
pub(super) async fn reorg(api: &Api, request: Request<'_>) -> Answered {
    let Asked { depth, pairs } = Asked::new(request.params)?;
    let durable = api.durable.get();
    let kept = kept(&durable, depth, "Reorg")?;
    let count = usize::try_from(depth).unwrap_or(usize::MAX);
    if count > REORG_BLOCKS_MAX {
        let limit = REORG_BLOCKS_MAX as u64;
        return Err(CommandError::TooManyBlocks { found: depth, limit }.into());
    }
    let mut blocks = vec![Vec::new(); count];
    let mut branch = Branch::new(api, request.client, &durable, kept)?;
    for Pair { position, tx, block } in pairs {
        consume(RECOVER_REDUCTIONS);
        checkpoint().await;
        let in_pair = |error: RpcError| RpcError {
            message: format!("transaction {position}: {}", error.message).into(),
            ..error
        };
        let tx = branch.tx(tx).await.map_err(in_pair)?;
        blocks[block].push(tx);
    }
    if count > 0 {
        go_back(api, kept, Command::Reorg { kept, blocks }).await?;
    }
    null()
}

/// The block `depth` below the head.
fn kept(durable: &Durable, depth: u64, what: &str) -> Result<Height, RpcError> {
    let height = durable.header.number;
    let (genesis, oldest) = (durable.chain.genesis(), durable.chain.oldest_state());
    let kept = height.checked_sub(depth).map(Height::new);
    match kept {
        Some(kept) if kept >= oldest => Ok(kept),
        Some(kept) if kept >= genesis => Err(RpcError::invalid_params(format!(
            "{what} depth {depth} goes back to block {kept}, expected at most {}, to block \
             {oldest}: the blocks up to there came with a state file, which has the state of the \
             last alone",
            height.saturating_sub(oldest.get())
        ))),
        _ => Err(RpcError::invalid_params(format!(
            "{what} depth must not exceed current chain height: current height {height}, \
             depth {depth}"
        ))),
    }
}

/// Has the engine go back to `kept`, and perhaps on from there.
async fn go_back(api: &Api, kept: Height, command: Command) -> Result<(), RpcError> {
    if dev::go_back(api, command, Snapshots::Above(kept.get())).await? {
        return Ok(());
    }
    // Somebody else went back further since.
    Err(RpcError::server(format!("block {kept} is no longer in the chain")))
}

/// What is asked of `anvil_reorg`.
struct Asked<'a> {
    depth: u64,
    /// By block; those of one in the order they came.
    pairs: Vec<Pair<'a>>,
}

struct Pair<'a> {
    /// Where it came.
    position: usize,
    tx: &'a RawValue,
    /// Position of its block among the new ones.
    block: usize,
}

impl<'a> Asked<'a> {
    /// Arguments `depth, pairs`, or an object of both: alone, or as the only argument.
    fn new(params: Option<&'a RawValue>) -> Result<Self, RpcError> {
        #[derive(Deserialize)]
        struct Options<'a> {
            #[serde(borrow)]
            depth: Option<&'a RawValue>,
            #[serde(borrow, rename = "txBlockPairs", alias = "tx_block_pairs")]
            pairs: Option<&'a RawValue>,
        }
        let is_object = |raw: &&RawValue| raw.get().starts_with('{');
        let alone = params.filter(is_object);
        let args = Params::new(params.filter(|_| alone.is_none()), 2)?;
        let object = alone.or_else(|| args.raw(0).filter(is_object));
        let missing = |what| RpcError::invalid_params(format!("missing value for {what}"));
        let (depth, pairs) = match object {
            Some(object) => {
                let options: Options<'_> = serde_json::from_str(object.get())
                    .map_err(|error| refuse(0, &error.to_string()))?;
                (options.depth, options.pairs)
            }
            None => (args.raw(0), args.raw(1)),
        };
        let depth = depth.ok_or_else(|| missing("depth"))?;
        let depth = u64::parse(depth).map_err(|error| refuse(0, &format!("depth: {error}")))?;
        let pairs = pairs.map_or(Ok(Vec::new()), |raw| parse_pairs(raw, depth))?;
        Ok(Self { depth, pairs })
    }
}

fn parse_pairs(raw: &RawValue, depth: u64) -> Result<Vec<Pair<'_>>, RpcError> {
    let raw: Vec<(&RawValue, &RawValue)> = serde_json::from_str(raw.get())
        .map_err(|error| refuse(1, &format!("expected pairs of transaction and block: {error}")))?;
    if raw.len() > REORG_TXS_MAX {
        let found = raw.len();
        let text = format!("too many transactions: {found}, limit {REORG_TXS_MAX}");
        return Err(RpcError::invalid_params(text));
    }
    let mut pairs = Vec::with_capacity(raw.len());
    for (position, (tx, block)) in raw.into_iter().enumerate() {
        let number = u64::parse(block)
            .map_err(|error| refuse(1, &format!("block of transaction {position}: {error}")))?;
        let block = usize::try_from(number).ok().filter(|_| number < depth).ok_or_else(|| {
            RpcError::invalid_params(format!(
                "Block number for reorg tx will exceed the reorged chain height. Block number \
                 {number} must be below the depth {depth}"
            ))
        })?;
        pairs.push(Pair { position, tx, block });
    }
    pairs.sort_by_key(|pair| pair.block);
    Ok(pairs)
}

/// The chain up to the block that is kept, and what was given to follow on it.
struct Branch<'a> {
    api: &'a Api,
    client: &'a Client,
    kept: Arc<SealedHeader>,
    /// What the first new block is executed on.
    view: View,
    /// Next ones after what was given so far and can be executed.
    nonces: BTreeMap<Address, u64>,
}

impl<'a> Branch<'a> {
    fn new(
        api: &'a Api,
        client: &'a Client,
        durable: &Durable,
        kept: Height,
    ) -> Result<Self, RpcError> {
        let view = durable.chain.view_before(kept.next())?;
        let view = view.unwrap_or_else(|| durable.view.clone());
        let kept = durable.chain.header(kept)?.ok_or_else(header_not_found)?;
        Ok(Self { api, client, kept, view, nonces: BTreeMap::new() })
    }

    /// A transaction as it came: encoded and signed, or a request that is filled and signed here.
    async fn tx(&mut self, raw: &RawValue) -> Result<Arc<RecoveredTx>, RpcError> {
        let tx = if raw.get().starts_with('{') {
            let Object(call) = Object::parse(raw).map_err(|error| refuse(1, &error))?;
            self.made(call).await?
        } else {
            let encoded = Bytes::parse(raw).map_err(|error| refuse(1, &error))?;
            let faulty = |error: String| RpcError::invalid_params(error);
            let tx = RecoveredTx::decode(&encoded).map_err(|error| faulty(error.to_string()))?;
            tx.recover().map_err(|error| faulty(error.to_string()))?
        };
        if tx.tx().is_eip4844() {
            // Their blobs would have to be given and proven.
            return Err(RpcError::invalid_params("blob transactions are not put into a reorg"));
        }
        if self.next_nonce(tx.sender())? == tx.nonce() {
            self.nonces.insert(tx.sender(), tx.nonce().saturating_add(1));
        }
        Ok(tx)
    }

    fn next_nonce(&self, sender: Address) -> Result<u64, RpcError> {
        match self.nonces.get(&sender) {
            Some(nonce) => Ok(*nonce),
            None => Ok(self.view.account(sender)?.unwrap_or_default().nonce),
        }
    }

    async fn made(&self, mut call: TransactionRequest) -> Result<Arc<RecoveredTx>, RpcError> {
        let from = send::sender(self.api, &call)?;
        let authority = self.api.accounts.authority(from);
        if matches!(authority, Authority::None) {
            return Err(send::unknown_account());
        }
        if call.nonce.is_none() {
            call.nonce = Some(self.next_nonce(from)?);
        }
        let parent = &self.kept.header;
        let base_fee = self.api.spec.next_base_fee(parent);
        let mut filled = send::fill_after(self.api, call, from, (parent, base_fee))?;
        if filled.gas.is_none() {
            filled.gas = Some(self.gas(&filled).await?);
        }
        send::made_by(authority, filled, from)
    }

    /// The gas that `call` needs after the block that is kept; where it fails there, as it may need
    /// what comes before it on the branch, as much as a transaction may have. An error where that
    /// is not found out: the time or the places are used up, or the state cannot be read.
    async fn gas(&self, call: &TransactionRequest) -> Result<u64, RpcError> {
        let callee = call.to.as_ref().and_then(TxKind::to);
        let has_input = call.input.input().is_some_and(|input| !input.is_empty());
        let has_code = match callee {
            Some(callee) => self.view.account(*callee)?.unwrap_or_default().has_code(),
            None => true,
        };
        if has_code || !has_input {
            let block = BlockId::number(self.kept.header.number);
            // A nonce of the branch is not that of the block.
            let asked = TransactionRequest { nonce: None, ..call.clone() };
            match call::estimate_on(self.api, self.client, asked, block).await {
                Ok(gas) => return Ok(gas),
                Err(Unestimated::Unanswered(error)) => return Err(error),
                Err(Unestimated::Fails(_)) if !has_code && !has_input => return Ok(TRANSFER_GAS),
                Err(Unestimated::Fails(_)) => {}
            }
        }
        let parent = &self.kept.header;
        let fork = self.api.spec.fork_at(Height::new(parent.number).next(), parent.timestamp);
        let cap = if fork >= Fork::Osaka { TX_GAS_LIMIT_MAX } else { u64::MAX };
        Ok(parent.gas_limit.min(cap))
    }
}
