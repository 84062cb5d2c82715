//! EIP-712 typed data, looked over before it is followed.
//!
//! Pure. The library that hashes it follows types by recursion and writes out every struct in
//! full, so types that nest without end, or that double at each level, would end the process. What
//! no real message has is refused here first.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use alloy_dyn_abi::TypedData;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    methods::limits::{TYPE_DIMENSIONS_MAX, TYPE_NAME_BYTES_MAX, TYPES_FIELDS_MAX, TYPES_MAX},
    params::{Arg, Refusal, text},
};

/// Typed data whose types are of bounded depth and size.
pub(crate) struct BoundedTypedData(pub(crate) TypedData);

impl Arg for BoundedTypedData {
    /// Takes the object, or a string that holds it as most wallets send it.
    fn parse(raw: &RawValue) -> Result<Self, Refusal> {
        let json = if raw.get().starts_with('"') { text(raw, "string")? } else { raw.get().into() };
        if !json.trim_start().starts_with('{') {
            return Err("expected an EIP-712 object".into());
        }
        let outline: Outline<'_> = decode(&json)?;
        outline.check()?;
        decode(&json).map(Self)
    }
}

fn decode<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(json).map_err(|error| error.to_string().into())
}

/// The types alone.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    types: BTreeMap<Cow<'a, str>, Vec<Field<'a>>>,
    #[serde(borrow, rename = "primaryType")]
    primary: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Field<'a> {
    #[serde(borrow, rename = "type")]
    ty: Cow<'a, str>,
}

impl Outline<'_> {
    fn check(&self) -> Result<(), Refusal> {
        if self.types.len() > TYPES_MAX {
            let found = self.types.len();
            return Err(format!("{found} types, limit {TYPES_MAX}").into());
        }
        check_name(&self.primary)?;
        for (name, fields) in &self.types {
            check_name(name)?;
            for field in fields {
                let (element, dimensions) = split(&field.ty);
                check_name(element)?;
                if dimensions > TYPE_DIMENSIONS_MAX {
                    return Err(format!(
                        "a type of {dimensions} dimensions, limit {TYPE_DIMENSIONS_MAX}"
                    )
                    .into());
                }
            }
        }
        self.check_size()
    }

    /// Writes out no struct, but counts what that would take: from those without structs in them
    /// upwards. What is left when nothing can be counted any more contains itself.
    fn check_size(&self) -> Result<(), Refusal> {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut open: BTreeSet<&str> = self.types.keys().map(AsRef::as_ref).collect();
        while !open.is_empty() {
            let before = open.len();
            open.retain(|name| {
                let counted = self.types[*name].iter().try_fold(1_usize, |sum, field| {
                    let (element, _) = split(&field.ty);
                    let is_struct = self.types.contains_key(element);
                    let size = if is_struct { *sizes.get(element)? } else { 1 };
                    Some(sum.saturating_add(size))
                });
                sizes.extend(counted.map(|size| (*name, size)));
                counted.is_none()
            });
            if open.len() == before {
                return Err("a type contains itself".into());
            }
        }
        match sizes.into_values().max() {
            Some(size) if size > TYPES_FIELDS_MAX => {
                Err(format!("a type of {size} fields in all, limit {TYPES_FIELDS_MAX}").into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A type's element, and how many array brackets follow it.
fn split(ty: &str) -> (&str, usize) {
    let element = ty.split('[').next().unwrap_or(ty);
    (element, ty.matches('[').count())
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.len() > TYPE_NAME_BYTES_MAX {
        let found = name.len();
        return Err(format!("a type name of {found} bytes, limit {TYPE_NAME_BYTES_MAX}").into());
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | ':' | '.')) {
        return Err(format!("invalid type name '{name}'").into());
    }
    Ok(())
}
