//! Transactions on their way in: raw ones, and those this node signs or impersonates.

use std::{pin::pin, sync::Arc, time::Duration};

use alloy_consensus::{SignableTransaction as _, TxType};
use alloy_primitives::{Address, B256, Bytes, TxKind};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use evenkeel_chain::{BlobSidecar, Header, RecoveredTx, TypedTransaction};
use evenkeel_mempool::{PoolError, Query};
use evenkeel_runtime::Answer;
use futures_util::future::{Either, select};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    call,
    limits::{SYNC_TIMEOUT, SYNC_TIMEOUT_MAX},
    state_reads::{ask, next_nonce},
    transactions,
};
use crate::{
    accounts::Authority,
    api::{Api, Request},
    client::Client,
    error::RpcError,
    params::{Number, Object, Params, Quantity, refuse},
    position,
    render::{self, Answered, answer, blob_price},
};

/// Of a transaction that is pooled and not mined in time (EIP-7966).
const CODE_NOT_MINED: i64 = 4;

/// `eth_sendRawTransaction`
pub(super) async fn send_raw(api: &Api, request: Request<'_>) -> Answered {
    let raw = Params::new(request.params, 1)?.required::<Bytes>(0)?;
    answer(&admitted(api.admissions.raw(raw)).await?)
}

/// `eth_sendRawTransactionSync` (EIP-7966): answers with the receipt.
pub(super) async fn send_raw_sync(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let timeout = sync_timeout(&params)?;
    let hash = admitted(api.admissions.raw(params.required::<Bytes>(0)?)).await?;
    mined(api, hash, timeout).await
}

/// `eth_sendTransaction`: signed with a key we hold, or impersonated.
pub(super) async fn send(api: &Api, request: Request<'_>) -> Answered {
    let Object(call) = Params::new(request.params, 1)?.required(0)?;
    let from = sender(api, &call)?;
    answer(&send_as(api, request.client, call, api.accounts.authority(from), from).await?)
}

/// `eth_sendTransactionSync`: the same with its receipt.
pub(super) async fn send_sync(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let timeout = sync_timeout(&params)?;
    let Object(call) = params.required(0)?;
    let from = sender(api, &call)?;
    let authority = api.accounts.authority(from);
    let hash = send_as(api, request.client, call, authority, from).await?;
    mined(api, hash, timeout).await
}

/// The second argument: milliseconds.
fn sync_timeout(params: &Params<'_>) -> Result<Duration, RpcError> {
    let timeout = params.optional::<u64>(1)?.map_or(SYNC_TIMEOUT, Duration::from_millis);
    if timeout > SYNC_TIMEOUT_MAX {
        let most = SYNC_TIMEOUT_MAX.as_millis();
        return Err(refuse(1, &format!("a timeout above the limit of {most} ms")));
    }
    Ok(timeout)
}

/// Waits for the receipt of a transaction that the pool has taken.
async fn mined(api: &Api, hash: B256, timeout: Duration) -> Answered {
    let deadline = api.system.now().saturating_add(timeout);
    loop {
        let (durable, version) = api.durable.get_versioned();
        if let Some(receipt) = transactions::receipt_of(api, &durable, hash)? {
            return answer(&receipt);
        }
        let changed = pin!(api.durable.changed_since(version));
        if let Either::Right(_) = select(changed, pin!(api.system.sleep_until(deadline))).await {
            let text = format!(
                "The transaction was added to the mempool but wasn't processed in {timeout:?}."
            );
            let hash = RawValue::from_string(format!("\"{hash}\"")).expect("a hash is JSON text");
            return Err(RpcError::new(CODE_NOT_MINED, text).with_data(hash));
        }
    }
}

/// A transaction that is not sent, as geth shows it: its encoding and its fields.
fn unsent(tx: &RecoveredTx) -> Answered {
    #[derive(Serialize)]
    struct Unsent<T> {
        raw: Bytes,
        tx: T,
    }
    answer(&Unsent { raw: tx.encoded(), tx: render::transaction(tx, None) })
}

