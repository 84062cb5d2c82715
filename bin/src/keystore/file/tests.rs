//! What opens, what does not, and what is refused. Files were made with Python (hashlib, and AES of
//! cryptography), where scrypt and Keccak were written out.

use serde_json::json;

use super::*;

/// Key 0x01..01, password `swordfish`, one round of PBKDF2.
const FILE: &str = include_str!("../../../tests/devnet/keystore.json");

/// The keystore with other values in `crypto`: null takes a field away.
fn edited(edits: &[(&str, Value)]) -> Value {
    let mut file: Value = serde_json::from_str(FILE).expect("JSON");
    for (place, value) in edits {
        let (object, name) = place.rsplit_once('/').unwrap_or(("", place));
        let object = format!("/crypto/{object}");
        let object = file.pointer_mut(object.trim_end_matches('/')).expect("an object");
        let fields = object.as_object_mut().expect("an object");
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert((*name).to_owned(), value.clone()),
        };
    }
    file
}

/// What makes the keystore one of scrypt.
fn scrypt(n: u32, r: u32, p: u32) -> [(&'static str, Value); 2] {
    let params = json!({ "n": n, "r": r, "p": p, "dklen": 32, "salt": hex::encode(SALT) });
    [("kdf", json!("scrypt")), ("kdfparams", params)]
}
const SALT: [u8; 32] = hex!("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");

#[track_caller]
fn opens(file: &Value, key: &[u8]) {
    let keystore = Keystore::read(&file.to_string()).expect("a keystore");
    let signer = keystore.open("swordfish").expect("a key").expect("the password");
    assert_eq!(signer.to_bytes(), B256::left_padding_from(key), "{file}");
    for wrong in ["", "swordfish ", "Swordfish"] {
        assert!(keystore.open(wrong).expect("no key").is_none(), "{wrong}: {file}");
    }
}

/// Goal: each function opens its files and only with their password.
#[test]
fn the_password_opens_the_key_and_no_other_does() {
    opens(&edited(&[]), &[1; 32]);
    // All 32 bytes are of the first block.
    opens(&edited(&[("kdfparams/dklen", json!(64))]), &[1; 32]);
}

/// Goal: n = 2^16 with r = 1 is within scrypt, whatever RFC 7914 says; and the counter of AES
/// goes on after its highest value with the lowest.
#[test]
fn scrypt_takes_n_above_the_bound_of_the_rfc() {
    let [kdf, params] = scrypt(1 << 16, 1, 1);
    let ciphertext = "9e4e8af4217b8182e27733c2a643ba69480eac3f2beb8fe875847423e022a94e";
    let mac = "762ea73a3a04d05dc163596b166d506d412702ad9447f43076d2dca85ca3fb09";
    let file = edited(&[
        kdf,
        params,
        ("cipherparams/iv", json!("f".repeat(32))),
        ("ciphertext", json!(ciphertext)),
        ("mac", json!(mac)),
    ]);
    opens(&file, &[1; 32]);
}

/// Goal: a key that was written without its leading zeros is opened, as geth does.
#[test]
fn keys_without_their_leading_zeros_are_opened() {
    let [kdf, params] = scrypt(2, 8, 2);
    let ciphertext = "076e89423e030efc21de809cde59d7ca01b9ea6c17fd0ed30073e3f7224945";
    let mac = "fd93ffae4d2b3b1ac9880a1f61c65ac7311d675939eebe92133c6380a91ea396";
    let file = edited(&[kdf, params, ("ciphertext", json!(ciphertext)), ("mac", json!(mac))]);
    opens(&file, &[1; 31]);
}

/// Goal: what other wallets write and geth reads is read; and a bit more.
#[test]
fn other_spellings_are_read() {
    opens(
        &serde_json::from_str(&FILE.replace("\"crypto\"", "\"Crypto\"")).expect("JSON"),
        &[1; 32],
    );
    let mut without = edited(&[("version", json!(1))]);
    without.as_object_mut().expect("an object").remove("id");
    opens(&without, &[1; 32]);
    for field in ["ciphertext", "mac", "cipherparams/iv", "kdfparams/salt"] {
        let file = edited(&[]);
        let text = file.pointer(&format!("/crypto/{field}")).and_then(Value::as_str);
        let text = text.expect("text");
        opens(&edited(&[(field, json!(text.to_uppercase()))]), &[1; 32]);
        opens(&edited(&[(field, json!(format!("0x{text}")))]), &[1; 32]);
    }
}

/// Goal: a changed file is not opened, and what is no private key is refused by name.
#[test]
fn a_changed_file_is_not_opened() {
    let zeros = json!("0".repeat(64));
    for field in ["ciphertext", "mac", "kdfparams/salt"] {
        let keystore = edited(&[(field, zeros.clone())]).to_string();
        let keystore = Keystore::read(&keystore).expect("a keystore");
        assert!(keystore.open("swordfish").expect("no key").is_none(), "{field}");
    }
    // What is xored into the ciphertext is xored into the key.
    let mut keystore = Keystore::read(FILE).expect("a keystore");
    keystore.ciphertext.iter_mut().for_each(|byte| *byte ^= 1);
    let keys = keystore.derivation.keys(b"swordfish", &keystore.salt);
    keystore.mac = keccak256([&keys[16..], &keystore.ciphertext].concat());
    let error = keystore.open("swordfish").expect_err("zero");
    assert_eq!(error.to_string(), "what is in it is no private key");
}

/// Goal: what is missing, wrong or costs too much is named, with what was expected.
#[test]
fn what_is_wrong_is_named() {
    let refused = |edits: &[(&str, Value)], expected: &str| {
        let error = Keystore::read(&edited(edits).to_string()).expect_err(expected);
        assert_eq!(error.to_string(), format!("crypto.{expected}"));
    };
    let a_number = "a number from 1 to 4294967295";
    for (field, value, expected) in [
        ("cipher", json!("des"), "aes-128-ctr"),
        ("cipherparams/iv", json!("00"), "16 bytes in hex"),
        ("cipherparams/iv", json!("x".repeat(32)), "16 bytes in hex"),
        ("ciphertext", json!(""), "1 to 32 bytes in hex"),
        ("ciphertext", json!("0".repeat(66)), "1 to 32 bytes in hex"),
        ("kdf", json!("argon2"), "scrypt or pbkdf2"),
        ("kdf", Value::Null, "scrypt or pbkdf2"),
        ("kdfparams/c", json!(0), a_number),
        ("kdfparams/c", json!("1"), a_number),
        ("kdfparams/c", json!(1_u64 << 32), a_number),
        ("kdfparams/dklen", json!(31), "a number from 32 to 4294967295"),
        ("kdfparams/prf", json!("hmac-sha512"), "hmac-sha256"),
        ("kdfparams/salt", json!("0"), "bytes in hex"),
        ("kdfparams/salt", Value::Null, "bytes in hex"),
        ("mac", json!("0x00"), "32 bytes in hex"),
    ] {
        let place = field.replace('/', ".");
        let expected = format!("{place}: expected {expected}, found {value}");
        refused(&[(field, value)], &expected);
    }
    for whole in [Value::Null, json!(7), json!([])] {
        let expected = "cipherparams.iv: expected 16 bytes in hex, found null";
        refused(&[("cipherparams", whole)], expected);
    }
    for (text, found) in
        [("[]", "null"), ("{\"version\": 1}", "1"), ("{\"version\": \"3\"}", "\"3\"")]
    {
        let error = Keystore::read(text).expect_err(text).to_string();
        assert_eq!(error, format!("version: expected 3, found {found}"));
    }
    let error = Keystore::read("[").expect_err("no JSON").to_string();
    assert_eq!(error, "expected JSON");
}

/// Goal: scrypt takes no more than it may, also where a product leaves 32 or 64 bits.
#[test]
fn scrypt_is_kept_within_its_memory() {
    for ((n, r, p), expected) in [
        ((1, 8, 1), ".n: expected a number from 2 to 2147483648, found 1"),
        ((262_143, 8, 1), ".n: expected a power of two, found 262143"),
        ((2, 0, 1), ".r: expected a number from 1 to 4294967295, found 0"),
        ((2, 8, 0), ".p: expected a number from 1 to 64, found 0"),
        ((2, 8, 65), ".p: expected a number from 1 to 64, found 65"),
        ((1 << 18, 33, 1), ": n = 262144, r = 33 and p = 1 take 1107296256 bytes"),
        ((2, 1 << 31, 2), ": n = 2, r = 2147483648 and p = 2 take 549755813888 bytes"),
        ((1 << 31, u32::MAX, 1), "p = 1 take 18446744073709551615 bytes"),
    ] {
        let file = edited(&scrypt(n, r, p)).to_string();
        let error = Keystore::read(&file).expect_err(expected).to_string();
        assert!(error.starts_with("crypto.kdfparams") && error.contains(expected), "{error}");
    }
    for (n, r, p) in [(1 << 18, 32, 1), (1 << 23, 1, 8), (2, 1 << 17, 64)] {
        Keystore::read(&edited(&scrypt(n, r, p)).to_string()).expect("as much as it may");
    }
}
