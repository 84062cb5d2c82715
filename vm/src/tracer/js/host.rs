//! What a script can ask for while one of its hooks runs. Pure.

use std::{ops::Range, sync::Arc};

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use revm::state::AccountInfo;
use rquickjs::{Ctx, Exception, Function, Object, Result, TypedArray};
use scoped_tls_hkt::{ReborrowMut, scoped_thread_local};

use super::{engine::Looks, number};

/// Bytes beyond the end of memory that a script may look at: zeros; geth's value.
const MEMORY_PAD_MAX: usize = 1024 * 1024;
/// Bytes of a word.
const WORD: usize = 32;

const NO_STATE: &str = "db is not there within enter and exit";

/// The transaction as a hook finds it: nothing of it, where it is not said otherwise.
pub(super) trait Sight {
    /// The stack before the instruction, the top last.
    fn stack(&self) -> &[U256] {
        &[]
    }
    /// Bytes of memory before the instruction.
    fn memory_len(&self) -> usize {
        0
    }
    /// Some of them, all within.
    fn memory(&self, _range: Range<usize>) -> Vec<u8> {
        Vec::new()
    }
    /// The call under way.
    fn contract(&self) -> Contract {
        Contract::default()
    }
    fn account(&mut self, _address: Address) -> std::result::Result<Option<AccountInfo>, String> {
        Err(NO_STATE.to_owned())
    }
    fn code(&mut self, _address: Address) -> std::result::Result<Bytes, String> {
        Err(NO_STATE.to_owned())
    }
    fn slot(&mut self, _address: Address, _key: U256) -> std::result::Result<U256, String> {
        Err(NO_STATE.to_owned())
    }
    fn is_precompile(&self, address: Address) -> bool;
}

/// Who was called, by whom, with what.
#[derive(Default)]
pub(super) struct Contract {
    pub(super) caller: Address,
    pub(super) address: Address,
    pub(super) value: U256,
    pub(super) input: Bytes,
}

struct Now<'a>(&'a mut (dyn Sight + 'a));

impl<'a> ReborrowMut<'a> for Now<'_> {
    type Result = Now<'a>;

    fn reborrow_mut(&'a mut self) -> Now<'a> {
        Now(&mut *self.0)
    }
}

scoped_thread_local!(
    /// What the hook that runs on this thread sees.
    static mut NOW: for<'a> Now<'a>
);

/// Runs a hook that sees `sight`.
pub(super) fn seeing<R>(sight: &mut dyn Sight, hook: impl FnOnce() -> R) -> R {
    NOW.set(Now(sight), hook)
}

fn see<R>(
    ctx: &Ctx<'_>,
    look: impl FnOnce(&mut dyn Sight) -> std::result::Result<R, String>,
) -> Result<R> {
    let seen = if NOW.is_set() {
        NOW.with(|now| look(now.0))
    } else {
        Err("nothing is executed yet: log and db are there within hooks".to_owned())
    };
    seen.map_err(|error| Exception::throw_message(ctx, &error))
}

type Array<'js> = TypedArray<'js, u8>;

fn array<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Array<'js>> {
    TypedArray::new_copy(ctx.clone(), bytes)
}

/// Bytes that the prelude hands over, as hex digits: it has made them as long as they have to be.
fn fixed<const LEN: usize>(ctx: &Ctx<'_>, digits: &str) -> Result<[u8; LEN]> {
    hex::decode_to_array(digits).map_err(|error| Exception::throw_type(ctx, &error.to_string()))
}

fn address(ctx: &Ctx<'_>, digits: &str) -> Result<Address> {
    fixed(ctx, digits).map(Address::new)
}

/// A number of the script's, if it can be a place or a length.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in the range")]
fn index(number: f64) -> Option<usize> {
    (0.0..=f64::from(u32::MAX)).contains(&number).then_some(number as usize)
}

/// The object with all that the prelude is made of.
pub(super) fn object<'js>(ctx: &Ctx<'js>, looks: &Arc<Looks>) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    let counting = Arc::clone(looks);
    let work = move |ctx: Ctx<'js>, units: f64| {
        // More than there can be is more than may be.
        let units = index(units).map_or(1 << 40, |units| units as u64);
        if counting.spend(units) {
            return Err(Exception::throw_range(&ctx, "this is too much work for a tracer"));
        }
        Ok(())
    };
    host.set("work", Function::new(ctx.clone(), work)?)?;
    of_instruction(ctx, &host)?;
    of_state(ctx, &host)?;
    conversions(ctx, &host)?;
    Ok(host)
}

macro_rules! functions {
    ($ctx:expr, $host:expr, $($name:literal: $function:expr,)*) => {
        $($host.set($name, Function::new($ctx.clone(), $function)?)?;)*
    };
}