/// `eth_fillTransaction`: with all that is missing filled in, and not signed.
pub(super) async fn fill_in(api: &Api, request: Request<'_>) -> Answered {
    let Object(call) = Params::new(request.params, 1)?.required(0)?;
    let from = sender(api, &call)?;
    let mut filled = fill(api, request.client, call, from).await?;
    if filled.nonce.is_none() {
        filled.nonce = Some(next_nonce(api, from).await?);
    }
    let tx = RecoveredTx::unsigned(unsigned(filled)?.0, from);
    unsent(&tx)
}

/// `eth_sendUnsignedTransaction`: as if its sender were impersonated.
pub(super) async fn send_unsigned(api: &Api, request: Request<'_>) -> Answered {
    let Object(call) = Params::new(request.params, 1)?.required::<Object<TransactionRequest>>(0)?;
    let from = call.from.ok_or_else(unknown_account)?;
    answer(&send_as(api, request.client, call, Authority::Impersonated, from).await?)
}

/// `eth_signTransaction`: filled and signed, not sent; with its fields, as geth answers.
pub(super) async fn sign(api: &Api, request: Request<'_>) -> Answered {
    let Object(call) = Params::new(request.params, 1)?.required(0)?;
    let from = sender(api, &call)?;
    let signer = api.accounts.signer(from).ok_or_else(unknown_account)?;
    let mut filled = fill(api, request.client, call, from).await?;
    if filled.nonce.is_none() {
        filled.nonce = Some(next_nonce(api, from).await?);
    }
    unsent(&*signed(unsigned(filled)?.0, signer)?)
}

/// `eth_resend`: a pooled transaction, given by its fields, once more at another price or gas
/// limit.
pub(super) async fn resend(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    let Object(call) = params.required::<Object<TransactionRequest>>(0)?;
    let price = params.optional::<Number>(1)?.map(|Number(price)| price);
    let price = price.map(u128::try_from).transpose();
    let price = price.map_err(|_| refuse(1, "a price of more than 128 bits"))?;
    let gas = params.optional::<Quantity>(2)?.map(|Quantity(gas)| gas);
    let from = sender(api, &call)?;
    let nonce = call.nonce;
    let nonce =
        nonce.ok_or_else(|| RpcError::server("missing transaction nonce in transaction spec"))?;
    let mut filled = fill(api, request.client, call, from).await?;
    let (sought, _) = unsigned(filled.clone())?;
    let signed_hash = sought.signature_hash();
    let content = ask(api, |reply| Query::Content { sender: Some(from), reply }).await?;
    let mut pooled = content.pending().chain(content.queued());
    let is_pooled = pooled.any(|tx| tx.nonce() == nonce && tx.tx().signature_hash() == signed_hash);
    if !is_pooled {
        let hash = *RecoveredTx::unsigned(sought, from).hash();
        return Err(RpcError::server(format!("transaction {hash} not found")));
    }
    if let Some(price) = price.filter(|price| *price > 0) {
        // One price is that of a legacy transaction.
        filled.gas_price = Some(price);
        (filled.max_fee_per_gas, filled.max_priority_fee_per_gas) = (None, None);
        filled.transaction_type = None;
    }
    filled.gas = gas.filter(|gas| *gas > 0).or(filled.gas);
    let authority = api.accounts.authority(from);
    answer(&send_as(api, request.client, filled, authority, from).await?)
}

/// geth's error for an address whose key this node does not hold.
pub(super) fn unknown_account() -> RpcError {
    RpcError::server("unknown account")
}

/// Who sends: the first dev account if the call does not say, as in anvil.
pub(super) fn sender(api: &Api, call: &TransactionRequest) -> Result<Address, RpcError> {
    let first = || api.accounts.addresses().first().copied();
    call.from.or_else(first).ok_or_else(unknown_account)
}

async fn send_as(
    api: &Api,
    client: &Client,
    call: TransactionRequest,
    authority: Authority<'_>,
    from: Address,
) -> Result<B256, RpcError> {
    if matches!(authority, Authority::None) {
        return Err(unknown_account());
    }
    let mut filled = fill(api, client, call, from).await?;
    // Two sends of one account that name no nonce must not draw the same: the second draws after
    // the pool has answered the first.
    let mut turn = None;
    if filled.nonce.is_none() {
        turn = Some(api.accounts.turn(from).lock().await);
        filled.nonce = Some(next_nonce(api, from).await?);
    }
    let hash = admitted(api.admissions.known(made_by(authority, filled, from)?)).await;
    drop(turn);
    hash
}

