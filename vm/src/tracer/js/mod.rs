//! Tracers that users write in JavaScript, as geth runs them. Pure.
//!
//! Source: geth `eth/tracers/js/goja.go` and its documents on custom tracers. A script is told of
//! an instruction when that is over, with what it found at its begin: only then its cost is known,
//! and whether it failed. What it has overwritten is kept until then.
//!
//! Deviations: an error of `log` or `db` is thrown, so a script can catch it; there is no `Date`
//! and no `Math.random`, so that one trace is the same each time, no `eval`, no `Proxy`, and no
//! `BigInt`; `bigInt` has the arithmetic of BigInteger.js on 4,096 bits, but no primes and nothing
//! random.

mod engine;
mod hooks;
mod host;

use std::{fmt, sync::Arc};

use alloy_primitives::{Address, Bytes, U256, map::AddressSet};
use alloy_rpc_types_eth::TransactionInfo;
use revm::{
    DatabaseRef as _,
    context::result::{ExecutionResult, Output},
    primitives::TxKind,
    state::AccountInfo,
};
use rquickjs::{Ctx, IntoJs, Object, TypedArray};
use serde_json::value::RawValue;

pub(crate) use engine::stoppable;
use engine::{Arguments, Engine};
use host::Sight;

use super::{plan::config_error, script::Ended, steps::Refunds};
use crate::{
    error::{CallError, Unsupported},
    limits::{JS_HOOK_FUEL, JS_UNIT_FUEL, TRACE_TEXT_BYTES_MAX},
};

/// A script, with the options it is set up with.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    code: Arc<str>,
    /// JSON.
    config: Arc<str>,
}

impl Source {
    /// `None` if it is a name: no tracer is that short.
    pub(super) fn new(code: &str, config: &serde_json::Value) -> Option<Self> {
        let is_name = code.chars().all(|c| c.is_alphanumeric() || c == '_');
        let config = if config.is_null() { "{}".to_owned() } else { config.to_string() };
        (!is_name).then(|| Self { code: code.into(), config: config.into() })
    }
}

/// A script under way.
pub(super) struct Running {
    source: Source,
    /// None until the transaction begins.
    engine: Option<Engine>,
    /// Why the trace is given up.
    failure: Option<String>,
    open: Option<hooks::Begun>,
    refunds: Refunds,
    /// What stopped the last instruction that failed.
    fault: Option<crate::long::Fault>,
    precompiles: Arc<AddressSet>,
}

impl Running {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            engine: None,
            failure: None,
            open: None,
            refunds: Refunds::default(),
            fault: None,
            precompiles: Arc::default(),
        }
    }

    /// Evaluates the script, before the transaction.
    ///
    /// # Errors
    ///
    /// It is no tracer, or throws.
    pub(super) fn start(&mut self, precompiles: &AddressSet) -> Result<(), CallError> {
        if self.engine.is_none() {
            let code = &self.source.code;
            if let Some(at) = native_number(code) {
                return Err(config_error(format!("{NATIVE_NUMBER}{}", Place::of(code, at))));
            }
            self.precompiles = Arc::new(precompiles.clone());
            self.engine = Some(Engine::start(&self.source).map_err(config_error)?);
        }
        Ok(())
    }

    /// Gives up the script and what it holds, which may take time.
    pub(super) fn end(&mut self) {
        self.engine = None;
    }

    /// Why the trace is given up, if the script has failed.
    pub(super) fn failure(&self) -> Option<CallError> {
        self.failure.clone().map(config_error)
    }

    /// Calls a hook, unless one failed before. Returns what it cost, as fuel.
    fn call(
        &mut self,
        hook: &'static str,
        sight: &mut dyn Sight,
        arguments: impl for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<Arguments<'js>>,
    ) -> u64 {
        let Some(engine) = self.engine.as_ref().filter(|_| self.failure.is_none()) else {
            return 0;
        };
        let called = host::seeing(sight, || engine.call::<()>(hook, arguments));
        let units = engine.units();
        self.failure = called.err();
        JS_HOOK_FUEL + units * JS_UNIT_FUEL
    }

    /// What the script says of the transaction.
    pub(super) fn result(
        &self,
        ended: &Ended<'_>,
        info: TransactionInfo,
    ) -> Result<Box<RawValue>, CallError> {
        if let Some(error) = self.failure() {
            return Err(error);
        }
        let engine = self.engine.as_ref().expect("it was begun with the transaction");
        let mut sight = AtEnd { ended, precompiles: &self.precompiles };
        let text = host::seeing(&mut sight, || {
            engine.call::<Option<String>>("result", |ctx| {
                Ok(vec![context(ctx, ended, info)?.into_value()])
            })
        });
        let text = text.map_err(config_error)?.unwrap_or_else(|| "null".to_owned());
        if text.len() > TRACE_TEXT_BYTES_MAX {
            let too_long = Unsupported::TraceText(TRACE_TEXT_BYTES_MAX);
            return Err(CallError::Unsupported(too_long));
        }
        RawValue::from_string(text).map_err(|error| CallError::Internal(error.to_string()))
    }
}

