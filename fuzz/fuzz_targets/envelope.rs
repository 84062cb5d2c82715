//! No body makes the JSON-RPC envelope panic, exceed its limits, or answer what is no JSON.

#![no_main]

use evenkeel_rpc::envelope::{Entry, EnvelopeLimits, Parsed, parse, write_answer};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

const LIMITS: EnvelopeLimits = EnvelopeLimits { bytes_max: 1 << 16, batch_max: 16, depth_max: 16 };

fuzz_target!(|body: &[u8]| {
    match parse(body, &LIMITS) {
        Parsed::Single(entry) => check(entry),
        Parsed::Batch(entries) => {
            assert!((1..=LIMITS.batch_max).contains(&entries.len()));
            entries.into_iter().for_each(check);
        }
        Parsed::Refused(refused) => check_json(&refused.render()),
    }
});

fn check(entry: Entry<'_>) {
    let mut out = String::new();
    match entry {
        Entry::Invalid { id, error } => write_answer(&mut out, id.as_deref(), &Err(error)),
        Entry::Call(call) => {
            assert!(!call.method.is_empty());
            let text = call.params.as_deref().map_or("null", RawValue::get).to_owned();
            let result = RawValue::from_string(text).expect("parameters are JSON");
            write_answer(&mut out, call.id.as_deref(), &Ok(result));
        }
    }
    check_json(&out);
}

fn check_json(text: &str) {
    assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "{text}");
}