/// The transaction with its signature, real or not, and its blobs.
pub(super) fn made_by(
    authority: Authority<'_>,
    filled: TransactionRequest,
    from: Address,
) -> Result<Arc<RecoveredTx>, RpcError> {
    let (unsigned, sidecar) = unsigned(filled)?;
    let tx = match authority {
        Authority::Key(signer) => signed(unsigned, signer)?,
        Authority::Impersonated => RecoveredTx::impersonated(unsigned, from),
        Authority::None => return Err(unknown_account()),
    };
    Ok(match sidecar {
        Some(sidecar) => tx.with_sidecar(Arc::new(sidecar)),
        None => tx,
    })
}

/// Waits for the pool's word.
async fn admitted(answer: Answer<Result<B256, PoolError>>) -> Result<B256, RpcError> {
    let word = answer.await;
    Ok(word.map_err(|lost| RpcError::internal(format!("transaction admission: {lost}")))??)
}

/// Fills in all but the nonce, with geth's defaults.
async fn fill(
    api: &Api,
    client: &Client,
    call: TransactionRequest,
    from: Address,
) -> Result<TransactionRequest, RpcError> {
    let head = Arc::clone(&api.durable.get().header);
    let mut call = fill_after(api, call, from, (&head, position::next_base_fee(api, &head)))?;
    if call.gas.is_none() {
        call.gas = Some(call::estimate_for(api, client, call.clone()).await?);
    }
    Ok(call)
}

/// Fills in all but nonce and gas, for a block after `parent` with this base fee.
pub(super) fn fill_after(
    api: &Api,
    call: TransactionRequest,
    from: Address,
    (parent, base_fee): (&Header, Option<u64>),
) -> Result<TransactionRequest, RpcError> {
    let mut call = call::checked(call)?;
    call.from = Some(from);
    call.normalize_input();
    let chain_id = api.spec.chain_id_now();
    if let Some(have) = call.chain_id.replace(chain_id).filter(|have| *have != chain_id) {
        let text = format!("chainId does not match node's (have={have}, want={chain_id})");
        return Err(RpcError::server(text));
    }
    if call.to.is_none() {
        call.to = Some(TxKind::Create);
    }
    let has_input = call.input.input().is_some_and(|input| !input.is_empty());
    if call.to == Some(TxKind::Create) && !has_input {
        return Err(RpcError::server("contract creation without any data provided"));
    }
    fill_fees(&mut call, base_fee, api.config.priority_fee)?;
    if call.sidecar.is_some() || call.blob_versioned_hashes.is_some() {
        call.populate_blob_hashes();
        // geth's default: it holds while the fee doubles.
        let blob_fee = blob_price(&api.spec, parent).unwrap_or(1);
        call.max_fee_per_blob_gas.get_or_insert(blob_fee.saturating_mul(2));
    }
    Ok(call)
}

/// geth's fee defaults: a tip of its own, a cap of twice the base fee and the tip.
fn fill_fees(
    call: &mut TransactionRequest,
    base_fee: Option<u64>,
    tip_default: u128,
) -> Result<(), RpcError> {
    let has_caps = call.max_fee_per_gas.is_some() || call.max_priority_fee_per_gas.is_some();
    if call.gas_price.is_some() && has_caps {
        return Err(RpcError::server(
            "both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified",
        ));
    }
    if call.gas_price.is_some() {
        return Ok(());
    }
    let is_old = call.transaction_type.is_some_and(|ty| ty < TxType::Eip1559 as u8) && !has_caps;
    let base_fee = match base_fee {
        Some(base_fee) if !is_old => u128::from(base_fee),
        Some(_) | None if has_caps => {
            return Err(RpcError::server(
                "maxFeePerGas and maxPriorityFeePerGas are not valid before London is active",
            ));
        }
        Some(base_fee) => {
            call.gas_price = Some(u128::from(base_fee) + tip_default);
            return Ok(());
        }
        None => {
            call.gas_price = Some(tip_default);
            return Ok(());
        }
    };
    let tip = call
        .max_priority_fee_per_gas
        .unwrap_or_else(|| tip_default.min(call.max_fee_per_gas.unwrap_or(u128::MAX)));
    let cap = call.max_fee_per_gas.unwrap_or_else(|| (2 * base_fee).saturating_add(tip));
    if cap < tip {
        let text = format!("maxFeePerGas ({cap}) < maxPriorityFeePerGas ({tip})");
        return Err(RpcError::server(text));
    }
    call.max_priority_fee_per_gas = Some(tip);
    call.max_fee_per_gas = Some(cap);
    Ok(())
}

