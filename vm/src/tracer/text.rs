//! JSON text that is written piece by piece. Pure.
//!
//! What it is made from is shared, not copied, until it is written: memory of a frame, a map of
//! slots, return data. So a piece costs with its length, however large the whole is.

use std::{collections::VecDeque, fmt::Write as _, mem, ops::Bound, sync::Arc, vec};

use alloy_primitives::{B256, Bytes, Log, hex};
use imbl::OrdMap;

/// Bytes of a word of memory in text: quotes, prefix, digits, comma.
const WORD_TEXT_BYTES: usize = 69;
/// Of a slot with its value.
const SLOT_TEXT_BYTES: usize = 2 * WORD_TEXT_BYTES;

/// What is still to be written, in order.
pub(super) enum Part {
    /// As it is.
    Text(Vec<u8>),
    /// Digits, two for a byte.
    Hex(Bytes),
    /// Words of 32 bytes, the last one filled up with zeros: strings with commas between them.
    Words { memory: Arc<[u8]>, written: usize },
    /// Keys and values: members of an object.
    Slots { slots: OrdMap<B256, B256>, after: Option<B256> },
    /// Objects with commas between them.
    Logs { logs: vec::IntoIter<Logged>, is_first: bool },
    /// Strings of digits with commas between them.
    Bytes { items: Box<dyn Iterator<Item = Bytes> + Send>, is_first: bool },
    /// What is short, with commas between.
    Each { items: Box<dyn Iterator<Item = String> + Send>, is_first: bool },
}

/// A log as geth's `callTracer` shows it.
pub(super) struct Logged {
    pub(super) log: Log,
    /// Which of the block's it is.
    pub(super) index: u64,
    /// How many calls came before it in the one that logs.
    pub(super) position: u64,
}

/// Text in the making.
#[derive(Default)]
pub(crate) struct Text {
    parts: VecDeque<Part>,
    written: Vec<u8>,
}

impl Part {
    pub(super) const fn words(memory: Arc<[u8]>) -> Self {
        Self::Words { memory, written: 0 }
    }

    pub(super) const fn slots(slots: OrdMap<B256, B256>) -> Self {
        Self::Slots { slots, after: None }
    }

    pub(super) fn logs(logs: Vec<Logged>) -> Self {
        Self::Logs { logs: logs.into_iter(), is_first: true }
    }

    /// Elements of a list.
    pub(super) fn bytes(items: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>) -> Self {
        Self::Bytes { items: Box::new(items.into_iter()), is_first: true }
    }

    pub(super) fn each(items: impl Iterator<Item = String> + Send + 'static) -> Self {
        Self::Each { items: Box::new(items), is_first: true }
    }
}

impl Text {
    pub(super) fn push(&mut self, part: Part) {
        self.parts.push_back(part);
    }

