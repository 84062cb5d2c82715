//! Positional parameters: read once, strictly, with geth's words for what is wrong.
//!
//! Pure. Quantities are hex as geth has it (`0x` prefix, no leading zeros), or a decimal number,
//! bare or in quotes, as anvil takes it.

use std::{borrow::Cow, fmt};

use alloy_eips::{BlockId, BlockNumberOrTag, RpcBlockHash};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::error::RpcError;

/// No method takes more.
const ARGS_MAX: usize = 6;
/// Characters of an argument that an error repeats: those of a hash.
const SHOWN_CHARS_MAX: usize = 66;

/// The arguments of one call, undecoded. Borrowed from the request: nothing is copied.
pub(crate) struct Params<'a> {
    args: [Option<&'a RawValue>; ARGS_MAX],
}

/// Why an argument is refused; the caller adds its position.
pub(crate) type Refusal = Cow<'static, str>;

/// Something a parameter may be.
pub(crate) trait Arg: Sized {
    /// Reads it.
    fn parse(raw: &RawValue) -> Result<Self, Refusal>;
}

impl<'a> Params<'a> {
    /// Splits `raw` into at most `max` arguments.
    pub(crate) fn new(raw: Option<&'a RawValue>, max: usize) -> Result<Self, RpcError> {
        assert!(max <= ARGS_MAX, "no method takes {max} arguments");
        let empty = Params { args: [None; ARGS_MAX] };
        let Some(raw) = raw else { return Ok(empty) };
        match raw.get().as_bytes().first() {
            Some(b'[') => {}
            Some(b'n') => return Ok(empty),
            _ => return Err(RpcError::invalid_params("non-array args")),
        }
        let (params, count) = serde_json::from_str::<Split<'_>>(raw.get())
            .map(|split| (Params { args: split.args }, split.count))
            .map_err(|error| RpcError::invalid_params(error.to_string()))?;
        if count > max {
            let text = format!("too many arguments, want at most {max}");
            return Err(RpcError::invalid_params(text));
        }
        Ok(params)
    }

    /// Refuses any argument.
    pub(crate) fn none(raw: Option<&'a RawValue>) -> Result<(), RpcError> {
        Self::new(raw, 0).map(drop)
    }

    /// The argument at `index`, which must be there.
    pub(crate) fn required<T: Arg>(&self, index: usize) -> Result<T, RpcError> {
        self.optional(index)?.ok_or_else(|| missing(index))
    }

    /// The argument at `index`; absent and `null` are the same.
    pub(crate) fn optional<T: Arg>(&self, index: usize) -> Result<Option<T>, RpcError> {
        let Some(raw) = self.raw(index) else { return Ok(None) };
        T::parse(raw).map(Some).map_err(|refusal| refuse(index, &refusal))
    }

    /// How many of `what` the argument at `index` says, 1 to `most`, if it is there.
    pub(crate) fn count(
        &self,
        index: usize,
        most: usize,
        what: &str,
    ) -> Result<Option<usize>, RpcError> {
        let Some(raw) = self.raw(index) else { return Ok(None) };
        let count = Quantity::parse(raw).ok().and_then(|Quantity(count)| count.try_into().ok());
        match count {
            Some(count) if (1..=most).contains(&count) => Ok(Some(count)),
            _ => Err(unexpected(index, &format!("1 to {most} {what}"), raw)),
        }
    }

    /// The argument at `index`, which must be there and what is `expected`.
    pub(crate) fn expected<T: Arg>(&self, index: usize, expected: &str) -> Result<T, RpcError> {
        let raw = self.raw(index).ok_or_else(|| missing(index))?;
        T::parse(raw).map_err(|_| unexpected(index, expected, raw))
    }

    /// The argument at `index` as it came, unless it is absent or `null`.
    pub(crate) fn raw(&self, index: usize) -> Option<&'a RawValue> {
        self.args[index].filter(|raw| raw.get() != "null")
    }

    /// The block named by the argument at `index`; the latest one if none is.
    pub(crate) fn block(&self, index: usize) -> Result<BlockId, RpcError> {
        Ok(self.optional::<BlockId>(index)?.unwrap_or_default())
    }
}

