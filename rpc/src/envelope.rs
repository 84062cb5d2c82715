//! The envelope of JSON-RPC 2.0: bytes to calls, results to bytes.
//!
//! Pure: no clock, no I/O, no locks. Answers to bad input are geth's (`rpc/{json,handler}.go`):
//! what is no JSON is a parse error, what is no request an invalid request, under its id if it has
//! a usable one.
//!
//! # Invariants
//!
//! - E1: nothing is allocated in proportion to the body before size, depth and UTF-8 are checked;
//!   a batch never holds more than `batch_max` entries.
//! - E2: an id is answered with the very bytes it came as.
//! - E3: no recursion on the input: depth is counted by a loop, members are skipped by
//!   `serde_json`'s own loop for raw values.
//!
//! # Deviations from geth
//!
//! Member names are case-sensitive, text after the first value is a parse error, and an id must be
//! a number, a string or null (geth lets true and false through).

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    error::RpcError,
    limits::{DEPTH_MAX, METHOD_BYTES_MAX},
};

/// What a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeLimits {
    /// Size of the body, in bytes.
    pub bytes_max: usize,
    /// Calls in one batch.
    pub batch_max: usize,
    /// Nesting of arrays and objects.
    pub depth_max: usize,
}

impl Default for EnvelopeLimits {
    fn default() -> Self {
        Self { bytes_max: 15 << 20, batch_max: 1_000, depth_max: DEPTH_MAX }
    }
}

/// A body.
#[derive(Debug)]
pub enum Parsed<'a> {
    /// One request.
    Single(Entry<'a>),
    /// A batch of 1 to `batch_max` entries, in their order.
    Batch(Vec<Entry<'a>>),
    /// No request at all: this is the whole answer.
    Refused(Refused<'a>),
}

/// A body that is refused as a whole.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Id to answer under; `null` if there is none.
    pub id: Option<Cow<'a, RawValue>>,
    /// Why.
    pub error: RpcError,
    /// geth answers a batch that is too large with an array of one error.
    pub is_array: bool,
}

/// One element of a body.
#[derive(Clone, Debug)]
pub enum Entry<'a> {
    /// A well-formed request.
    Call(Call<'a>),
    /// Anything else; it is answered with its error.
    Invalid {
        /// Id to answer under; `null` if there is none.
        id: Option<Cow<'a, RawValue>>,
        /// Why.
        error: RpcError,
    },
}

/// A well-formed request, not yet decoded further.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Absent in a notification, which gets no answer.
    pub id: Option<Cow<'a, RawValue>>,
    /// At most [`METHOD_BYTES_MAX`] bytes.
    pub method: Cow<'a, str>,
    /// `null` counts as absent.
    pub params: Option<Cow<'a, RawValue>>,
}

/// Takes a body apart. O(n) in its size.
pub fn parse<'a>(bytes: &'a [u8], limits: &EnvelopeLimits) -> Parsed<'a> {
    if bytes.len() > limits.bytes_max {
        return refuse(too_large(bytes.len(), limits.bytes_max));
    }
    if is_deeper(bytes, limits.depth_max) {
        let text = format!("nested deeper than {} levels", limits.depth_max);
        return refuse(RpcError::invalid_request(text));
    }
    let Ok(text) = str::from_utf8(bytes) else { return refuse(RpcError::parse()) };
    if text.trim_ascii_start().starts_with('[') {
        return parse_batch(text, limits.batch_max);
    }
    match serde_json::from_str(text) {
        Ok(entry) => Parsed::Single(entry),
        Err(_) => refuse(RpcError::parse()),
    }
}

/// What a body over the limit is told.
pub fn too_large(found: usize, max: usize) -> RpcError {
    RpcError::invalid_request(format!("request too large: {found} bytes, limit {max}"))
}

fn refuse<'a>(error: RpcError) -> Parsed<'a> {
    Parsed::Refused(Refused { id: None, error, is_array: false })
}

fn parse_batch(text: &str, batch_max: usize) -> Parsed<'_> {
    let mut batch = Batch { entries: Vec::new(), entries_max: batch_max, is_full: false };
    let mut json = serde_json::Deserializer::from_str(text);
    let end = batch.deserialize(&mut json).and_then(|()| json.end());

    if batch.is_full {
        // The whole batch cannot be answered; geth names the first id so that the client can tell.
        let id = batch.entries.into_iter().find_map(Entry::into_id);
        let error = RpcError::invalid_request("batch too large");
        return Parsed::Refused(Refused { id, error, is_array: true });
    }
    if end.is_err() {
        return refuse(RpcError::parse());
    }
    if batch.entries.is_empty() {
        return refuse(RpcError::invalid_request("empty batch"));
    }
    Parsed::Batch(batch.entries)
}

/// True if arrays and objects nest deeper than `depth_max`. Brackets in strings do not count; in
/// what is no JSON the count is meaningless, and the parser refuses that anyway.
fn is_deeper(bytes: &[u8], depth_max: usize) -> bool {
    let mut depth = 0_usize;
    let mut is_string = false;
    let mut is_escaped = false;
    for &byte in bytes {
        if is_string {
            is_string = is_escaped || byte != b'"';
            is_escaped = !is_escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => is_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

impl<'a> Entry<'a> {
    /// The same, independent of the body.
    pub fn into_owned(self) -> Entry<'static> {
        match self {
            Entry::Call(call) => Entry::Call(call.into_owned()),
            Entry::Invalid { id, error } => Entry::Invalid { id: id.map(own), error },
        }
    }

    fn into_id(self) -> Option<Cow<'a, RawValue>> {
        match self {
            Entry::Call(call) => call.id,
            Entry::Invalid { id, .. } => id,
        }
    }
}

impl Call<'_> {
    /// The same, independent of the body.
    pub fn into_owned(self) -> Call<'static> {
        Call {
            id: self.id.map(own),
            method: Cow::Owned(self.method.into_owned()),
            params: self.params.map(own),
        }
    }
}

