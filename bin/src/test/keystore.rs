//! Keystore tests: encrypted keys, their passwords, and what is in them.

use std::{collections::BTreeMap, fs};

use alloy_primitives::{B256, hex};
use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::tally::{Cases, expect};
use crate::keystore::decrypt;

#[derive(Deserialize)]
struct KeystoreTest<'a> {
    #[serde(borrow)]
    json: &'a RawValue,
    password: String,
    /// The key.
    #[serde(rename = "priv")]
    key: String,
}

pub(super) fn run(bytes: &[u8], cases: &mut Cases<'_>) -> Result<()> {
    let tests: BTreeMap<String, KeystoreTest<'_>> = serde_json::from_slice(bytes)?;
    for (name, test) in tests {
        // The library reads files.
        let file = format!("evenkeel-keystore-{}-{name}.json", std::process::id());
        let path = std::env::temp_dir().join(file);
        fs::write(&path, test.json.get())?;
        cases.run(&name, None, || {
            let wrong = decrypt(&path, &format!("{}x", test.password), "the test");
            expect("unlocked by a wrong password", wrong.is_ok(), false)?;
            let signer =
                decrypt(&path, &test.password, "the test").map_err(|error| format!("{error:#}"))?;
            let key = hex::decode(&test.key).map_err(|error| error.to_string())?;
            expect("key", signer.to_bytes(), B256::left_padding_from(&key))
        });
        fs::remove_file(&path)?;
    }
    Ok(())
}