/// The error for a wrong argument at `index`.
pub(crate) fn refuse(index: usize, refusal: &str) -> RpcError {
    RpcError::invalid_params(format!("invalid argument {index}: {refusal}"))
}

fn missing(index: usize) -> RpcError {
    RpcError::invalid_params(format!("missing value for required argument {index}"))
}

/// The error for an argument at `index` that is not what was expected.
fn unexpected(index: usize, expected: &str, found: &RawValue) -> RpcError {
    let found: String = found.get().chars().take(SHOWN_CHARS_MAX).collect();
    refuse(index, &format!("expected {expected}, found {found}"))
}

/// Deserializes an array of any length and keeps its first items.
struct Split<'a> {
    args: [Option<&'a RawValue>; ARGS_MAX],
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Split<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Split<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of arguments")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Split<'de>, A::Error> {
                let mut split = Split { args: [None; ARGS_MAX], count: 0 };
                while split.count < ARGS_MAX {
                    match items.next_element()? {
                        Some(raw) => split.args[split.count] = Some(raw),
                        None => return Ok(split),
                    }
                    split.count += 1;
                }
                while items.next_element::<IgnoredAny>()?.is_some() {
                    split.count += 1;
                }
                Ok(split)
            }
        }
        from.deserialize_seq(Items)
    }
}

/// The text inside a JSON string; escapes are resolved, which only odd clients use in hex.
pub(crate) fn text<'a>(raw: &'a RawValue, expected: &'static str) -> Result<Cow<'a, str>, Refusal> {
    let json = raw.get();
    if !json.starts_with('"') {
        return Err(
            format!("json: cannot unmarshal non-string into Go value of type {expected}").into()
        );
    }
    if json.contains('\\') {
        return serde_json::from_str(json)
            .map(Cow::Owned)
            .map_err(|error| error.to_string().into());
    }
    Ok(Cow::Borrowed(&json[1..json.len() - 1]))
}

/// geth's sentence for hex it cannot take, e.g. "json: cannot unmarshal hex string without 0x
/// prefix into Go value of type common.Address".
fn cannot(what: &'static str, expected: &'static str) -> Refusal {
    format!("json: cannot unmarshal {what} into Go value of type {expected}").into()
}

/// A quantity of geth's JSON: `0x`, then 1 to 64 digits of which the first is not 0 unless alone.
fn quantity(text: &str, expected: &'static str) -> Result<U256, Refusal> {
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        let what =
            if text.is_empty() { "empty hex string" } else { "hex string without 0x prefix" };
        return Err(cannot(what, expected));
    };
    if digits.is_empty() {
        return Err(cannot("hex string \"0x\"", expected));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(cannot("hex number with leading zero digits", expected));
    }
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(cannot("invalid hex string", expected));
    }
    if digits.len() > 64 {
        return Err(cannot("hex number > 256 bits", expected));
    }
    U256::from_str_radix(digits, 16).map_err(|_| cannot("invalid hex string", expected))
}

fn quantity_u64(text: &str) -> Result<u64, Refusal> {
    const EXPECTED: &str = "hexutil.Uint64";
    let wide = decimal(text).map_or_else(|| quantity(text, EXPECTED), Ok)?;
    wide.try_into().map_err(|_| cannot("hex number > 64 bits", EXPECTED))
}

/// A decimal number of at most 256 bits; none if `text` is anything else.
fn decimal(text: &str) -> Option<U256> {
    let is_decimal = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    is_decimal.then(|| U256::from_str_radix(text, 10).ok()).flatten()
}

/// What stands inside the quotes, or a bare number.
fn text_or_number<'a>(raw: &'a RawValue, expected: &'static str) -> Result<Cow<'a, str>, Refusal> {
    if raw.get().bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(Cow::Borrowed(raw.get()));
    }
    text(raw, expected)
}

