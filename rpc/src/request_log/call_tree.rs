//! The calls of a transaction as text (`--print-traces`). Pure.
//!
//! Source: the layout of revm-inspectors' `TraceWriter`, which anvil prints, without names: nothing
//! here knows a contract's interface.

use std::{fmt::Write as _, slice};

use alloy_primitives::{B256, U256, hex};
use evenkeel_vm::{CallTree, Excerpt, Said, TreeCall, TreeItem, TreeKind, TreeLog};

use super::shown;

/// Slots and values below this are shown as numbers.
const NUMBER_MAX: u64 = 1_000_000;

/// The lines of a tree, an item at a time, each with its line breaks.
pub(super) struct Lines<'a> {
    items: slice::Iter<'a, TreeItem>,
    open: Vec<&'a TreeCall>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(tree: &'a CallTree) -> Self {
        Self { items: tree.items.iter(), open: Vec::new() }
    }
}

impl Iterator for Lines<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let indent = format!("  {}", "  │ ".repeat(self.open.len().saturating_sub(1)));
        Some(match self.items.next()? {
            TreeItem::Call(call) => {
                let branch = if self.open.is_empty() { "" } else { "  ├─ " };
                self.open.push(call);
                format!("{indent}{branch}{}\n", head(call))
            }
            TreeItem::Log(log) => log_lines(&indent, log),
            TreeItem::End => end_lines(&indent, self.open.pop()?),
        })
    }
}

fn head(call: &TreeCall) -> String {
    let gas = call.end.as_ref().map_or_else(|| "?".to_owned(), |end| end.gas_used.to_string());
    let to = call.to;
    let note = match call.kind {
        TreeKind::Create => return format!("[{gas}] → new <unknown>@{to}"),
        TreeKind::Call => "",
        TreeKind::StaticCall => " [staticcall]",
        TreeKind::CallCode => " [callcode]",
        TreeKind::DelegateCall => " [delegatecall]",
    };
    let value = Some(call.value).filter(|value| !value.is_zero());
    let value = value.map(|value| format!("{{value: {value}}}")).unwrap_or_default();
    let (name, data) = match call.input.bytes.split_first_chunk::<4>() {
        Some((selector, data)) => (hex::encode(selector), data),
        None if value.is_empty() => ("fallback".to_owned(), &call.input.bytes[..]),
        None => ("receive".to_owned(), &[][..]),
    };
    format!("[{gas}] {to}::{name}{value}({}{}){note}", hex::encode(data), rest(&call.input))
}

fn end_lines(indent: &str, call: &TreeCall) -> String {
    let mut text = String::new();
    let mut slots = call.slots.iter().filter(|slot| slot.before != slot.after).peekable();
    if slots.peek().is_some() {
        let _infallible = writeln!(text, "{indent}  ├─  storage changes:");
    }
    for slot in slots {
        let [key, before, after] = [slot.key, slot.before, slot.after].map(word);
        let _infallible = writeln!(text, "{indent}  │   @ {key}: {before} → {after}");
    }
    let Some(end) = &call.end else { return format!("{text}{indent}  └─ ← (broken off)\n") };
    let said = match &end.said {
        Said::Output(output) if output.len == 0 => String::new(),
        Said::Output(output) => format!(" {}", data(output)),
        Said::Code(bytes) => format!(" {bytes} bytes of code"),
        Said::Failure(reason) => format!(" {}", shown(reason)),
    };
    let _infallible = writeln!(text, "{indent}  └─ ← [{}]{said}", end.status);
    text
}

fn log_lines(indent: &str, log: &TreeLog) -> String {
    let mut text = format!("{indent}  ├─ ");
    for (index, topic) in log.topics.iter().enumerate() {
        let name = if index == 0 { " emit topic" } else { "       topic" };
        let _infallible = write!(text, "{name} {index}: {topic}\n{indent}  │ ");
    }
    let _infallible = writeln!(text, "          data: {}", data(&log.data));
    text
}

fn data(excerpt: &Excerpt) -> String {
    hex::encode_prefixed(&excerpt.bytes) + &rest(excerpt)
}

/// What stands for the bytes that were not recorded.
fn rest(excerpt: &Excerpt) -> String {
    match excerpt.len - excerpt.bytes.len() {
        0 => String::new(),
        more => format!(".. ({more} bytes more)"),
    }
}

fn word(word: U256) -> String {
    if word < U256::from(NUMBER_MAX) { word.to_string() } else { B256::from(word).to_string() }
}
