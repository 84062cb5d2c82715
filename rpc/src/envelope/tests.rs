//! Whatever comes in, the envelope answers as geth does and never panics.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use evenkeel_runtime::Entropy;

use super::*;

const LIMITS: EnvelopeLimits = EnvelopeLimits { bytes_max: 1 << 20, batch_max: 4, depth_max: 8 };

/// Answers a body as a server would whose every method returns `true`.
fn answer(body: &[u8]) -> String {
    let one = |entry: Entry<'_>| {
        let mut out = String::new();
        match entry {
            Entry::Invalid { id, error } => write_error(&mut out, id.as_deref(), &error),
            Entry::Call(call) => {
                begin_result(&mut out, Some(&call.id?));
                out.push_str("true");
                out.push_str(ANSWER_END);
            }
        }
        Some(out)
    };
    match parse(body, &LIMITS) {
        Parsed::Refused(refused) => refused.render(),
        Parsed::Single(entry) => one(entry).unwrap_or_default(),
        Parsed::Batch(entries) => {
            let answers: Vec<_> = entries.into_iter().filter_map(one).collect();
            format!("[{}]", answers.join(","))
        }
    }
}

fn error(id: &str, code: i64, text: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{text}"}}}}"#)
}

/// Goal: every kind of bad input gets geth's answer, to the byte.
#[test]
fn bad_bodies_get_the_right_answer() {
    let parse_error = error("null", -32_700, "parse error");
    let invalid = |id: &str| error(id, -32_600, "invalid request");
    let cases: &[(&str, String)] = &[
        // No JSON.
        ("", parse_error.clone()),
        ("   ", parse_error.clone()),
        ("{", parse_error.clone()),
        ("[", parse_error.clone()),
        ("[1,", parse_error.clone()),
        ("[]]", parse_error.clone()),
        ("nul", parse_error.clone()),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m"} x"#, parse_error.clone()),
        (r#"{"jsonrpc":"2.0","id":1,"method":"m","params":[}"#, parse_error.clone()),
        (r#"{"jsonrpc":"2.0","id":01,"method":"m"}"#, parse_error.clone()),
        ("\u{feff}{}", parse_error),
        // JSON, but no request.
        ("1", invalid("null")),
        ("null", invalid("null")),
        (r#""text""#, invalid("null")),
        ("{}", invalid("null")),
        (r#"{"id":1}"#, invalid("1")),
        (r#"{"id":7,"method":"m"}"#, invalid("7")),
        (r#"{"jsonrpc":"1.0","id":7,"method":"m"}"#, invalid("7")),
        (r#"{"jsonrpc":2.0,"id":7,"method":"m"}"#, invalid("7")),
        (r#"{"jsonrpc":"2.0","id":7,"method":5}"#, invalid("7")),
        (r#"{"jsonrpc":"2.0","id":7,"method":""}"#, invalid("7")),
        (r#"{"jsonrpc":"2.0","id":7,"method":null}"#, invalid("7")),
        (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, invalid("null")),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#, invalid("null")),
        (r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#, invalid("null")),
        // Batches.
        ("[]", error("null", -32_600, "empty batch")),
        (" [ ] ", error("null", -32_600, "empty batch")),
        ("[1]", format!("[{}]", invalid("null"))),
        ("[[1],{}]", format!("[{},{}]", invalid("null"), invalid("null"))),
        (r#"[1,{"id":2},3,4,5]"#, format!("[{}]", error("2", -32_600, "batch too large"))),
        ("[1,2,3,4,5", format!("[{}]", error("null", -32_600, "batch too large"))),
        // Depth.
        ("[[[[[[[[[", error("null", -32_600, "nested deeper than 8 levels")),
        ("[[[[[[[[1]]]]]]]]", format!("[{}]", invalid("null"))),
    ];
    for (body, expected) in cases {
        assert_eq!(&answer(body.as_bytes()), expected, "{body}");
    }
    assert_eq!(answer(b"\xff"), error("null", -32_700, "parse error"));
    let large = vec![b' '; LIMITS.bytes_max + 1];
    let text = "request too large: 1048577 bytes, limit 1048576";
    assert_eq!(answer(&large), error("null", -32_600, text));
    let long = "m".repeat(METHOD_BYTES_MAX + 1);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": long}).to_string();
    assert_eq!(answer(body.as_bytes()), error("1", -32_600, "method name too long: 2049>2048"));
}

/// Goal: E2, and what is odd but valid is taken.
#[test]
fn odd_but_valid_requests_are_taken() {
    let ids =
        ["1", "-0", "1.50", "1e400", "123456789012345678901234567890", "null", r#""a\u00e9""#];
    for id in ids {
        let body = format!(r#" {{"x":[{{}}],"method":"m","id":{id},"jsonrpc":"2.0","id":{id}}} "#);
        let expected = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":true}}"#);
        assert_eq!(answer(body.as_bytes()), expected);
    }
    let brackets = r#"{"jsonrpc":"2.0","id":1,"method":"[[[[[[[[[\"[[[[[[\\"}"#;
    assert_eq!(answer(brackets.as_bytes()), r#"{"jsonrpc":"2.0","id":1,"result":true}"#);

    let notification = br#"{"jsonrpc":"2.0","method":"a\u002fb","params":null}"#;
    let Parsed::Single(Entry::Call(call)) = parse(notification, &LIMITS) else {
        panic!("it is a request")
    };
    assert!(call.id.is_none() && call.params.is_none());
    assert_eq!(call.method, "a/b");
}

/// A number or a string.
fn any_id() -> impl Strategy<Value = Value> {
    prop_oneof![any::<i64>().prop_map(Value::from), any::<String>().prop_map(Value::from)]
}

/// Any JSON value that nests at most three levels.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Goal: a valid request keeps its id, method and parameters, whatever the order of members
    /// and whatever else is in it.
    #[test]
    fn valid_requests_come_through(
        id in any_id(),
        method in "\\PC{1,40}",
        params in prop::option::of(prop::collection::vec(any_json(), 0..3)),
        extra in any_json(),
        first in 0_usize..5,
    ) {
        let mut members = vec![
            ("jsonrpc", json!("2.0")),
            ("id", id.clone()),
            ("method", json!(method)),
            ("extra", extra),
        ];
        members.extend(params.clone().map(|params| ("params", Value::from(params))));
        let first = first % members.len();
        members.rotate_left(first);
        let mut body = String::new();
        for (name, value) in members {
            let open = if body.is_empty() { '{' } else { ',' };
            write!(body, "{open} \"{name}\":\t{value}").expect("a string takes it");
        }
        body.push('}');

        let Parsed::Single(Entry::Call(call)) = parse(body.as_bytes(), &LIMITS) else {
            panic!("refused: {body}")
        };
        let id = id.to_string();
        prop_assert_eq!(call.id.as_deref().map(RawValue::get), Some(id.as_str()));
        prop_assert_eq!(&*call.method, method.as_str());
        let text = params.map(|params| Value::from(params).to_string());
        prop_assert_eq!(call.params.as_deref().map(RawValue::get), text.as_deref());
        let Parsed::Single(Entry::Call(owned)) = parse(body.as_bytes(), &LIMITS).into_owned() else {
            panic!("owning changed it")
        };
        prop_assert_eq!(owned.method, call.method);
    }

    /// Goal: no bytes make the parser panic, and whatever it says is JSON.
    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&body);
    }
}

/// What holds for every body.
fn check(body: &[u8]) {
    let parsed = parse(body, &LIMITS);
    if let Parsed::Batch(entries) = &parsed {
        assert!((1..=LIMITS.batch_max).contains(&entries.len()));
    }
    // The general parser is the oracle: what it takes is no parse error.
    let is_json = serde_json::from_slice::<Value>(body).is_ok();
    if let Parsed::Refused(refused) = &parsed {
        assert!(!is_json || refused.error.code != -32_700, "{}", body.escape_ascii());
    }
    let answer = answer(body);
    let is_answer = serde_json::from_str::<&RawValue>(&answer).is_ok();
    assert!(answer.is_empty() || is_answer, "{answer}");
}

/// Goal: the same under mutations of real bodies, which reach deeper than random bytes.
/// Method: 5,000 bodies, each a seed body with up to eight bytes changed, cut, doubled or swapped
/// for a token. Seeded: a failure repeats.
#[test]
fn mutated_bodies_are_answered() {
    const SEEDS: [&str; 5] = [
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"0x00"},"latest"]}"#,
        r#"[{"jsonrpc":"2.0","id":"a","method":"m"},{"jsonrpc":"2.0","method":"n","params":{}}]"#,
        r#"[[1,-2.5e7,"\u00e9\\\"",null,true,false,{}],{"id":null}]"#,
        r#"{"id":"\ud83d\ude00","jsonrpc":"2.0","method":"\n","params":[[[[[]]]]]}"#,
        "[1,2,3,4]",
    ];
    const TOKENS: [&[u8]; 10] =
        [b"\"", b"\\", b"[", b"]", b"{", b"}", b",", b"null", b"\"id\":", b"\xc3"];
    let mut entropy = Entropy::from_seed(7);
    let mut below = |bound: usize| {
        let drawn = entropy.below(bound.max(1) as u64);
        usize::try_from(drawn).expect("it is below a usize")
    };
    for _ in 0..5_000 {
        let mut body = SEEDS[below(SEEDS.len())].as_bytes().to_vec();
        for _ in 0..=below(8) {
            let at = below(body.len());
            match below(4) {
                0 => body.truncate(at),
                1 => {
                    body.splice(at..at, TOKENS[below(TOKENS.len())].iter().copied());
                }
                2 => body.extend_from_within(at..),
                _ if body.is_empty() => {}
                _ => body[at] = u8::try_from(below(256)).expect("it is below 256"),
            }
        }
        check(&body);
    }
}