/// Bytes of any length, `0x` required.
fn data(text: &str, expected: &'static str) -> Result<Vec<u8>, Refusal> {
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        let what =
            if text.is_empty() { "empty hex string" } else { "hex string without 0x prefix" };
        return Err(cannot(what, expected));
    };
    if !digits.len().is_multiple_of(2) {
        return Err(cannot("hex string of odd length", expected));
    }
    hex::decode(digits).map_err(|_| cannot("invalid hex string", expected))
}

/// Exactly `N` bytes.
fn fixed<const N: usize>(raw: &RawValue, expected: &'static str) -> Result<[u8; N], Refusal> {
    let text = text(raw, expected)?;
    let digits = text.len().saturating_sub(2);
    if text.starts_with("0x") && digits != 2 * N {
        let want = 2 * N;
        return Err(format!("hex string has length {digits}, want {want} for {expected}").into());
    }
    let mut bytes = [0; N];
    let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
        return Err(cannot("hex string without 0x prefix", expected));
    };
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| cannot("invalid hex string", expected))?;
    Ok(bytes)
}

impl Arg for Address {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        fixed::<20>(raw, "common.Address").map(Address::new)
    }
}

impl Arg for B256 {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        fixed::<32>(raw, "common.Hash").map(B256::new)
    }
}

impl Arg for Bytes {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        const EXPECTED: &str = "hexutil.Bytes";
        data(&text(raw, EXPECTED)?, EXPECTED).map(Bytes::from)
    }
}

impl Arg for bool {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        decode(raw)
    }
}

impl Arg for String {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        text(raw, "string").map(Cow::into_owned)
    }
}

/// A 64-bit quantity.
pub(crate) struct Quantity(pub(crate) u64);

impl Arg for Quantity {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        quantity_u64(&text_or_number(raw, "hexutil.Uint64")?).map(Self)
    }
}

/// A storage slot as geth takes it: at most 32 bytes of hex, leading zeros allowed or not, `0x` or
/// not. A bare number is decimal.
pub(crate) struct Slot(pub(crate) U256);

impl Arg for Slot {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        if let Some(slot) = decimal(raw.get()) {
            return Ok(Self(slot));
        }
        let text = text(raw, "common.Hash")?;
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(&text);
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err("unable to decode storage key: hex string invalid".into());
        }
        if digits.len() > 64 {
            return Err(format!(
                "unable to decode storage key: hex string too long, want at most 32 bytes, have {}",
                digits.len().div_ceil(2)
            )
            .into());
        }
        U256::from_str_radix(digits, 16).map(Self).map_err(|error| error.to_string().into())
    }
}

/// A number of a dev method: hex, decimal text, or a JSON number.
pub(crate) struct Number(pub(crate) U256);

impl Number {
    fn read(raw: &RawValue) -> Result<U256, Refusal> {
        let json = raw.get();
        let text = if json.starts_with('"') { text(raw, "a number")? } else { json.into() };
        // ruint alone would skip underscores and take no digits for zero.
        let is_hex = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some("") => Some(U256::ZERO),
            Some(digits) => {
                Some(digits).filter(is_hex).and_then(|it| U256::from_str_radix(it, 16).ok())
            }
            None => decimal(&text),
        };
        parsed.ok_or_else(|| "expected a number of at most 256 bits, hex with 0x or decimal".into())
    }
}

impl Arg for Number {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        Self::read(raw).map(Self)
    }
}

/// A dev method's number that fits 64 bits.
impl Arg for u64 {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        let wide = Number::read(raw)?;
        wide.try_into().map_err(|_| format!("{wide} does not fit in 64 bits").into())
    }
}

impl Arg for BlockId {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        if raw.get().starts_with('{') {
            return parse_block_object(raw);
        }
        let text = text_or_number(raw, "rpc.BlockNumberOrHash")?;
        if text.len() == 66 && text.starts_with("0x") {
            return B256::parse(raw).map(|hash| Self::Hash(RpcBlockHash::from_hash(hash, None)));
        }
        parse_tag(&text).map(Self::Number)
    }
}

