//! Keys in files.

use std::fs;

use alloy_primitives::hex;
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};

use super::process::{Devnet, fails, folder};

/// Writes a keystore of the key 0x01..01 with the password `swordfish`, made with one round of
/// PBKDF2; returns who it signs for.
fn keystore(path: &str) -> PrivateKeySigner {
    let key = hex!("0101010101010101010101010101010101010101010101010101010101010101");
    let text = include_str!("keystore.json");
    fs::write(path, text).expect("it is writable");
    PrivateKeySigner::from_slice(&key).expect("a key")
}

/// Goal: the node signs for a key in a file that its password opens, and shows whose it is but not
/// the key; a wrong password, and a file that is no keystore, end the start by name.
#[test]
fn keys_in_files_are_signed_for() {
    let place = folder("keystore");
    fs::create_dir_all(&place).expect("it can be made");
    let [key, passwords, config] =
        ["key.json", "passwords", "config.json"].map(|name| place.join(name).display().to_string());
    let signer = keystore(&key);
    fs::write(&passwords, "swordfish\n").expect("it is writable");
    let unlocking = ["--keystore", &key, "--password-file", &passwords];
    let mut node =
        Devnet::start(&[&unlocking[..], &["--accounts", "1", "--config-out", &config]].concat());
    let listed =
        format!("\nKeystore Accounts\n==================\n\n(1) {} (0.0", signer.address());
    assert!(node.banner().contains(&listed), "{}", node.banner());
    assert!(!node.banner().contains(&hex::encode(signer.to_bytes())));
    let config: Value = serde_json::from_slice(&fs::read(&config).expect("written")).expect("JSON");
    assert_eq!(config["keystore_accounts"], json!([signer.address()]));
    let accounts = node.call("eth_accounts", &json!([]));
    assert_eq!(accounts[1], json!(signer.address()));
    node.call("anvil_setBalance", &json!([signer.address(), "0xde0b6b3a7640000"]));
    let sent = json!([{ "from": signer.address(), "to": accounts[0], "value": "0x1" }]);
    let hash = node.call("eth_sendTransaction", &sent);
    assert_eq!(node.receipt(&hash)["status"], "0x1");
    assert_eq!(node.terminate(), Some(0));

    fs::write(&passwords, "marlin\n").expect("it is writable");
    let wrong =
        format!("cannot unlock {key}: the password in line 1 of {passwords} is not its own");
    fails(&unlocking, &wrong);
    let text = include_str!("keystore.json");
    for (from, to, expected) in [
        ("{", "[", "key.json is not a keystore: expected JSON"),
        (
            "\"version\": 3",
            "\"version\": 1",
            "key.json is not a keystore: version: expected 3, found 1",
        ),
        ("pbkdf2", "argon2", "crypto.kdf: expected scrypt or pbkdf2, found \"argon2\""),
        ("aes-128-ctr", "des", "crypto.cipher: expected aes-128-ctr, found \"des\""),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&key, text.replacen(from, to, 1)).expect("it is writable");
        fails(&unlocking, expected);
    }
    fails(&unlocking[..2], "--password-file");
    fs::remove_dir_all(&place).expect("it is there");
}
