//! Events of ds-test, which tell something to whoever reads the log, as text. Pure.
//!
//! Source: Foundry's `abi/src/console/ds.rs` for the text, so that it reads as under anvil. What is
//! no such event, whatever its name, is passed over as there.

use std::{collections::BTreeMap, sync::LazyLock};

use alloy_primitives::{
    B256, U256, keccak256,
    utils::{ParseUnits, Unit},
};
use evenkeel_vm::TEST_EVENTS;

use super::console::{Argument, Directive, Kind, WORD, argument, is_cut};

/// What stands in an event, after its key if it has one.
#[derive(Clone, Copy)]
enum Shape {
    One(Kind),
    List(Kind),
    /// With the number of digits after the point.
    Decimal(Kind),
}

struct Form {
    has_key: bool,
    shape: Shape,
}

/// Each form by its topic.
static FORMS: LazyLock<BTreeMap<B256, Form>> = LazyLock::new(|| {
    let forms = TEST_EVENTS.iter().map(|signature| (keccak256(signature), form(signature)));
    forms.collect()
});

fn form(signature: &str) -> Form {
    let (name, types) = signature.split_once('(').expect("a signature has arguments");
    let types: Vec<_> = types.trim_end_matches(')').split(',').collect();
    let has_key = name.starts_with("log_named_");
    let shape = match types[usize::from(has_key)..] {
        [one] => match one.strip_suffix("[]") {
            Some(item) => Shape::List(kind(item)),
            None => Shape::One(kind(one)),
        },
        [number, ..] => Shape::Decimal(kind(number)),
        [] => unreachable!("each says something"),
    };
    Form { has_key, shape }
}

fn kind(name: &str) -> Kind {
    match name {
        "uint256" => Kind::Uint,
        "int256" => Kind::Int,
        "address" => Kind::Address,
        "bytes" => Kind::Bytes,
        "bytes32" => Kind::Fixed(WORD),
        _ => Kind::Text,
    }
}

/// The line that an event with this topic and data prints, if it does.
///
/// O(data), which has as many bytes as the arguments of a call of the console.
pub(super) fn line(topic: B256, data: &[u8]) -> Option<String> {
    let Form { has_key, shape } = FORMS.get(&topic)?;
    let at = usize::from(*has_key);
    let shown = |argument: Argument| argument.shown(&Directive::Text);
    let value = match *shape {
        Shape::One(kind) => shown(argument(data, at, kind)?),
        Shape::List(kind) => list(data, at, kind)?,
        Shape::Decimal(kind) => decimal(&argument(data, at, kind)?, word(data, at + 1)?)?,
    };
    let key = has_key.then(|| argument(data, 0, Kind::Text).map(shown));
    Some(match key {
        Some(key) => format!("{}: {value}", key?),
        None => value,
    })
}

fn word(data: &[u8], index: usize) -> Option<U256> {
    U256::try_from_be_slice(data.get(index * WORD..(index + 1) * WORD)?)
}

fn list(data: &[u8], at: usize, kind: Kind) -> Option<String> {
    // A list of words is encoded as bytes are, but its length counts words.
    let start = usize::try_from(word(data, at)?).ok()?;
    let len = usize::try_from(U256::try_from_be_slice(data.get(start..start.checked_add(WORD)?)?)?);
    let (len, words) = (len.ok()?, data.get(start + WORD..)?);
    let has_more = words.len() / WORD < len;
    if has_more && !is_cut(data) {
        return None;
    }
    let items = (0..len.min(words.len() / WORD)).map(|nth| argument(words, nth, kind));
    let items: Option<Vec<_>> =
        items.map(|item| item.map(|item| item.shown(&Directive::Text))).collect();
    let more = if has_more { ", .." } else { "" };
    Some(format!("[{}{more}]", items?.join(", ")))
}

