//! Trie tests: keys, values, the root. Where keys are hashed, through the trie of the state; else
//! through one for keys of any length, which only these tests have.

use std::collections::BTreeMap;

use alloy_primitives::{B256, hex};
use anyhow::Result;
use evenkeel_chain::trie_root;
use evenkeel_state::{
    secure_root,
    store::{Batch, Family, Memory, Range, Store, Sync},
};
use serde::Deserialize;

use super::tally::{Cases, expect};

#[derive(Deserialize)]
#[serde(untagged)]
enum TrieTest {
    /// In which order the changes come does not matter.
    AnyOrder {
        #[serde(rename = "in")]
        changes: BTreeMap<String, String>,
        root: B256,
    },
    InOrder {
        #[serde(rename = "in")]
        changes: Vec<(String, Option<String>)>,
        root: B256,
    },
    /// Which key comes before and after another; empty where there is none.
    Neighbours {
        #[serde(rename = "in")]
        keys: Vec<String>,
        tests: Vec<(String, String, String)>,
    },
}

/// Keys and their values, or that they are removed.
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

pub(super) fn run(bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    let is_secure = cases.file_name().to_lowercase().contains("secure");
    let tests: BTreeMap<String, TrieTest> = serde_json::from_slice(bytes)?;
    for (name, test) in tests {
        cases.run(&name, None, || match test {
            TrieTest::InOrder { changes, root: expected } => {
                let changes = changes.iter();
                let changes =
                    changes.map(|(key, value)| Ok((text(key)?, value_of(value.as_deref())?)));
                expect("root", root(changes.collect::<Result<_, String>>()?, is_secure)?, expected)
            }
            TrieTest::AnyOrder { changes, root: expected } => {
                let changes =
                    changes.iter().map(|(key, value)| Ok((text(key)?, Some(text(value)?))));
                let mut changes: Changes = changes.collect::<Result<_, String>>()?;
                // Each as the first, both ways round.
                for _ in 0..changes.len() {
                    changes.rotate_left(1);
                    expect("root", root(changes.clone(), is_secure)?, expected)?;
                    let reversed = changes.iter().rev().cloned().collect();
                    expect("root backwards", root(reversed, is_secure)?, expected)?;
                }
                Ok(())
            }
            TrieTest::Neighbours { keys, tests } => neighbours(&keys, &tests),
        });
    }
    Ok(())
}

fn root(changes: Changes, is_secure: bool) -> Result<B256, String> {
    if is_secure {
        return secure_root(&changes).map_err(|error| error.to_string());
    }
    let mut items = BTreeMap::new();
    for (key, value) in changes {
        match value {
            Some(value) => items.insert(key, value),
            None => items.remove(&key),
        };
    }
    Ok(trie_root(items))
}

/// Through the ordered store: that is where the node looks for what comes next.
fn neighbours(keys: &[String], tests: &[(String, String, String)]) -> Result<(), String> {
    let store = Memory::new();
    let mut batch = Batch::default();
    for key in keys {
        batch.put(Family::Nodes, key.as_bytes(), []);
    }
    store.write(&batch, Sync::No).map_err(|error| error.to_string())?;
    let all = Range { prefix: &[], from: &[], rows_max: usize::MAX };
    let rows = store.snapshot().scan(Family::Nodes, all).map_err(|error| error.to_string())?;
    for (key, before, after) in tests {
        let key = key.as_bytes();
        let found = rows.iter().rev().find(|(row, _)| row.as_slice() < key);
        let found = found.map_or(&[][..], |(row, _)| row);
        expect("key before", hex::encode(found), hex::encode(before))?;
        // Where a row begins with the key it is the next, and the key itself is not.
        let from = Range { prefix: &[], from: &[key, &[0]].concat(), rows_max: 1 };
        let next = store.snapshot().scan(Family::Nodes, from).map_err(|error| error.to_string())?;
        let found = next.first().map_or(&[][..], |(row, _)| row);
        expect("key after", hex::encode(found), hex::encode(after))?;
    }
    Ok(())
}

fn value_of(value: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    value.map(text).transpose()
}

/// Bytes, if it says so; else the text itself.
fn text(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix("0x") {
        Some(digits) => hex::decode(digits).map_err(|error| error.to_string()),
        None => Ok(text.as_bytes().to_vec()),
    }
}
