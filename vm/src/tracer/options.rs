//! What is wrong with options of a trace that do not parse, in plain words. Pure.

use serde_json::Value;

use crate::limits::TRACER_NAME_CHARS_MAX;

/// What a member has to be.
#[derive(Clone, Copy)]
enum Kind {
    Flag,
    Text,
    Whole,
    Quantity,
    Object,
    /// Quantities of a byte.
    Opcodes,
}

/// Members of the options, and what they have to be.
const OPTIONS: [(&str, Kind); 14] = [
    ("tracer", Kind::Text),
    ("tracerConfig", Kind::Object),
    ("timeout", Kind::Text),
    ("enableMemory", Kind::Flag),
    ("disableMemory", Kind::Flag),
    ("disableStack", Kind::Flag),
    ("disableStorage", Kind::Flag),
    ("enableReturnData", Kind::Flag),
    ("disableReturnData", Kind::Flag),
    ("debug", Kind::Flag),
    ("limit", Kind::Whole),
    ("stateOverrides", Kind::Object),
    ("blockOverrides", Kind::Object),
    ("txIndex", Kind::Quantity),
];

/// The member that holds the options of a tracer.
pub(super) const CONFIG_NAME: &str = "tracerConfig";

/// Members of it, of whichever of geth's tracers.
const CONFIG: [(&str, Kind); 10] = [
    ("onlyTopCall", Kind::Flag),
    ("withLog", Kind::Flag),
    ("diffMode", Kind::Flag),
    ("disableCode", Kind::Flag),
    ("disableStorage", Kind::Flag),
    ("includeEmpty", Kind::Flag),
    ("convertParityErrors", Kind::Flag),
    ("includePrecompiles", Kind::Flag),
    ("stackTopItemsSize", Kind::Whole),
    ("ignoredOpcodes", Kind::Opcodes),
];

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Text => "text",
            Self::Whole => "a whole number, 0 or more",
            Self::Quantity => "a quantity (hex with 0x)",
            Self::Object => "an object",
            Self::Opcodes => "a list of opcodes (hex with 0x, 0x0 to 0xff)",
        }
    }

    fn is(self, value: &Value) -> bool {
        match self {
            Self::Flag => value.is_boolean(),
            Self::Text => value.is_string(),
            Self::Whole => value.is_u64(),
            Self::Quantity => {
                value.is_u64() || value.as_str().is_some_and(|text| text.starts_with("0x"))
            }
            Self::Object => value.is_object(),
            Self::Opcodes => opcodes(value).is_some(),
        }
    }
}

/// The first member of the options of a trace that cannot be what it is: its name, what was
/// expected and what was found. `None` if their types are right.
#[must_use]
pub fn wrong_option(options: &Value) -> Option<String> {
    wrong(options, "", &OPTIONS)
}

/// The same of the options of one of geth's tracers.
pub(super) fn wrong_config(config: &Value) -> Option<String> {
    wrong(config, CONFIG_NAME, &CONFIG)
}

fn wrong(value: &Value, name: &str, members: &[(&str, Kind)]) -> Option<String> {
    let said = |name: &str, kind: Kind, value: &Value| {
        let colon = if name.is_empty() { "" } else { ": " };
        format!("{name}{colon}expected {}, found {}", kind.name(), found(value))
    };
    let Some(object) = value.as_object() else { return Some(said(name, Kind::Object, value)) };
    members.iter().find_map(|(member, kind)| {
        let value = object.get(*member).filter(|value| !value.is_null() && !kind.is(value))?;
        let dot = if name.is_empty() { "" } else { "." };
        Some(said(&format!("{name}{dot}{member}"), *kind, value))
    })
}

/// A list of opcodes.
pub(super) fn opcodes(list: &Value) -> Option<Vec<u8>> {
    let opcode = |value: &Value| {
        let digits = value.as_str()?.strip_prefix("0x")?;
        // A sign would be taken for a digit.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
    };
    list.as_array()?.iter().map(opcode).collect()
}

/// A value as an error shows it.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => {
            let start: String = text.chars().take(TRACER_NAME_CHARS_MAX).collect();
            let more = if start.len() < text.len() { ".." } else { "" };
            format!("the text {start:?}{more}")
        }
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
