//! `ots_*`: what the Otterscan explorer asks of a node.
//!
//! Source: Otterscan's `docs/custom-jsonrpc.md`, API level 8; a page of a block counts from its
//! last transaction, as Erigon's does.

use std::sync::Arc;

use alloy_consensus::Transaction as _;
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::Header as RpcHeader;
use alloy_rpc_types_trace::{
    otterscan::{
        BlockDetails, ContractCreator, InternalIssuance, InternalOperation, OtsReceipt,
        OtsSlimBlock, OtsTransactionReceipt, TraceEntry,
    },
    parity::{Action, CallType, CreationMethod, LocalizedTransactionTrace, TraceOutput},
};
use evenkeel_chain::{Header, Height, SealedBlock};
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::PlacedReceipt;
use evenkeel_vm::{TraceKind, Traced, block_rewards};
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::{
    chain_reads::By,
    limits::{ITEM_REDUCTIONS, OTS_PAGE_MAX, READ_REDUCTIONS, RECEIPT_REDUCTIONS},
    trace::{self, Who},
    traced,
    traced_text::FlatTraces,
    transactions,
    whole::{self, Executed},
};
use crate::{
    answer::Answer,
    api::{Api, Request},
    error::RpcError,
    params::{Params, Quantity, refuse},
    position::{self, At, header_not_found},
    render::{self, Answered, Place, answer, joined, null, pieces},
};

/// The version of Otterscan's interface.
const API_LEVEL: u64 = 8;
/// Characters of input shown in lists: `0x` and a selector.
const SELECTOR_CHARS: usize = 10;

/// `ots_getApiLevel`
pub(super) fn api_level(request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    answer(&API_LEVEL)
}

/// `ots_hasCode`
pub(super) fn has_code(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let address = params.required::<Address>(0)?;
    let view = position::view(api, &api.durable.get(), params.block(1)?)?;
    answer(&view.account(address)?.is_some_and(|account| account.has_code()))
}

/// `ots_getInternalOperations`
pub(super) async fn internal_operations(api: &Api, request: Request<'_>) -> Answered {
    let hash = Params::new(request.params, 1)?.required::<B256>(0)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let Some(location) = durable.chain.transaction(hash)? else { return null() };
    let at = (&*durable, location);
    let operations: Vec<InternalOperation> =
        match traced::transaction(api, request, at, TraceKind::Operations).await? {
            Some(Traced::Operations(operations)) => operations,
            Some(_) => return Err(traced::wrong_kind()),
            None => return null(),
        };
    answer(&pieces(operations.iter()).await?)
}

/// `ots_traceTransaction`
pub(super) async fn trace_transaction(
    api: &Arc<Api>,
    request: Request<'_>,
) -> Result<Answer, RpcError> {
    let hash = Params::new(request.params, 1)?.required::<B256>(0)?;
    let place = api.place(request.client).await?;
    let Some((scene, index)) = trace::mined(api, hash).await? else {
        return null().map(Answer::from);
    };
    let (api, who) = (Arc::clone(api), Who::of(request)?);
    who.written(&Arc::clone(&api), place, move |text, Who { client, method }| {
        Box::pin(async move {
            text.push("[").await?;
            let asked = (scene, index..index + 1, Some(text.deadline()));
            let mut traces = FlatTraces::start(&api, (&client, method), asked);
            while let Some(trace) = traces.next().await? {
                if let Some(entry) = entry(&trace) {
                    text.item(&entry).await?;
                }
            }
            text.push("]").await
        })
    })
    .await
}

fn entry(trace: &LocalizedTransactionTrace) -> Option<TraceEntry> {
    let trace = &trace.trace;
    let depth = u32::try_from(trace.trace_address.len()).unwrap_or(u32::MAX);
    let output = trace.result.as_ref().map(|result| result.output().clone()).unwrap_or_default();
    match &trace.action {
        Action::Call(call) => Some(TraceEntry {
            r#type: call.call_type.to_string(),
            depth,
            from: call.from,
            to: call.to,
            // These move nothing.
            value: (!matches!(call.call_type, CallType::DelegateCall | CallType::StaticCall))
                .then_some(call.value),
            input: call.input.clone(),
            output,
        }),
        Action::Create(create) => Some(TraceEntry {
            r#type: match create.creation_method {
                CreationMethod::Create2 => "CREATE2".to_owned(),
                _ => "CREATE".to_owned(),
            },
            depth,
            from: create.from,
            to: trace.result.as_ref().and_then(TraceOutput::created_contract).unwrap_or_default(),
            value: Some(create.value),
            input: create.init.clone(),
            output,
        }),
        Action::Selfdestruct(destroyed) => Some(TraceEntry {
            r#type: "SELFDESTRUCT".to_owned(),
            depth,
            from: destroyed.address,
            to: destroyed.refund_address,
            value: Some(destroyed.balance),
            input: Bytes::new(),
            output,
        }),
        Action::Reward(_) => None,
    }
}

