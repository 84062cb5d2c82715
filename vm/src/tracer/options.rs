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
    List,
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

/// Members of `tracerConfig`, of whichever of geth's tracers.
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
    ("ignoredOpcodes", Kind::List),
];

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Text => "text",
            Self::Whole => "a whole number, 0 or more",
            Self::Quantity => "a quantity (hex with 0x)",
            Self::Object => "an object",
            Self::List => "a list",
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
            Self::List => value.is_array(),
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
    wrong(config, "tracerConfig", &CONFIG)
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
