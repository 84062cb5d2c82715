//! `shadow_*`: the canary that executes every block under other rules.

use evenkeel_chain::Fork;
use evenkeel_vm::{Difference, Divergence, Shadow, ShadowAim, ShadowReport};
use serde::Serialize;

use super::limits::SHADOW_NEWEST;
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Params, refuse},
    render::{Answered, answer},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    aim: String,
    active: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<String>,
    #[serde(flatten)]
    counts: Counts,
    newest: Vec<Line>,
    /// What it has seen under the rules that it ran before, the newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<Counts>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    fork: Option<&'static str>,
    height: Option<String>,
    blocks: u64,
    transactions: u64,
    diverged: u64,
    skipped: u64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
}

impl Counts {
    fn of(report: &ShadowReport) -> Self {
        Self {
            fork: report.fork.map(Fork::name),
            height: report.height.map(|height| format!("{height:#x}")),
            blocks: report.blocks,
            transactions: report.txs,
            diverged: report.diverged,
            skipped: report.skipped,
            failed: report.failed,
            failure: report.failure.clone(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    block_number: String,
    transaction_index: String,
    transaction_hash: String,
    what: &'static str,
    live: Option<String>,
    shadow: Option<String>,
}

impl Line {
    fn of(divergence: &Divergence) -> Self {
        let word = |is_success: bool| if is_success { "success" } else { "failure" }.to_owned();
        let gas = |gas: u64| format!("{gas:#x}");
        let (what, live, shadow) = match &divergence.difference {
            Difference::NotIncluded(reason) => ("notIncluded", None, reason.clone()),
            Difference::Status { live } => ("status", Some(word(*live)), Some(word(!live))),
            Difference::GasUsed { live, shadow } => {
                ("gasUsed", Some(gas(*live)), Some(gas(*shadow)))
            }
            Difference::Logs => ("logs", None, None),
        };
        Self {
            block_number: format!("{:#x}", divergence.height),
            transaction_index: format!("{:#x}", divergence.index),
            transaction_hash: divergence.hash.to_string(),
            what,
            live,
            shadow,
        }
    }
}

/// `shadow_report`: what the canary has seen since it began with its rules, and the newest
/// divergences, the newest first.
pub(super) fn report(api: &Api, request: Request<'_>) -> Answered {
    Params::none(request.params)?;
    let report = canary(api)?.report();
    answer(&Report {
        aim: report.aim.to_string(),
        active: report.active.map(Fork::name),
        idle: idle(&report),
        counts: Counts::of(&report),
        newest: report.newest.iter().rev().take(SHADOW_NEWEST).map(Line::of).collect(),
        before: report.before.iter().map(|before| Counts::of(before)).collect(),
    })
}

/// Why it executes nothing, if it does not.
fn idle(report: &ShadowReport) -> Option<String> {
    match (report.fork, report.active) {
        // What follows the chain has moved on already, or is about to.
        (Some(fork), Some(active)) if fork == active && report.aim != ShadowAim::Next => {
            Some(format!("nothing to compare: {fork} is what the chain itself runs"))
        }
        (Some(_), _) => None,
        (None, None) => Some("waits for a block, which says what rules are next".to_owned()),
        (None, Some(last)) => {
            Some(format!("nothing to run: {last} is the last fork that this node knows"))
        }
    }
}

/// `shadow_upgrade(aim)`: moves the canary to a fork, or to what is `next` at each block, with a
/// new report, between two blocks; if that is its aim already, the report goes on. Answers when it
/// has moved.
pub(super) async fn upgrade(api: &Api, request: Request<'_>) -> Answered {
    let name: String = Params::new(request.params, 1)?.required(0)?;
    let aim: ShadowAim = name.parse().map_err(|error| refuse(0, &format!("{error}")))?;
    let moved = canary(api)?.upgrade(aim).map_err(|error| RpcError::internal(error.to_string()))?;
    match moved.await {
        Ok(Ok(_)) => answer(&aim.to_string()),
        Ok(Err(error)) => Err(RpcError::internal(error.to_string())),
        Err(lost) => Err(RpcError::internal(lost.to_string())),
    }
}

fn canary(api: &Api) -> Result<&Shadow, RpcError> {
    api.shadow.as_ref().ok_or_else(|| {
        RpcError::resource_not_found(
            "this node has no canary: start it with --shadow next or --shadow FORK",
        )
    })
}