/// A block where a number has to be hex, as geth has it; the consensus encodings are asked for by
/// tools, not by hand.
pub(crate) struct HexBlock(pub(crate) BlockId);

impl Arg for HexBlock {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        let is_decimal = raw.get().trim_matches('"').starts_with(|c: char| c.is_ascii_digit())
            && !raw.get().trim_matches('"').starts_with("0x");
        if is_decimal {
            return Err("hex string without 0x prefix".into());
        }
        BlockId::parse(raw).map(Self)
    }
}

impl Arg for BlockNumberOrTag {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        parse_tag(&text_or_number(raw, "rpc.BlockNumber")?)
    }
}

fn parse_tag(text: &str) -> Result<BlockNumberOrTag, Refusal> {
    Ok(match text {
        "latest" | "" => BlockNumberOrTag::Latest,
        "pending" => BlockNumberOrTag::Pending,
        "earliest" => BlockNumberOrTag::Earliest,
        "safe" => BlockNumberOrTag::Safe,
        "finalized" => BlockNumberOrTag::Finalized,
        other if !other.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
            let shown: String = other.chars().take(SHOWN_CHARS_MAX).collect();
            return Err(format!(
                "block {shown:?}: expected latest, pending, earliest, safe, finalized, a number (hex \
                 with 0x, or decimal) or a block hash"
            )
            .into());
        }
        other => {
            let number = quantity_u64(other)?;
            if i64::try_from(number).is_err() {
                return Err("block number larger than int64".into());
            }
            BlockNumberOrTag::Number(number)
        }
    })
}

/// EIP-1898: `{"blockNumber": ..}` or `{"blockHash": .., "requireCanonical": ..}`.
fn parse_block_object(raw: &RawValue) -> Result<BlockId, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Object<'a> {
        #[serde(borrow)]
        block_number: Option<&'a RawValue>,
        #[serde(borrow)]
        block_hash: Option<&'a RawValue>,
        require_canonical: Option<bool>,
    }
    let object: Object<'_> =
        serde_json::from_str(raw.get()).map_err(|error| Refusal::from(error.to_string()))?;
    match (object.block_number, object.block_hash) {
        (Some(_), Some(_)) => {
            Err("cannot specify both BlockHash and BlockNumber, choose one or the other".into())
        }
        (Some(number), None) => BlockNumberOrTag::parse(number).map(BlockId::Number),
        (None, Some(hash)) => B256::parse(hash)
            .map(|hash| RpcBlockHash::from_hash(hash, object.require_canonical))
            .map(BlockId::Hash),
        (None, None) => Err("invalid arguments; neither block nor hash specified".into()),
    }
}

/// An object decoded by serde.
pub(crate) struct Object<T>(pub(crate) T);

impl<T: DeserializeOwned> Arg for Object<T> {
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        decode(raw).map(Self)
    }
}

fn decode<T: DeserializeOwned>(raw: &RawValue) -> Result<T, Refusal> {
    serde_json::from_str(raw.get()).map_err(|error| explained::<T>(raw, &error).into())
}

/// What is wrong with an argument, and with which member of it: it is read once more to find out.
#[cold]
fn explained<T: DeserializeOwned>(raw: &RawValue, error: &serde_json::Error) -> String {
    let mut from = serde_json::Deserializer::from_str(raw.get());
    let Err(found) = serde_path_to_error::deserialize::<_, T>(&mut from) else {
        return error.to_string();
    };
    let path = found.path().to_string();
    let error = found.into_inner().to_string();
    // The argument is what the client sees, not the text that it stands in, nor what we call it.
    let reason = error.split(" at line ").next().unwrap_or(&error);
    let mut plain = reason.replace("a tuple of size ", "a list of ");
    if let Some((before, name)) = plain.split_once("struct ")
        && name.chars().all(char::is_alphanumeric)
    {
        plain = format!("{before}an object");
    }
    if path == "." { plain } else { format!("{path}: {plain}") }
}

#[cfg(test)]
mod tests;