/// The transaction, and the blobs that it takes along.
fn unsigned(
    filled: TransactionRequest,
) -> Result<(TypedTransaction, Option<BlobSidecar>), RpcError> {
    use alloy_consensus::EthereumTypedTransaction as Typed;
    let built = filled.build_consensus_tx();
    let tx = match built.map_err(|error| RpcError::invalid_params(error.error))? {
        Typed::Legacy(tx) => Typed::Legacy(tx),
        Typed::Eip2930(tx) => Typed::Eip2930(tx),
        Typed::Eip1559(tx) => Typed::Eip1559(tx),
        Typed::Eip7702(tx) => Typed::Eip7702(tx),
        Typed::Eip4844(tx) => {
            let (tx, sidecar) = tx.strip_sidecar();
            return Ok((Typed::Eip4844(tx.into()), sidecar));
        }
    };
    Ok((tx, None))
}

fn signed(tx: TypedTransaction, signer: &PrivateKeySigner) -> Result<Arc<RecoveredTx>, RpcError> {
    let signature = signer
        .sign_hash_sync(&tx.signature_hash())
        .map_err(|error| RpcError::internal(format!("signing: {error}")))?;
    Ok(RecoveredTx::from_parts(tx.into_envelope(signature), signer.address()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GWEI: u128 = 1_000_000_000;

    /// Goal: every mix of given and missing fees is filled, or refused, as geth does it.
    #[test]
    fn fees_are_filled() {
        // (price, cap, tip, type), base fee in gwei -> (price, cap, tip), all in gwei
        let good = [
            ((None, None, None, None), Some(1), (None, Some(3), Some(1))),
            ((None, Some(9), None, None), Some(1), (None, Some(9), Some(1))),
            ((None, None, Some(5), None), Some(1), (None, Some(7), Some(5))),
            ((None, None, Some(0), None), Some(0), (None, Some(0), Some(0))),
            ((Some(4), None, None, None), Some(1), (Some(4), None, None)),
            ((None, None, None, Some(0)), Some(1), (Some(2), None, None)),
            ((None, None, None, Some(2)), Some(1), (None, Some(3), Some(1))),
            ((None, None, None, None), None, (Some(1), None, None)),
        ];
        for ((price, cap, tip, ty), base_fee, want) in good {
            let wei = |gwei: Option<u128>| gwei.map(|gwei| gwei * GWEI);
            let mut call = TransactionRequest {
                gas_price: wei(price),
                max_fee_per_gas: wei(cap),
                max_priority_fee_per_gas: wei(tip),
                transaction_type: ty,
                ..TransactionRequest::default()
            };
            fill_fees(&mut call, base_fee.map(|gwei: u64| gwei * 1_000_000_000), GWEI)
                .expect("good");
            let (price, cap, tip) = want;
            assert_eq!(call.gas_price, wei(price));
            assert_eq!(call.max_fee_per_gas, wei(cap));
            assert_eq!(call.max_priority_fee_per_gas, wei(tip));
        }
        let half =
            TransactionRequest { max_fee_per_gas: Some(GWEI / 2), ..TransactionRequest::default() };
        let mut filled = half.clone();
        fill_fees(&mut filled, Some(1), GWEI).expect("good");
        assert_eq!(filled.max_priority_fee_per_gas, Some(GWEI / 2), "a tip is within its cap");
        assert!(fill_fees(&mut half.clone(), None, GWEI).is_err(), "no caps before London");
    }
}