/// `ots_getTransactionError`: what a failed transaction returned.
pub(super) async fn transaction_error(api: &Api, request: Request<'_>) -> Answered {
    let hash = Params::new(request.params, 1)?.required::<B256>(0)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let Some(location) = durable.chain.transaction(hash)? else { return null() };
    let Some(placed) = durable.chain.receipt(location)? else { return null() };
    if placed.receipt.success {
        return answer(&Bytes::new());
    }
    let at = (&*durable, location);
    match traced::transaction(api, request, at, TraceKind::Output).await? {
        Some(Traced::Output(Ok(output))) => answer(&output),
        Some(Traced::Output(Err(error))) => answer(&error.data().unwrap_or_default()),
        Some(_) => Err(traced::wrong_kind()),
        None => null(),
    }
}

/// `ots_getTransactionBySenderAndNonce`
pub(super) async fn by_sender_and_nonce(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let sender = params.required::<Address>(0)?;
    let Quantity(nonce) = params.required(1)?;
    let durable = api.durable.get();
    if nonce >= durable.view.account(sender)?.unwrap_or_default().nonce {
        return null();
    }
    let block = transactions::block_of_nonce(&durable, sender, nonce).await?;
    let found = block.and_then(|block| {
        let mut txs = block.txs.iter();
        txs.find(|tx| tx.sender() == sender && tx.nonce() == nonce).map(|tx| *tx.hash())
    });
    answer(&found)
}

/// `ots_getContractCreator`: a binary search for the block that brought the code, then the traces
/// of that block.
pub(super) async fn contract_creator(api: &Arc<Api>, request: Request<'_>) -> Answered {
    let address = Params::new(request.params, 1)?.required::<Address>(0)?;
    let _place = api.place(request.client).await?;
    let durable = api.durable.get();
    let is_contract = durable.view.account(address)?.is_some_and(|account| account.has_code());
    if !is_contract {
        return null();
    }
    let genesis = durable.chain.oldest_state().get();
    let (mut low, mut high) = (genesis, position::head(&durable).get());
    while low < high {
        consume(READ_REDUCTIONS);
        checkpoint().await;
        let middle = low + (high - low) / 2;
        let view = durable.chain.view_at(Height::new(middle))?.ok_or_else(header_not_found)?;
        if view.account(address)?.is_some_and(|account| account.has_code()) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if low == genesis {
        return null();
    }
    let scene = traced::scene(&durable, Height::new(low)).await?;
    let scene = scene.ok_or_else(header_not_found)?;
    let who = (request.client, traced::method(request)?);
    let count = scene.block.txs.len();
    let mut traces = FlatTraces::start(api, who, (scene, 0..count, None));
    while let Some(trace) = traces.next().await? {
        let created = trace.trace.result.as_ref().and_then(TraceOutput::created_contract);
        if let (Some(create), Some(hash)) = (trace.trace.action.as_create(), trace.transaction_hash)
            && created == Some(address)
        {
            return answer(&ContractCreator { hash, creator: create.from });
        }
    }
    // Code that a cheat put there was created by nobody.
    null()
}

/// `ots_getBlockDetails`, `ots_getBlockDetailsByHash`
pub(super) async fn block_details(api: &Api, request: Request<'_>, by: By) -> Answered {
    let params = Params::new(request.params, 1)?;
    let id = by.block(&params, 0)?;
    let durable = api.durable.get();
    let Some(At::Block(height)) = position::locate(api, &durable, id)? else { return null() };
    let Some((block, receipts)) = whole::executed(&durable, height).await? else { return null() };
    let mut total_fees = U256::ZERO;
    let mut gas_before = 0;
    for (tx, receipt) in block.txs.iter().zip(receipts.iter()) {
        consume(RECEIPT_REDUCTIONS);
        checkpoint().await;
        let gas_used = receipt.cumulative_gas_used - gas_before;
        gas_before = receipt.cumulative_gas_used;
        let price = tx.effective_gas_price(block.header.base_fee_per_gas);
        total_fees += U256::from(gas_used) * U256::from(price);
    }
    answer(&BlockDetails {
        block: OtsSlimBlock {
            header: header_of(&block),
            uncles: block.ommers.iter().map(Header::hash_slow).collect(),
            withdrawals: block.withdrawals.clone().map(Withdrawals::new),
            transaction_count: block.txs.len(),
        },
        issuance: issuance(api, &block),
        total_fees,
    })
}

fn header_of(block: &SealedBlock) -> RpcHeader {
    let mut header = render::header(&block.header, block.hash);
    header.size = Some(U256::from(block.size_bytes()));
    header
}

fn issuance(api: &Api, block: &SealedBlock) -> InternalIssuance {
    let fork = api.spec.fork_of(&block.header);
    let paid = block_rewards(fork, &block.header, &block.ommers);
    let block_reward = paid.first().map_or(U256::ZERO, |(_, wei)| *wei);
    let uncle_reward = paid.iter().skip(1).map(|(_, wei)| *wei).sum::<U256>();
    InternalIssuance { block_reward, uncle_reward, issuance: block_reward + uncle_reward }
}

/// `ots_getBlockTransactions`: one page of a block, the last page first.
pub(super) async fn block_transactions(api: &Api, request: Request<'_>) -> Answered {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct FullBlock {
        #[serde(flatten)]
        header: RpcHeader,
        uncles: Vec<B256>,
        transactions: Vec<Box<RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        withdrawals: Option<Withdrawals>,
        transaction_count: usize,
    }
    #[derive(Serialize)]
    struct Page {
        fullblock: FullBlock,
        receipts: Vec<Box<RawValue>>,
    }
    let params = Params::new(request.params, 3)?;
    let id = By::Number.block(&params, 0)?;
    let Quantity(page) = params.required(1)?;
    let size = page_size(&params, 2)?;
    let durable = api.durable.get();
    let Some(At::Block(height)) = position::locate(api, &durable, id)? else { return null() };
    let Some(executed) = whole::executed(&durable, height).await? else { return null() };
    let count = executed.0.txs.len();
    let skipped = usize::try_from(page).unwrap_or(usize::MAX).saturating_mul(size);
    let end = count.saturating_sub(skipped);
    let mut list = List::default();
    for index in end.saturating_sub(size)..end {
        list.add(api, &executed, index).await?;
    }
    let block = executed.0;
    let fullblock = FullBlock {
        header: header_of(&block),
        uncles: block.ommers.iter().map(Header::hash_slow).collect(),
        transactions: list.txs,
        withdrawals: block.withdrawals.clone().map(Withdrawals::new),
        transaction_count: count,
    };
    joined(&api.system, Page { fullblock, receipts: list.receipts }, list.bytes).await
}

