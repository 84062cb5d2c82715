//! Parameters: what is taken, and how what is not is refused.

use super::*;

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("the test's JSON")
}

fn text_of<T>(result: Result<T, RpcError>) -> String {
    let error = result.err().expect("an error");
    assert_eq!(error.code, -32_602);
    error.message.into_owned()
}

/// Goal: positions are counted as geth counts them, and its texts are said.
#[test]
fn arguments_are_counted() {
    let two = raw(r#"["0x1", null]"#);
    let params = Params::new(Some(&two), 2).expect("two of two");
    assert_eq!(params.required::<Quantity>(0).expect("there").0, 1);
    assert!(params.optional::<Quantity>(1).expect("null is absent").is_none());
    assert_eq!(text_of(params.required::<Quantity>(1)), "missing value for required argument 1");
    assert_eq!(text_of(Params::new(Some(&two), 1)), "too many arguments, want at most 1");
    let many = raw("[1,2,3,4,5,6,7,8,9,10]");
    assert_eq!(text_of(Params::new(Some(&many), 6)), "too many arguments, want at most 6");
    let object = raw("{}");
    assert_eq!(text_of(Params::new(Some(&object), 6)), "non-array args");
    let null = raw("null");
    assert!(Params::none(Some(&null)).is_ok() && Params::none(None).is_ok());
}

/// Goal: what is no decimal number is hex as strict as geth's; the text says what was expected.
#[test]
fn wrong_hex_is_named() {
    let quantities = [
        (r#""""#, "empty hex string"),
        (r#""1f""#, "hex string without 0x prefix"),
        (r#""99999999999999999999""#, "hex number > 64 bits"),
        (r#""0x""#, "hex string \"0x\""),
        (r#""0x01""#, "hex number with leading zero digits"),
        (r#""0xg""#, "invalid hex string"),
        (r#""0x+1""#, "invalid hex string"),
        (r#""0x1_0""#, "invalid hex string"),
        (r#""0x10000000000000000""#, "hex number > 64 bits"),
        ("-1", "non-string"),
        ("1.0", "non-string"),
    ];
    for (json, what) in quantities {
        let refusal = Quantity::parse(&raw(json)).err().expect(json);
        let want = format!("json: cannot unmarshal {what} into Go value of type hexutil.Uint64");
        assert_eq!(refusal, want, "{json}");
    }
    let address = Address::parse(&raw(r#""0x1234""#)).expect_err("short");
    assert_eq!(address, "hex string has length 4, want 40 for common.Address");
    let bytes = Bytes::parse(&raw(r#""0x123""#)).expect_err("odd");
    assert_eq!(
        bytes,
        "json: cannot unmarshal hex string of odd length into Go value of type hexutil.Bytes"
    );
}

/// Goal: every form of a block id means what EIP-1898 and geth say.
#[test]
fn block_ids() {
    let hash = format!("0x{}", "ab".repeat(32));
    let good = [
        (r#""latest""#.to_owned(), BlockId::latest()),
        (r#""pending""#.to_owned(), BlockId::pending()),
        (r#""finalized""#.to_owned(), BlockId::finalized()),
        (r#""0x0""#.to_owned(), BlockId::number(0)),
        (r#"{"blockNumber":"0x10"}"#.to_owned(), BlockId::number(16)),
        // As anvil takes them.
        (r#"{"blockNumber":16}"#.to_owned(), BlockId::number(16)),
        (r#""12""#.to_owned(), BlockId::number(12)),
        ("12".to_owned(), BlockId::number(12)),
        (r#"{"blockNumber":"earliest"}"#.to_owned(), BlockId::earliest()),
        (format!(r#""{hash}""#), BlockId::hash(B256::repeat_byte(0xab))),
        (format!(r#"{{"blockHash":"{hash}"}}"#), BlockId::hash(B256::repeat_byte(0xab))),
    ];
    for (json, want) in good {
        assert_eq!(BlockId::parse(&raw(&json)).expect(&json), want);
    }
    for json in [
        r#""newest""#,
        r#""0x01""#,
        r#""0x8000000000000000""#,
        r#""1f""#,
        "-1",
        "1e3",
        "{}",
        r#"{"blockNumber":"0x1","blockHash":"0x1"}"#,
    ] {
        assert!(BlockId::parse(&raw(json)).is_err(), "{json}");
    }
}

/// Goal: dev methods take numbers in every form wallets send them.
#[test]
fn dev_numbers() {
    for json in ["16", r#""16""#, r#""0x10""#, r#""0x0010""#] {
        assert_eq!(u64::parse(&raw(json)).expect(json), 16);
    }
    assert_eq!(u64::parse(&raw(r#""0x""#)).expect("zero, as wallets write it"), 0);
    for json in [
        r#""""#,
        r#""_""#,
        r#""1_0""#,
        r#""0x_""#,
        r#""0x1_0""#,
        r#""+1""#,
        r#""0x-1""#,
        r#"" 1""#,
        r#""abc""#,
        "1.5",
        "-1",
        "1e3",
        "[]",
        "true",
    ] {
        assert!(u64::parse(&raw(json)).is_err(), "{json}");
        assert!(Number::parse(&raw(json)).is_err(), "{json}");
    }
    let wide = format!("\"0x{}\"", "f".repeat(65));
    assert!(Number::parse(&raw(&wide)).is_err());
    assert!(Slot::parse(&raw(&wide)).is_err());
    // Text is hex, as in geth, with or without its prefix; a bare number can only be decimal.
    for (json, slot) in [(r#""0x10""#, 16), (r#""10""#, 16), ("10", 10)] {
        assert_eq!(Slot::parse(&raw(json)).expect(json).0, U256::from(slot));
    }
}
