//! ABI tests: arguments of a call and their encoding by the types of a contract.

use std::collections::BTreeMap;

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{Address, B256, Bytes, I256, U256, hex};
use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::tally::{Cases, expect};

#[derive(Deserialize)]
struct AbiTest<'a> {
    types: Vec<String>,
    /// Numbers may need more than 64 bits.
    #[serde(borrow)]
    args: Vec<&'a RawValue>,
    result: String,
}

pub(super) fn run(bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    let tests: BTreeMap<String, AbiTest<'_>> = serde_json::from_slice(bytes)?;
    for (name, test) in tests {
        cases.run(&name, None, || test.check());
    }
    Ok(())
}

impl AbiTest<'_> {
    fn check(&self) -> Result<(), String> {
        let types = self.types.iter().map(|name| {
            let parsed = DynSolType::parse(name);
            parsed.map_err(|error| format!("type {name}: {error}"))
        });
        let types = types.collect::<Result<Vec<_>, _>>()?;
        expect("number of arguments", self.args.len(), types.len())?;
        let values = types.iter().zip(&self.args).zip(&self.types).map(|((kind, arg), name)| {
            value(kind, arg).map_err(|error| format!("{} as {name}: {error}", arg.get()))
        });
        let values = DynSolValue::Tuple(values.collect::<Result<_, _>>()?);

        let result = hex::decode(&self.result).map_err(|error| error.to_string())?;
        let found = Bytes::from(values.abi_encode_params());
        expect("encoding", found, Bytes::from(result.clone()))?;
        let decoded = DynSolType::Tuple(types).abi_decode_params(&result);
        let decoded = decoded.map_err(|error| format!("its encoding is none: {error}"))?;
        if decoded == values {
            return Ok(());
        }
        Err(format!("decoded as {decoded:?}, expected {values:?}"))
    }
}

/// The argument as a value of the type: numbers in decimal, addresses in hex, bytes as their text.
///
/// Recursive: types are nested no deeper than their parser takes them.
fn value(kind: &DynSolType, arg: &RawValue) -> Result<DynSolValue, String> {
    let error = |error: serde_json::Error| error.to_string();
    let text = || serde_json::from_str::<String>(arg.get()).map_err(error);
    let all = |kind: &DynSolType| {
        let args: Vec<&RawValue> = serde_json::from_str(arg.get()).map_err(error)?;
        args.into_iter().map(|arg| value(kind, arg)).collect::<Result<Vec<_>, _>>()
    };
    Ok(match kind {
        DynSolType::Bool => DynSolValue::Bool(serde_json::from_str(arg.get()).map_err(error)?),
        DynSolType::Uint(bits) => {
            let number = U256::from_str_radix(arg.get(), 10).map_err(|error| error.to_string())?;
            fits(number.bit_len(), *bits)?;
            DynSolValue::Uint(number, *bits)
        }
        DynSolType::Int(bits) => {
            let number = I256::from_dec_str(arg.get()).map_err(|error| error.to_string())?;
            fits(number.bits().try_into().unwrap_or(usize::MAX), *bits)?;
            DynSolValue::Int(number, *bits)
        }
        DynSolType::Address => {
            let address: Address = text()?.parse().map_err(|_| "no address in hex")?;
            DynSolValue::Address(address)
        }
        DynSolType::FixedBytes(length) => {
            let text = text()?;
            of_length(text.len(), *length)?;
            DynSolValue::FixedBytes(B256::right_padding_from(text.as_bytes()), *length)
        }
        DynSolType::Bytes => DynSolValue::Bytes(text()?.into_bytes()),
        DynSolType::String => DynSolValue::String(text()?),
        DynSolType::Array(of) => DynSolValue::Array(all(of)?),
        DynSolType::FixedArray(of, length) => {
            let items = all(of)?;
            of_length(items.len(), *length)?;
            DynSolValue::FixedArray(items)
        }
        DynSolType::Tuple(of) => {
            let args: Vec<&RawValue> = serde_json::from_str(arg.get()).map_err(error)?;
            of_length(args.len(), of.len())?;
            let members = of.iter().zip(args).map(|(kind, arg)| value(kind, arg));
            DynSolValue::Tuple(members.collect::<Result<_, _>>()?)
        }
        _ => return Err("no test says how its arguments are written".to_owned()),
    })
}

fn fits(bits: usize, bits_max: usize) -> Result<(), String> {
    if bits <= bits_max { Ok(()) } else { Err(format!("{bits} bits, expected {bits_max} at most")) }
}

fn of_length(found: usize, expected: usize) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found} of them, expected {expected}")) }
}
