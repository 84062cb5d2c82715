//! What gas costs: prices of the next block, and the history.

use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::FeeHistory;
use evenkeel_chain::{Header, Height};
use evenkeel_runtime::{checkpoint, consume};
use evenkeel_state::Durable;

use super::{
    limits::{FEE_HISTORY_BLOCKS_MAX, FEE_HISTORY_PERCENTILES_MAX, READ_REDUCTIONS},
    logs::in_time,
    whole::executed,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Object, Params},
    position::{self, header_not_found},
    render::{Answered, answer, blob_price, null, quantity},
};

/// `eth_gasPrice`: what gets a legacy transaction into the next block.
pub(super) fn gas_price(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    quantity(gas_price_now(api))
}

/// The next base fee and the default tip, in wei.
pub(super) fn gas_price_now(api: &Api) -> u128 {
    u128::from(next_base_fee(api).unwrap_or(0)) + api.config.priority_fee
}

/// `eth_maxPriorityFeePerGas`
pub(super) fn priority_fee(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    quantity(api.config.priority_fee)
}

/// `eth_baseFee`: that of the next block; null before London.
pub(super) fn base_fee(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    next_base_fee(api).map_or_else(null, quantity)
}

/// `eth_blobBaseFee`: that of the head; zero before Cancun.
pub(super) fn blob_base_fee(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    quantity(blob_price(&api.spec, &api.durable.get().header).unwrap_or(0))
}

fn next_base_fee(api: &Api) -> Option<u64> {
    position::next_base_fee(api, &api.durable.get().header)
}

/// `eth_feeHistory`
pub(super) async fn history(api: &Api, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 3)?;
    let count = params.required::<u64>(0)?.min(FEE_HISTORY_BLOCKS_MAX);
    let newest = params.required::<BlockNumberOrTag>(1)?;
    let percentiles = params.optional::<Object<Vec<f64>>>(2)?.map(|Object(list)| list);
    let percentiles = percentiles.unwrap_or_default();
    check_percentiles(&percentiles)?;
    if count == 0 {
        return answer(&FeeHistory::default());
    }

    let durable = api.durable.get();
    let last = position::number(api, &durable, newest).get();
    let head = durable.header.number;
    if last > head {
        let text = format!("request beyond head block: requested {last}, head {head}");
        return Err(RpcError::server(text));
    }
    let first = last.saturating_sub(count - 1).max(durable.chain.genesis().get());
    let mut history = FeeHistory { oldest_block: first, ..FeeHistory::default() };
    let mut rewards = Vec::new();
    let deadline = api.deadline(request.client);
    for number in first..=last {
        consume(READ_REDUCTIONS);
        checkpoint().await;
        in_time(api.system.now(), deadline)?;
        let height = Height::new(number);
        let (header, _) = position::header_at(&durable, height)?.ok_or_else(header_not_found)?;
        add_block(api, &mut history, &header);
        if !percentiles.is_empty() {
            rewards.push(block_rewards(&durable, height, &percentiles).await?);
        }
        if number == last {
            add_next(api, &mut history, &header);
        }
    }
    history.reward = (!percentiles.is_empty()).then_some(rewards);
    answer(&history)
}

fn check_percentiles(percentiles: &[f64]) -> Result<(), RpcError> {
    if percentiles.len() > FEE_HISTORY_PERCENTILES_MAX {
        let text = format!(
            "invalid reward percentile: over the query limit {FEE_HISTORY_PERCENTILES_MAX}"
        );
        return Err(RpcError::server(text));
    }
    for (index, &percentile) in percentiles.iter().enumerate() {
        if !(0.0..=100.0).contains(&percentile) {
            return Err(RpcError::server(format!("invalid reward percentile: {percentile:.6}")));
        }
        if index > 0 && percentile <= percentiles[index - 1] {
            let before = percentiles[index - 1];
            return Err(RpcError::server(format!(
                "invalid reward percentile: #{}:{before:.6} >= #{index}:{percentile:.6}",
                index - 1
            )));
        }
    }
    Ok(())
}

fn add_block(api: &Api, history: &mut FeeHistory, header: &Header) {
    history.base_fee_per_gas.push(header.base_fee_per_gas.unwrap_or(0).into());
    history.gas_used_ratio.push(ratio(header.gas_used, header.gas_limit));
    history.base_fee_per_blob_gas.push(blob_price(&api.spec, header).unwrap_or(0));
    let blob_gas_max = api.spec.blob_params(header.timestamp).max_blob_gas_per_block();
    history.blob_gas_used_ratio.push(ratio(header.blob_gas_used.unwrap_or(0), blob_gas_max));
}

/// The prices of the block after `header`: they follow from it, unless the operator has ordered
/// the base fee.
fn add_next(api: &Api, history: &mut FeeHistory, header: &Header) {
    let base_fee = position::next_base_fee(api, header);
    history.base_fee_per_gas.push(base_fee.unwrap_or(0).into());
    let excess = api.spec.next_excess_blob_gas(header, header.timestamp);
    let next = Header { excess_blob_gas: excess, timestamp: header.timestamp, ..Header::default() };
    history.base_fee_per_blob_gas.push(blob_price(&api.spec, &next).unwrap_or(0));
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people; 53 bits are plenty")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The tips at the asked percentiles of the block's gas, as geth weighs them.
async fn block_rewards(
    durable: &Durable,
    height: Height,
    percentiles: &[f64],
) -> Result<Vec<u128>, RpcError> {
    let (block, receipts) = executed(durable, height).await?.ok_or_else(header_not_found)?;
    let base_fee = block.header.base_fee_per_gas.unwrap_or(0);
    let mut gas_before = 0;
    let mut tips = Vec::with_capacity(receipts.len());
    for (tx, receipt) in block.txs.iter().zip(receipts.iter()) {
        let gas_used = receipt.cumulative_gas_used - gas_before;
        gas_before = receipt.cumulative_gas_used;
        tips.push((tx.effective_tip(base_fee).unwrap_or(0), gas_used));
    }
    Ok(at_percentiles(tips, gas_before, percentiles))
}

/// The first tip, from the lowest, at which the gas of all tips so far reaches each percentile.
fn at_percentiles(mut tips: Vec<(u128, u64)>, gas_used: u64, percentiles: &[f64]) -> Vec<u128> {
    tips.sort_unstable();
    let mut sorted = tips.iter();
    let Some(&(mut tip, mut gas_so_far)) = sorted.next() else {
        return vec![0; percentiles.len()];
    };
    let mut rewards = Vec::with_capacity(percentiles.len());
    for &percentile in percentiles {
        let threshold = share_of(gas_used, percentile);
        while gas_so_far < threshold {
            let Some(&(next_tip, gas)) = sorted.next() else { break };
            tip = next_tip;
            gas_so_far += gas;
        }
        rewards.push(tip);
    }
    rewards
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of at most 100 % of a block's gas, rounded down as geth does"
)]
fn share_of(gas: u64, percentile: f64) -> u64 {
    (gas as f64 * percentile / 100.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: rewards are weighed by gas, not by count: geth's example of three transactions.
    #[test]
    fn percentiles_weigh_gas() {
        let tips = vec![(30, 10), (10, 70), (20, 20)];
        let at = |percentiles: &[f64]| at_percentiles(tips.clone(), 100, percentiles);
        assert_eq!(at(&[0.0, 70.0, 71.0, 90.0, 90.5, 100.0]), [10, 10, 20, 20, 20, 30]);
        assert_eq!(at_percentiles(Vec::new(), 0, &[0.0, 50.0]), [0, 0]);
    }
}