/// A number with its point moved to the left, as Foundry writes it.
fn decimal(number: &Argument, places: U256) -> Option<String> {
    let unit = Unit::new(places.saturating_to());
    let shown = |number: U256| match unit {
        Some(unit) => ParseUnits::U256(number).format_units(unit),
        None => number.to_string(),
    };
    match number {
        Argument::Uint(number) => Some(shown(*number)),
        Argument::Int(number) => {
            let sign = if number.is_negative() { "-" } else { "" };
            Some(format!("{sign}{}", shown(number.unsigned_abs())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use alloy_dyn_abi::DynSolValue;
    use alloy_primitives::{I256, address};

    use super::*;

    fn encoded(arguments: &[DynSolValue]) -> Vec<u8> {
        DynSolValue::Tuple(arguments.to_vec()).abi_encode_params()
    }

    /// Goal: each event reads as Foundry writes it; none is forgotten.
    #[test]
    fn lines_are_foundrys() {
        let text = |text: &str| DynSolValue::String(text.to_owned());
        let uint = |number: u64| DynSolValue::Uint(U256::from(number), 256);
        let int = |number: i64| DynSolValue::Int(I256::try_from(number).expect("small"), 256);
        let alice = DynSolValue::Address(address!("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"));
        let shown = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        let word = || DynSolValue::FixedBytes(B256::with_last_byte(7), 32);
        let bytes = || DynSolValue::Bytes(vec![1, 2]);
        let ether = 1_500_000_000_000_000_000;
        let list = |items: Vec<DynSolValue>| DynSolValue::Array(items);
        let zeros = format!("0x{}07", "00".repeat(31));
        let table: Vec<(&str, Vec<DynSolValue>, String)> = vec![
            ("log(string)", vec![text("a\nb")], "a\nb".into()),
            ("logs(bytes)", vec![bytes()], "0x0102".into()),
            ("log_address(address)", vec![alice.clone()], shown.into()),
            ("log_bytes32(bytes32)", vec![word()], zeros.clone()),
            ("log_int(int256)", vec![int(-5)], "-5".into()),
            ("log_uint(uint256)", vec![uint(5)], "5".into()),
            ("log_bytes(bytes)", vec![bytes()], "0x0102".into()),
            ("log_string(string)", vec![text("s")], "s".into()),
            ("log_array(uint256[])", vec![list(vec![uint(1), uint(2)])], "[1, 2]".into()),
            ("log_array(int256[])", vec![list(vec![int(-1)])], "[-1]".into()),
            ("log_array(address[])", vec![list(vec![alice.clone()])], format!("[{shown}]")),
            (
                "log_named_address(string,address)",
                vec![text("k"), alice.clone()],
                format!("k: {shown}"),
            ),
            ("log_named_bytes32(string,bytes32)", vec![text("k"), word()], format!("k: {zeros}")),
            (
                "log_named_decimal_int(string,int256,uint256)",
                vec![text("k"), int(-ether), uint(18)],
                "k: -1.500000000000000000".into(),
            ),
            (
                "log_named_decimal_uint(string,uint256,uint256)",
                vec![text("k"), uint(5), uint(99)],
                "k: 5".into(),
            ),
            ("log_named_int(string,int256)", vec![text("k"), int(-5)], "k: -5".into()),
            ("log_named_uint(string,uint256)", vec![text("k"), uint(5)], "k: 5".into()),
            ("log_named_bytes(string,bytes)", vec![text("k"), bytes()], "k: 0x0102".into()),
            ("log_named_string(string,string)", vec![text("k"), text("v")], "k: v".into()),
            ("log_named_array(string,uint256[])", vec![text("k"), list(vec![])], "k: []".into()),
            (
                "log_named_array(string,int256[])",
                vec![text("k"), list(vec![int(3)])],
                "k: [3]".into(),
            ),
            (
                "log_named_array(string,address[])",
                vec![text("k"), list(vec![alice])],
                format!("k: [{shown}]"),
            ),
        ];
        let signatures: Vec<_> = table.iter().map(|(signature, ..)| *signature).collect();
        assert_eq!(signatures, TEST_EVENTS);
        for (signature, arguments, expected) in table {
            let said = line(keccak256(signature), &encoded(&arguments));
            assert_eq!(said, Some(expected), "{signature}");
        }
    }

    /// Goal: what is no such event, or not what its name says, is passed over; what was cut says
    /// so.
    #[test]
    fn what_is_no_event_is_passed_over() {
        assert_eq!(line(keccak256("Transfer(address,address,uint256)"), &[0; 64]), None);
        let offset = |offset: u64| encoded(&[DynSolValue::Uint(U256::from(offset), 256)]);
        for data in [Vec::new(), offset(u64::MAX), offset(33), offset(0)] {
            for signature in
                ["log(string)", "log_array(uint256[])", "log_named_uint(string,uint256)"]
            {
                // An offset of 0 leads to a text or a list without items.
                let said = line(keccak256(signature), &data).unwrap_or_default();
                assert!(said.is_empty() || said == "[]", "{signature}: {said}");
            }
        }
        let many = vec![DynSolValue::Uint(U256::from(1), 256); 1_000];
        let long = encoded(&[DynSolValue::Array(many)]);
        let kept = evenkeel_vm::limits::CONSOLE_CALL_BYTES_MAX - 4;
        let said = line(keccak256("log_array(uint256[])"), &long[..kept]).expect("a list");
        assert!(said.starts_with("[1, 1, ") && said.ends_with(", 1, ..]"), "{said}");
        assert_eq!(line(keccak256("log_array(uint256[])"), &long[..kept - 1]), None);
    }
}