const NATIVE_NUMBER: &str = "SyntaxError: a number that ends with n is not known to tracers (expected bigInt(..), as in geth)";

/// Where a number of the language's own, of any size, is written, in text or not.
fn native_number(code: &str) -> Option<usize> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let words = code.as_bytes().split(|&byte| !is_part(byte));
    let mut at = 0;
    for word in words {
        if matches!(word, [b'0'..=b'9', .., b'n']) {
            return Some(at);
        }
        at += word.len() + 1;
    }
    None
}

/// Where in a script; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    /// Of the byte `at`, where a character begins.
    fn of(code: &str, at: usize) -> Self {
        let before = &code[..at];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        Self { line, column: before[start..].chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " (line {}, column {})", self.line, self.column)
    }
}

fn array<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> rquickjs::Result<rquickjs::Value<'js>> {
    TypedArray::<u8>::new_copy(ctx.clone(), bytes).map(TypedArray::into_value)
}

/// The `ctx` of a script's `result`.
fn context<'js>(
    ctx: &Ctx<'js>,
    ended: &Ended<'_>,
    info: TransactionInfo,
) -> rquickjs::Result<Object<'js>> {
    let Ended { tx, block, after, .. } = *ended;
    let object = Object::new(ctx.clone())?;
    let result = &after.result;
    let created = match result {
        ExecutionResult::Success { output: Output::Create(_, Some(address)), .. } => *address,
        _ => tx.caller.create(tx.nonce),
    };
    let (kind, to) = match tx.kind {
        TxKind::Call(to) => ("CALL", to),
        TxKind::Create => ("CREATE", created),
    };
    object.set("type", kind)?;
    object.set("from", array(ctx, tx.caller.as_slice())?)?;
    object.set("to", array(ctx, to.as_slice())?)?;
    object.set("input", array(ctx, &tx.data)?)?;
    object.set("gas", number(tx.gas_limit))?;
    object.set("gasUsed", number(result.tx_gas_used()))?;
    object.set("gasPrice", ended.tip().to_string())?;
    object.set("coinbase", array(ctx, block.beneficiary.as_slice())?)?;
    object.set("value", tx.value.to_string())?;
    object.set("block", number(block.number.saturating_to()))?;
    object.set("output", array(ctx, result.output().map_or(&[][..], |output| output))?)?;
    if let Some(error) = ended.error() {
        object.set("error", error)?;
    }
    if let Some(hash) = info.block_hash {
        object.set("blockHash", array(ctx, hash.as_slice())?)?;
        if let (Some(index), Some(hash)) = (info.index, info.hash) {
            object.set("txIndex", number(index))?;
            object.set("txHash", array(ctx, hash.as_slice())?)?;
        }
    }
    Ok(object)
}

/// A number as the language has it: a double.
#[expect(clippy::cast_precision_loss, reason = "so it is in geth")]
const fn number(value: u64) -> f64 {
    value as f64
}

/// The state after the transaction.
struct AtEnd<'a> {
    ended: &'a Ended<'a>,
    precompiles: &'a AddressSet,
}

impl Sight for AtEnd<'_> {
    fn account(&mut self, address: Address) -> Result<Option<AccountInfo>, String> {
        if let Some(account) = self.ended.after.state.get(&address) {
            // What is empty is gone with the transaction (EIP-161).
            let is_there = !account.is_selfdestructed() && !account.is_empty();
            return Ok(is_there.then(|| account.info.clone()));
        }
        self.ended.overlay.basic_ref(address).map_err(|error| error.0.to_string())
    }

    fn code(&mut self, address: Address) -> Result<Bytes, String> {
        let Some(info) = self.account(address)? else { return Ok(Bytes::new()) };
        match &info.code {
            Some(code) => Ok(code.original_bytes()),
            None => self
                .ended
                .overlay
                .code_by_hash_ref(info.code_hash)
                .map(|code| code.original_bytes())
                .map_err(|error| error.0.to_string()),
        }
    }

    fn slot(&mut self, address: Address, key: U256) -> Result<U256, String> {
        if let Some(account) = self.ended.after.state.get(&address) {
            if let Some(slot) = account.storage.get(&key).filter(|_| !account.is_selfdestructed()) {
                return Ok(slot.present_value());
            }
            if account.is_created() || account.is_selfdestructed() {
                return Ok(U256::ZERO);
            }
        }
        self.ended.overlay.storage_ref(address, key).map_err(|error| error.0.to_string())
    }

    fn is_precompile(&self, address: Address) -> bool {
        self.precompiles.contains(&address)
    }
}

/// A value for a script.
fn value<'js>(ctx: &Ctx<'js>, value: impl IntoJs<'js>) -> rquickjs::Result<rquickjs::Value<'js>> {
    value.into_js(ctx)
}
