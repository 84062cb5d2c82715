//! Keystore tests: encrypted keys, their passwords, and what is in them.

use std::collections::BTreeMap;

use alloy_primitives::{B256, hex};
use anyhow::Result;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::tally::{Cases, expect};
use crate::keystore::Keystore;

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
        cases.run(&name, None, || {
            let keystore = Keystore::read(test.json.get()).map_err(|error| error.to_string())?;
            let open = |password: &str| keystore.open(password).map_err(|error| error.to_string());
            let wrong = open(&format!("{}x", test.password))?;
            expect("unlocked by a wrong password", wrong.is_some(), false)?;
            let signer = open(&test.password)?.ok_or("its password does not open it")?;
            let key = hex::decode(&test.key).map_err(|error| error.to_string())?;
            expect("key", signer.to_bytes(), B256::left_padding_from(&key))
        });
    }
    Ok(())
}
