//! Where two specs differ, for an operator who mixed up two chains.

use std::{collections::BTreeSet, fmt};

use serde_json::{Value, json};

use crate::{Header, limits::DIFFERENCE_CHARS_MAX, spec::ChainSpec};

/// A setting that two specs have different values of, or a field of two headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its path in a genesis file, such as `config.chainId`.
    pub field: String,
    /// What the one spec says; `null` if it says nothing. Cut at [`DIFFERENCE_CHARS_MAX`].
    pub ours: String,
    /// What the other says.
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, not {}", self.field, self.theirs, self.ours)
    }
}

impl ChainSpec {
    /// The first setting in which `other` is not this spec; `None` if both are one chain.
    /// O(size of the genesis state), in time and memory.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        let read = |text: String| -> Value {
            serde_json::from_str(&text).expect("it was written as JSON")
        };
        let ours = || read(self.to_genesis_json());
        let found = first_difference(String::new(), &ours(), &read(other.to_genesis_json()));
        // Complete where a genesis file is not.
        found.or_else(|| {
            first_difference(String::new(), &read(self.to_json()), &read(other.to_json()))
        })
    }

    /// Takes over the accounts of `other` that this genesis does not name and that only hold a
    /// balance: those that were funded when `other` was made of this.
    pub fn fund_as(&mut self, other: &Self) {
        for (address, account) in &other.alloc {
            let is_empty = account.nonce.unwrap_or(0) == 0
                && account.code.is_none()
                && account.storage.is_none();
            if is_empty {
                self.alloc.entry(*address).or_insert_with(|| account.clone());
            }
        }
    }
}

/// The first field in which `other` is not this header, by its name in JSON-RPC.
#[must_use]
pub fn header_difference(ours: &Header, other: &Header) -> Option<Difference> {
    first_difference(String::new(), &json!(ours), &json!(other))
}

/// Recursion ends with the spec's own nesting: four levels.
fn first_difference(field: String, ours: &Value, theirs: &Value) -> Option<Difference> {
    if let (Value::Object(ours), Value::Object(theirs)) = (ours, theirs) {
        let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        return keys.into_iter().find_map(|key| {
            let field = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
            let (ours, theirs) = (ours.get(key), theirs.get(key));
            first_difference(field, ours.unwrap_or(&Value::Null), theirs.unwrap_or(&Value::Null))
        });
    }
    let shown = |value: &Value| value.to_string().chars().take(DIFFERENCE_CHARS_MAX).collect();
    (ours != theirs).then(|| Difference { field, ours: shown(ours), theirs: shown(theirs) })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};

    use crate::{ChainSpec, DevOptions};

    /// Goal: the field and both values are named; accounts that were funded are no difference.
    #[test]
    fn the_first_difference_is_named() {
        let spec = |number, chain_id| {
            ChainSpec::dev(&DevOptions { chain_id, number, ..DevOptions::default() })
        };
        let said =
            |ours: &ChainSpec, theirs: &ChainSpec| ours.difference(theirs).map(|it| it.to_string());
        assert_eq!(said(&spec(3, 1), &spec(3, 1)), None);
        assert_eq!(said(&spec(3, 1), &spec(3, 2)).as_deref(), Some("config.chainId is 2, not 1"));
        let found = said(&spec(3, 1), &spec(4, 1));
        assert_eq!(found.as_deref(), Some("number is \"0x4\", not \"0x3\""));

        let (mut ours, mut theirs) = (spec(3, 1), spec(3, 1));
        theirs.fund(Address::repeat_byte(7), U256::from(9));
        assert!(said(&ours, &theirs).is_some_and(|text| text.starts_with("alloc.0x0707")));
        ours.fund_as(&theirs);
        assert_eq!(ours.hash(), theirs.hash());
    }
}
