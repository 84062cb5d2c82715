//! A dev chain in memory, and transactions for it.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]

use std::sync::Arc;

use alloy_consensus::{TxEip7702, TxLegacy};
use alloy_eips::eip7702::{Authorization, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{
    TransactionRequest,
    state::{AccountOverride, StateOverride},
};
use alloy_signer::SignerSync;
use evenkeel_chain::{
    BlockAttributes, ChainSpec, DERIVATION_PATH, DevAccounts, DevOptions, Fork, MNEMONIC,
    RecoveredTx, TypedTransaction,
};
use evenkeel_state::{Database, ExecutedBlock, Options, Tip};
use evenkeel_vm::{
    BlockOutcome, BlockRun, BuildJob, CallJob, CallKind, Candidates, ExecError, Limits, ListedTxs,
    Step,
};

pub const GAS_PRICE: u128 = 2_000_000_000;

pub fn account(number: u8) -> Address {
    Address::repeat_byte(0xa0 + number)
}

pub fn spec(fork: Fork) -> Arc<ChainSpec> {
    let ether = U256::from(10).pow(U256::from(18));
    let accounts = (0..8).map(|n| (account(n), ether * U256::from(1_000))).collect();
    Arc::new(ChainSpec::dev(&DevOptions { fork, accounts, ..DevOptions::default() }))
}

pub fn database(spec: &ChainSpec) -> Database {
    Database::open(&Options { path: None, ..Options::default() }, spec).expect("memory")
}

pub fn legacy(
    from: Address,
    nonce: u64,
    to: TxKind,
    (gas_limit, value): (u64, u64),
    input: Bytes,
) -> Arc<RecoveredTx> {
    let tx = TxLegacy {
        chain_id: None,
        nonce,
        gas_price: GAS_PRICE,
        gas_limit,
        to,
        value: U256::from(value),
        input,
    };
    RecoveredTx::impersonated(TypedTransaction::Legacy(tx), from)
}

pub fn transfer(from: Address, nonce: u64, to: Address, wei: u64) -> Arc<RecoveredTx> {
    legacy(from, nonce, TxKind::Call(to), (21_000, wei), Bytes::new())
}

pub fn create(from: Address, nonce: u64, init: Bytes) -> Arc<RecoveredTx> {
    legacy(from, nonce, TxKind::Create, (500_000, 0), init)
}

/// Accounts whose keys are here.
pub fn signers() -> DevAccounts {
    DevAccounts::from_mnemonic(MNEMONIC, DERIVATION_PATH, 2).expect("the test phrase")
}

/// The first authorization of a signer, by number.
pub fn authorization(chain_id: u64, signer: usize, target: Address) -> SignedAuthorization {
    let one = Authorization { chain_id: U256::from(chain_id), address: target, nonce: 0 };
    let signature = signers().signer(signer).sign_hash_sync(&one.signature_hash());
    one.into_signed(signature.expect("a local key signs"))
}

pub fn set_code(
    from: Address,
    to: Address,
    authorization_list: Vec<SignedAuthorization>,
) -> Arc<RecoveredTx> {
    let tx = TxEip7702 {
        chain_id: 31_337,
        gas_limit: 500_000,
        max_fee_per_gas: GAS_PRICE,
        to,
        authorization_list,
        ..TxEip7702::default()
    };
    RecoveredTx::impersonated(TypedTransaction::Eip7702(tx), from)
}

/// Init code that deploys `code`.
pub fn deploying(code: &[u8]) -> Bytes {
    let len = u8::try_from(code.len()).expect("short");
    let mut init = vec![0x60, len, 0x60, 12, 0x60, 0, 0x39, 0x60, len, 0x60, 0, 0xf3];
    init.extend_from_slice(code);
    Bytes::from(init)
}

pub fn attributes(tip: &Tip) -> BlockAttributes {
    BlockAttributes {
        timestamp: tip.header.timestamp + 1,
        prev_randao: B256::repeat_byte(3),
        fee_recipient: Address::repeat_byte(0xfe),
        gas_limit: tip.header.gas_limit,
        base_fee: None,
        extra_data: Bytes::from_static(b"test"),
        parent_beacon_root: B256::repeat_byte(4),
        withdrawals: Vec::new(),
        txs_max: None,
        must_have_txs: false,
    }
}

pub fn list(txs: Vec<Arc<RecoveredTx>>) -> Box<dyn Candidates + Send> {
    Box::new(ListedTxs::new(txs, false))
}

pub fn build(
    tip: &Tip,
    spec: &Arc<ChainSpec>,
    (attributes, txs): (BlockAttributes, Vec<Arc<RecoveredTx>>),
) -> BlockRun {
    BlockRun::build(BuildJob {
        tip: tip.clone(),
        spec: Arc::clone(spec),
        attributes,
        limits: Limits::default(),
        candidates: list(txs),
    })
    .expect("the attributes fit")
}

pub fn finish(run: &mut BlockRun, fuel: u64) -> Result<Option<Arc<ExecutedBlock>>, ExecError> {
    loop {
        match run.step(fuel) {
            Step::More { .. } => {}
            Step::Offload(call) => run.provide(call.run(&|| false)),
            Step::Done(Ok(BlockOutcome::Executed(block))) => return Ok(Some(block)),
            Step::Done(Ok(BlockOutcome::Empty)) => return Ok(None),
            Step::Done(Err(error)) => return Err(error),
        }
    }
}

pub fn built(tip: &Tip, spec: &Arc<ChainSpec>, txs: Vec<Arc<RecoveredTx>>) -> Arc<ExecutedBlock> {
    let mut run = build(tip, spec, (attributes(tip), txs));
    finish(&mut run, u64::MAX).expect("it builds").expect("it may be empty")
}

/// A call of `to`, where `codes` stand.
pub fn call_of(
    kind: CallKind,
    gas: Option<u64>,
    to: Address,
    codes: impl IntoIterator<Item = (Address, Bytes)>,
) -> CallJob {
    let spec = spec(Fork::Osaka);
    let tip = database(&spec).tip();
    let placed = |(at, code)| (at, AccountOverride { code: Some(code), ..Default::default() });
    CallJob {
        view: tip.view,
        header: tip.header,
        spec,
        request: TransactionRequest {
            to: Some(TxKind::Call(to)),
            gas,
            ..TransactionRequest::default()
        },
        state_overrides: Some(codes.into_iter().map(placed).collect::<StateOverride>()),
        block_overrides: None,
        kind,
        limits: Limits::default(),
        notes: None,
    }
}