impl Parsed<'_> {
    /// The same, independent of the body.
    pub fn into_owned(self) -> Parsed<'static> {
        match self {
            Parsed::Single(entry) => Parsed::Single(entry.into_owned()),
            Parsed::Batch(entries) => {
                Parsed::Batch(entries.into_iter().map(Entry::into_owned).collect())
            }
            Parsed::Refused(Refused { id, error, is_array }) => {
                Parsed::Refused(Refused { id: id.map(own), error, is_array })
            }
        }
    }
}

fn own(raw: Cow<'_, RawValue>) -> Cow<'static, RawValue> {
    Cow::Owned(raw.into_owned())
}

/// What follows the result or the error of an answer.
pub const ANSWER_END: &str = "}";

/// Begins an answer that has a result: the result follows, then [`ANSWER_END`].
pub fn begin_result(out: &mut String, id: Option<&RawValue>) {
    begin(out, id, r#","result":"#);
}

/// Appends an answer that is an error.
pub fn write_error(out: &mut String, id: Option<&RawValue>, error: &RpcError) {
    begin(out, id, r#","error":"#);
    error.write_json(out);
    out.push_str(ANSWER_END);
}

fn begin(out: &mut String, id: Option<&RawValue>, member: &str) {
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(id.map_or("null", RawValue::get));
    out.push_str(member);
}

impl Refused<'_> {
    /// The whole answer.
    pub fn render(self) -> String {
        let mut out = String::new();
        if self.is_array {
            out.push('[');
        }
        write_error(&mut out, self.id.as_deref(), &self.error);
        if self.is_array {
            out.push(']');
        }
        out
    }
}

/// Fills `entries`; stops with an error at the first one too many.
struct Batch<'a> {
    entries: Vec<Entry<'a>>,
    entries_max: usize,
    is_full: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Batch<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Batch<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element::<Entry<'de>>()? {
            if self.entries.len() >= self.entries_max {
                self.is_full = true;
                return Err(de::Error::custom("batch too large"));
            }
            self.entries.push(entry);
        }
        Ok(())
    }
}

/// Members of a request object as they come; a repeated one replaces the former, as in geth.
#[derive(Default)]
struct Members<'a> {
    version: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    fn into_entry(self) -> Entry<'a> {
        let invalid = |id: Option<&'a RawValue>, text: Cow<'static, str>| {
            let id = id.map(Cow::Borrowed);
            Entry::Invalid { id, error: RpcError::invalid_request(text) }
        };
        let id = self.id.filter(|id| is_id(id));
        let is_request = self.version.is_some_and(|version| version.get() == r#""2.0""#)
            && id.is_some() == self.id.is_some();
        let method = self.method.and_then(text_of).filter(|method| !method.is_empty());
        let (true, Some(method)) = (is_request, method) else {
            return invalid(id, "invalid request".into());
        };
        if method.len() > METHOD_BYTES_MAX {
            let text = format!("method name too long: {}>{METHOD_BYTES_MAX}", method.len());
            return invalid(id, text.into());
        }
        let params = self.params.filter(|params| params.get() != "null");
        Entry::Call(Call { id: id.map(Cow::Borrowed), method, params: params.map(Cow::Borrowed) })
    }
}

/// True for a number, a string and null.
fn is_id(raw: &RawValue) -> bool {
    matches!(raw.get().as_bytes()[0], b'"' | b'-' | b'0'..=b'9' | b'n')
}

/// The string that `raw` is, if it is one; borrowed unless it has escapes.
fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

/// Name of a member of a request object.
enum Name {
    Version,
    Id,
    Method,
    Params,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    "jsonrpc" => Name::Version,
                    "id" => Name::Id,
                    "method" => Name::Method,
                    "params" => Name::Params,
                    _ => Name::Other,
                })
            }
        }

        from.deserialize_identifier(NameVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Entry<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EntryVisitor(std::marker::PhantomData))
    }
}

/// Takes any JSON value: what is no object is an invalid request, not a parse error.
struct EntryVisitor<'a>(std::marker::PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for EntryVisitor<'a> {
    type Value = Entry<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry<'a>, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<Name>()? {
            match name {
                Name::Version => members.version = Some(map.next_value()?),
                Name::Id => members.id = Some(map.next_value()?),
                Name::Method => members.method = Some(map.next_value()?),
                Name::Params => members.params = Some(map.next_value()?),
                Name::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members.into_entry())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry<'a>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(no_request())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Entry<'a>, E> {
        Ok(no_request())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Entry<'a>, E> {
        Ok(no_request())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Entry<'a>, E> {
        Ok(no_request())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Entry<'a>, E> {
        Ok(no_request())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Entry<'a>, E> {
        Ok(no_request())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Entry<'a>, E> {
        Ok(no_request())
    }
}

fn no_request<'a>() -> Entry<'a> {
    Entry::Invalid { id: None, error: RpcError::invalid_request("invalid request") }
}

#[cfg(test)]
mod tests;
