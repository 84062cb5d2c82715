//! RLP tests: items and their encoding, and bytes that are none.

use std::collections::BTreeMap;

use alloy_primitives::{Bytes, hex};
use alloy_rlp::{Encodable, Header};
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use super::tally::{Cases, expect};

#[derive(Deserialize)]
struct RlpTest {
    /// The item; or just that there is one, or none.
    #[serde(rename = "in")]
    item: Value,
    out: String,
}

/// What RLP encodes.
#[derive(PartialEq, Eq, Debug)]
enum Item {
    String(Vec<u8>),
    List(Vec<Self>),
}

pub(super) fn run(bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    let tests: BTreeMap<String, RlpTest> = serde_json::from_slice(bytes)?;
    for (name, test) in tests {
        cases.run(&name, None, || check(&test));
    }
    Ok(())
}

fn check(test: &RlpTest) -> Result<(), String> {
    let bytes = hex::decode(&test.out).map_err(|error| error.to_string())?;
    let decoded = decode_all(&bytes);
    match (test.item.as_str(), decoded) {
        (Some("INVALID"), Ok(item)) => Err(format!("{item:?}, expected that it is invalid")),
        (Some("INVALID"), Err(_)) => Ok(()),
        (_, Err(error)) => Err(format!("not decoded: {error}")),
        (Some("VALID"), Ok(item)) => encodes_to(&item, &bytes),
        (_, Ok(item)) => {
            let expected = item_of(&test.item)?;
            if item != expected {
                return Err(format!("{item:?}, expected {expected:?}"));
            }
            encodes_to(&expected, &bytes)
        }
    }
}

fn encodes_to(item: &Item, expected: &[u8]) -> Result<(), String> {
    let mut found = Vec::new();
    encode(item, &mut found);
    expect("encoding", Bytes::from(found), Bytes::copy_from_slice(expected))
}

/// The item as the test writes it. Numbers are strings without leading zeros.
fn item_of(value: &Value) -> Result<Item, String> {
    match value {
        Value::Array(items) => items.iter().map(item_of).collect::<Result<_, _>>().map(Item::List),
        Value::String(text) => match text.strip_prefix('#') {
            Some(digits) => big_endian(digits).map(Item::String),
            None => Ok(Item::String(text.as_bytes().to_vec())),
        },
        Value::Number(number) => big_endian(&number.to_string()).map(Item::String),
        other => Err(format!("cannot read {other}")),
    }
}

/// A decimal number of any size in bytes, the greatest first.
fn big_endian(digits: &str) -> Result<Vec<u8>, String> {
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits.chars() {
        let digit = digit.to_digit(10).ok_or_else(|| format!("{digits} is no number"))?;
        let mut carry = digit;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        if carry > 0 {
            bytes.insert(0, carry.to_le_bytes()[0]);
        }
    }
    Ok(bytes)
}

fn decode_all(mut bytes: &[u8]) -> Result<Item, alloy_rlp::Error> {
    let item = decode(&mut bytes)?;
    if bytes.is_empty() { Ok(item) } else { Err(alloy_rlp::Error::UnexpectedLength) }
}

fn decode(bytes: &mut &[u8]) -> Result<Item, alloy_rlp::Error> {
    let header = Header::decode(bytes)?;
    let (mut payload, rest) =
        bytes.split_at_checked(header.payload_length).ok_or(alloy_rlp::Error::InputTooShort)?;
    *bytes = rest;
    if !header.list {
        return Ok(Item::String(payload.to_vec()));
    }
    let mut items = Vec::new();
    while !payload.is_empty() {
        items.push(decode(&mut payload)?);
    }
    Ok(Item::List(items))
}

fn encode(item: &Item, out: &mut Vec<u8>) {
    match item {
        Item::String(bytes) => bytes.as_slice().encode(out),
        Item::List(items) => {
            let mut payload = Vec::new();
            for item in items {
                encode(item, &mut payload);
            }
            Header { list: true, payload_length: payload.len() }.encode(out);
            out.extend_from_slice(&payload);
        }
    }
}
