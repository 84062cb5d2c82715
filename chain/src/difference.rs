//! Where two specs differ, for an operator who mixed up two chains.

use std::{collections::BTreeSet, fmt};

use serde_json::{Value, json};

use crate::{Header, limits::DIFFERENCE_CHARS_MAX, spec::ChainSpec};

/// A setting that two specs have different values of, or a field of two headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its path in a genesis file, such as `config.chainId`.
    pub field: String,
    /// What the one spec says; `null` if it says nothing. Of more than [`DIFFERENCE_CHARS_MAX`]
    /// characters those around the first difference, with "…" where others are left out.
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
    (ours != theirs).then(|| {
        let (ours, theirs) = (ours.to_string(), theirs.to_string());
        let same = ours.chars().zip(theirs.chars()).take_while(|(our, their)| our == their).count();
        Difference { field, ours: shown(&ours, same), theirs: shown(&theirs, same) }
    })
}

/// `text`, or of a long one [`DIFFERENCE_CHARS_MAX`] characters with the one at `at` in the middle.
fn shown(text: &str, at: usize) -> String {
    let count = text.chars().count();
    if count <= DIFFERENCE_CHARS_MAX {
        return text.to_owned();
    }
    let start = at.saturating_sub(DIFFERENCE_CHARS_MAX / 2);
    let part: String = text.chars().skip(start).take(DIFFERENCE_CHARS_MAX).collect();
    let (is_start, is_end) = (start == 0, start + DIFFERENCE_CHARS_MAX >= count);
    format!("{}{part}{}", if is_start { "" } else { "…" }, if is_end { "" } else { "…" })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, U256};
    use serde_json::json;

    use super::first_difference;
    use crate::{ChainSpec, DevOptions, limits::DIFFERENCE_CHARS_MAX};

    /// Goal: of long values the place is shown where they differ, and that they are cut.
    #[test]
    fn long_values_are_shown_where_they_differ() {
        let [ours, theirs] =
            ["1", "2"].map(|it| format!("0x{}{it}{}", "1".repeat(999), "0".repeat(999)));
        let (ones, zeros) = ("1".repeat(DIFFERENCE_CHARS_MAX), "0".repeat(DIFFERENCE_CHARS_MAX));
        let half = DIFFERENCE_CHARS_MAX / 2;
        let middle = |digit| format!("…{}{digit}{}…", &ones[..half], &zeros[..half - 1]);
        let cut = &ours[..1_000];
        for (theirs, expected) in [
            (theirs.as_str(), [middle('1'), middle('2')]),
            (
                cut,
                [
                    format!("…{}{}…", &ones[..half + 2], &zeros[..half - 2]),
                    format!("…{}\"", &ones[..half]),
                ],
            ),
            ("0x", [format!("\"0x{}…", &ones[3..]), "\"0x\"".to_owned()]),
        ] {
            let found = first_difference(String::new(), &json!(ours), &json!(theirs));
            let found = found.expect("two values");
            assert_eq!([found.ours, found.theirs], expected);
        }
    }

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