pub(super) fn page_size(params: &Params<'_>, index: usize) -> Result<usize, RpcError> {
    let Quantity(size) = params.required(index)?;
    match usize::try_from(size) {
        Ok(size) if (1..=OTS_PAGE_MAX).contains(&size) => Ok(size),
        _ => Err(refuse(index, &format!("expected a page size from 1 to {OTS_PAGE_MAX}"))),
    }
}

/// Transactions with their receipts, as Otterscan's lists show them.
#[derive(Default)]
pub(super) struct List {
    pub(super) txs: Vec<Box<RawValue>>,
    pub(super) receipts: Vec<Box<RawValue>>,
    pub(super) bytes: usize,
}

impl List {
    /// Adds the transaction at `index` of a block, giving way to others before.
    pub(super) async fn add(
        &mut self,
        api: &Api,
        (block, receipts): &Executed,
        index: usize,
    ) -> Result<(), RpcError> {
        consume(2 * ITEM_REDUCTIONS);
        checkpoint().await;
        let place = Place::of(block, index);
        let tx = shortened(block, index)?;
        let receipt = receipts[index].clone();
        let gas_before = match index.checked_sub(1) {
            Some(before) => receipts[before].cumulative_gas_used,
            None => 0,
        };
        let (status, cumulative_gas_used) = (receipt.success, receipt.cumulative_gas_used);
        let r#type = receipt.tx_type as u8;
        // Nobody is shown the logs, nor their numbers.
        let placed = PlacedReceipt { receipt, gas_before, logs_before: 0 };
        let receipt = render::receipt(&api.spec, place, placed).map_inner(|_| OtsReceipt {
            status,
            cumulative_gas_used,
            logs: None,
            logs_bloom: None,
            r#type,
        });
        let timestamp = Some(block.header.timestamp);
        let receipt = answer(&OtsTransactionReceipt { receipt, timestamp })?;
        self.bytes += tx.get().len() + receipt.get().len();
        self.txs.push(tx);
        self.receipts.push(receipt);
        Ok(())
    }
}

/// A transaction with its selector instead of its whole input.
fn shortened(block: &SealedBlock, index: usize) -> Answered {
    let place = Place::of(block, index);
    let internal = |error: serde_json::Error| RpcError::internal(error.to_string());
    let shown = render::transaction(place.tx, Some(place));
    let is_short = place.tx.tx().input().len() < SELECTOR_CHARS / 2;
    if is_short {
        return answer(&shown);
    }
    let mut shown = serde_json::to_value(&shown).map_err(internal)?;
    if let Some(Value::String(input)) = shown.get_mut("input") {
        input.truncate(SELECTOR_CHARS);
    }
    to_raw_value(&shown).map_err(internal)
}