    pub(super) fn push_text(&mut self, text: &str) {
        match self.parts.back_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.extend_from_slice(text.as_bytes()),
            _ => self.push(Part::Text(text.into())),
        }
    }

    /// Whether all of it is written.
    pub(crate) fn is_written(&self) -> bool {
        self.parts.is_empty()
    }

    /// Writes about `bytes_max` bytes of it; returns how many.
    pub(crate) fn write(&mut self, bytes_max: usize) -> usize {
        let before = self.written.len();
        while self.written.len() - before < bytes_max
            && let Some(part) = self.parts.pop_front()
        {
            let room = bytes_max.saturating_sub(self.written.len() - before);
            if let Some(rest) = self.write_part(part, room) {
                self.parts.push_front(rest);
            }
        }
        self.written.len() - before
    }

    /// Takes what is written.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.written)
    }

    /// Writes `bytes_max` bytes of a part, or a little more; returns the rest.
    fn write_part(&mut self, part: Part, bytes_max: usize) -> Option<Part> {
        match part {
            Part::Text(text) if self.written.is_empty() => self.written = text,
            Part::Text(text) => self.written.extend_from_slice(&text),
            Part::Hex(mut bytes) => {
                let now = bytes.len().min(bytes_max / 2 + 1);
                self.hex(&bytes[..now]);
                let rest = bytes.split_off(now);
                return (!rest.is_empty()).then(|| Part::Hex(rest));
            }
            Part::Words { memory, written } => {
                let end = written + 32 * (bytes_max / WORD_TEXT_BYTES + 1);
                for at in (written..end.min(memory.len())).step_by(32) {
                    let mut word = [0; 32];
                    let chunk = &memory[at..memory.len().min(at + 32)];
                    word[..chunk.len()].copy_from_slice(chunk);
                    self.word(at > 0, word);
                }
                return (end < memory.len()).then_some(Part::Words { memory, written: end });
            }
            Part::Slots { slots, mut after } => {
                let from = after.map_or(Bound::Unbounded, Bound::Excluded);
                let mut left = bytes_max / SLOT_TEXT_BYTES + 1;
                for (&key, &value) in slots.range((from, Bound::Unbounded)) {
                    if left == 0 {
                        return Some(Part::Slots { slots, after });
                    }
                    left -= 1;
                    self.word(after.is_some(), key.0);
                    self.written.push(b':');
                    self.word(false, value.0);
                    after = Some(key);
                }
            }
            Part::Bytes { mut items, is_first } => {
                let bytes = items.next()?;
                self.written.extend_from_slice(if is_first { b"\"0x" } else { b",\"0x" });
                self.parts.push_front(Part::Bytes { items, is_first: false });
                self.parts.push_front(Part::Text(b"\"".to_vec()));
                self.parts.push_front(Part::Hex(bytes));
            }
            Part::Each { mut items, mut is_first } => {
                let end = self.written.len() + bytes_max;
                for item in items.by_ref() {
                    if !mem::replace(&mut is_first, false) {
                        self.written.push(b',');
                    }
                    self.written.extend_from_slice(item.as_bytes());
                    if self.written.len() >= end {
                        return Some(Part::Each { items, is_first });
                    }
                }
            }
            Part::Logs { mut logs, is_first } => {
                let Logged { log, index, position } = logs.next()?;
                if logs.len() > 0 {
                    self.parts.push_front(Part::Logs { logs, is_first: false });
                }
                let tail = format!(r#"","index":"{index:#x}","position":"{position:#x}"}}"#);
                self.parts.push_front(Part::Text(tail.into_bytes()));
                self.parts.push_front(Part::Hex(log.data.data.clone()));
                let mut head = if is_first { String::new() } else { ",".to_owned() };
                write!(head, r#"{{"address":"{:#x}","topics":["#, log.address)
                    .expect("memory takes text");
                for (nth, topic) in log.topics().iter().enumerate() {
                    let comma = if nth == 0 { "" } else { "," };
                    write!(head, r#"{comma}"{topic}""#).expect("memory takes text");
                }
                head.push_str(r#"],"data":"0x"#);
                self.written.extend_from_slice(head.as_bytes());
            }
        }
        None
    }

    fn word(&mut self, has_comma: bool, word: [u8; 32]) {
        if has_comma {
            self.written.push(b',');
        }
        self.written.extend_from_slice(b"\"0x");
        self.hex(&word);
        self.written.push(b'"');
    }

    fn hex(&mut self, bytes: &[u8]) {
        let at = self.written.len();
        self.written.resize(at + 2 * bytes.len(), 0);
        hex::encode_to_slice(bytes, &mut self.written[at..]).expect("there are two digits a byte");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        /// Goal: in pieces of any length the text is the same, and is the JSON it stands for.
        #[test]
        fn pieces_of_any_length_make_the_whole(
            memory in proptest::collection::vec(any::<u8>(), 0..300),
            slots in proptest::collection::btree_map(any::<[u8; 2]>(), any::<u8>(), 0..20),
            pieces in proptest::collection::vec(1..500_usize, 1..100),
        ) {
            let slot = |(key, value): (&[u8; 2], &u8)| {
                (B256::left_padding_from(key), B256::with_last_byte(*value))
            };
            let slots: OrdMap<B256, B256> = slots.iter().map(slot).collect();
            let mut text = Text::default();
            text.push_text(r#"{"memory":["#);
            text.push(Part::words(memory.clone().into()));
            text.push_text(r#"],"storage":{"#);
            text.push(Part::slots(slots.clone()));
            text.push_text(r#"},"data":"0x"#);
            text.push(Part::Hex(memory.clone().into()));
            text.push_text(r#"","numbers":["#);
            text.push(Part::each(memory.clone().into_iter().map(|byte| byte.to_string())));
            text.push_text(r#"],"chunks":["#);
            let chunks: Vec<_> = memory.chunks(50).map(Bytes::copy_from_slice).collect();
            text.push(Part::bytes(chunks.clone()));
            text.push_text("]}");
            let mut whole = Vec::new();
            for bytes_max in pieces.into_iter().chain(std::iter::repeat(1_000)) {
                if text.is_written() {
                    break;
                }
                prop_assert!(text.write(bytes_max) > 0);
                whole.append(&mut text.take());
            }
            let found: Value = serde_json::from_slice(&whole).expect("it is JSON");
            let words = memory.chunks(32).map(|chunk| B256::right_padding_from(chunk));
            let words: Vec<_> = words.collect();
            let storage: BTreeMap<_, _> = slots.into_iter().collect();
            let data = Bytes::from(memory);
            let expected = json!({
                "memory": words, "storage": storage, "data": data, "numbers": data.to_vec(),
                "chunks": chunks,
            });
            prop_assert_eq!(found, expected);
        }
    }
}