fn of_instruction<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    functions! { ctx, host,
        "stackLength": |ctx: Ctx<'js>| see(&ctx, |now| Ok(now.stack().len())),
        "peek": |ctx: Ctx<'js>, nth: f64| see(&ctx, |now| peek(now.stack(), nth)),
        "memoryLength": |ctx: Ctx<'js>| see(&ctx, |now| Ok(now.memory_len())),
        "memory": |ctx: Ctx<'js>, begin: f64, end: f64| {
            array(&ctx, &see(&ctx, |now| memory(now, begin, end))?)
        },
        "memoryWord": |ctx: Ctx<'js>, at: f64| see(&ctx, |now| memory_word(now, at)),
        "caller": |ctx: Ctx<'js>| {
            array(&ctx, see(&ctx, |now| Ok(now.contract().caller))?.as_slice())
        },
        "address": |ctx: Ctx<'js>| {
            array(&ctx, see(&ctx, |now| Ok(now.contract().address))?.as_slice())
        },
        "value": |ctx: Ctx<'js>| see(&ctx, |now| Ok(now.contract().value.to_string())),
        "input": |ctx: Ctx<'js>| array(&ctx, &see(&ctx, |now| Ok(now.contract().input))?),
    }
    Ok(())
}

fn of_state<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    functions! { ctx, host,
        "balance": |ctx: Ctx<'js>, of: String| {
            let of = address(&ctx, &of)?;
            see(&ctx, |now| Ok(now.account(of)?.unwrap_or_default().balance.to_string()))
        },
        "nonce": |ctx: Ctx<'js>, of: String| {
            let of = address(&ctx, &of)?;
            see(&ctx, |now| Ok(number(now.account(of)?.unwrap_or_default().nonce)))
        },
        "exists": |ctx: Ctx<'js>, of: String| {
            let of = address(&ctx, &of)?;
            see(&ctx, |now| Ok(now.account(of)?.is_some()))
        },
        "code": |ctx: Ctx<'js>, of: String| {
            let of = address(&ctx, &of)?;
            array(&ctx, &see(&ctx, |now| now.code(of))?)
        },
        "slot": |ctx: Ctx<'js>, of: String, key: String| {
            let of = address(&ctx, &of)?;
            let key = U256::from_be_bytes(fixed::<WORD>(&ctx, &key)?);
            array(&ctx, &see(&ctx, |now| now.slot(of, key))?.to_be_bytes::<WORD>())
        },
        "isPrecompiled": |ctx: Ctx<'js>, at: String| {
            let at = address(&ctx, &at)?;
            // Before the transaction there are none, as in geth.
            if NOW.is_set() { see(&ctx, |now| Ok(now.is_precompile(at))) } else { Ok(false) }
        },
    }
    Ok(())
}

fn conversions<'js>(ctx: &Ctx<'js>, host: &Object<'js>) -> Result<()> {
    functions! { ctx, host,
        "created": |ctx: Ctx<'js>, from: String, nonce: f64| {
            let nonce = index(nonce).unwrap_or_default() as u64;
            array(&ctx, address(&ctx, &from)?.create(nonce).as_slice())
        },
        "created2": |ctx: Ctx<'js>, from: String, salt: String, code: String| {
            let (from, salt) = (address(&ctx, &from)?, fixed::<WORD>(&ctx, &salt)?);
            let code = hex::decode(code);
            let code =
                code.map_err(|error| Exception::throw_type(&ctx, &error.to_string()))?;
            array(&ctx, from.create2(B256::new(salt), keccak256(code)).as_slice())
        },
    }
    Ok(())
}

/// An item of the stack, counted from its top.
fn peek(stack: &[U256], nth: f64) -> std::result::Result<String, String> {
    let item = index(nth).and_then(|nth| stack.iter().rev().nth(nth));
    let size = stack.len();
    item.map(ToString::to_string)
        .ok_or_else(|| format!("tracer accessed out of bound stack: size {size}, index {nth}"))
}

/// Bytes of memory, with zeros for what is beyond it.
fn memory(now: &dyn Sight, begin: f64, end: f64) -> std::result::Result<Vec<u8>, String> {
    let len = now.memory_len();
    if begin.total_cmp(&end).is_eq() {
        return Ok(Vec::new());
    }
    let (Some(begin), Some(end)) = (index(begin), index(end).filter(|_| begin < end)) else {
        return Err(format!("tracer accessed out of bound memory: offset {begin}, end {end}"));
    };
    if end > len.saturating_add(MEMORY_PAD_MAX) {
        let size = format!("end {end}, memorySize {len}");
        return Err(format!("tracer reached limit for padding memory slice: {size}"));
    }
    let mut bytes = now.memory(begin.min(len)..end.min(len));
    bytes.resize(end - begin, 0);
    Ok(bytes)
}

fn memory_word(now: &dyn Sight, at: f64) -> std::result::Result<String, String> {
    let available = now.memory_len();
    match index(at).filter(|at| at + WORD <= available) {
        Some(at) => {
            let word = now.memory(at..at + WORD);
            Ok(U256::from_be_slice(&word).to_string())
        }
        None => Err(format!(
            "tracer accessed out of bound memory: available {available}, offset {at}, size {WORD}"
        )),
    }
}
