//! What a client is told when its request fails: code, text, data.
//!
//! Codes and texts are geth's, because clients match on them.

use std::{borrow::Cow, fmt::Write as _};

use serde_json::value::RawValue;

/// The `error` member of an answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// JSON-RPC error code.
    pub code: i64,
    /// What went wrong, for people and for clients that match on geth's texts.
    pub message: Cow<'static, str>,
    /// Revert data and the like; already JSON.
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    /// The code of [`RpcError::invalid_params`].
    pub const INVALID_PARAMS: i64 = -32_602;

    /// An error without data.
    pub fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// Adds `data`, which is JSON.
    #[must_use]
    pub fn with_data(mut self, data: Box<RawValue>) -> Self {
        self.data = Some(data);
        self
    }

    /// -32700: the body is not JSON.
    pub fn parse() -> Self {
        Self::new(-32_700, "parse error")
    }

    /// -32600: JSON, but no request.
    pub fn invalid_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(-32_600, text)
    }

    /// -32601: there is no such method.
    pub fn method_not_found(name: &str) -> Self {
        Self::new(-32_601, format!("the method {name} does not exist/is not available"))
    }

    /// -32602: the parameters do not fit the method.
    pub fn invalid_params(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Self::INVALID_PARAMS, text)
    }

    /// -32603: our fault.
    pub fn internal(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(-32_603, text)
    }

    /// -32000: geth's code for what has none of its own.
    pub fn server(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(-32_000, text)
    }

    /// -32001: what was asked for is not here.
    pub fn resource_not_found(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(-32_001, text)
    }

    /// -32003: the answer is over the limit.
    pub fn response_too_large() -> Self {
        Self::new(-32_003, RESPONSE_TOO_LARGE)
    }

    /// -32005: a limit of this node was reached.
    pub fn limit(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(-32_005, text)
    }

    /// Bytes of the error object as JSON, or a few more. O(n) in the text.
    pub(crate) fn size_bytes(&self) -> usize {
        // `{"code":-32603,"message":"","data":}`, with any code.
        const AROUND: usize = 64;
        let escaped = |byte: u8| match byte {
            b'"' | b'\\' => 2,
            0..0x20 => 6,
            _ => 1,
        };
        let text: usize = self.message.bytes().map(escaped).sum();
        AROUND + text + self.data.as_ref().map_or(0, |data| data.get().len())
    }

    /// Appends the error object as JSON.
    pub(crate) fn write_json(&self, out: &mut String) {
        let message = serde_json::to_string(&self.message).expect("a string is always JSON");
        write!(out, r#"{{"code":{},"message":{message}"#, self.code)
            .expect("writing to a string never fails");
        if let Some(data) = &self.data {
            out.push_str(r#","data":"#);
            out.push_str(data.get());
        }
        out.push('}');
    }
}

/// geth's words, and what to do.
pub(crate) const RESPONSE_TOO_LARGE: &str = "response too large: ask for less at a time (fewer blocks or \
    calls, a smaller page, a trace without memory)";

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no error is larger than it says, nor much smaller, whatever its text is made of.
    #[test]
    fn an_error_knows_its_size() {
        let data = RawValue::from_string("\"0x00\"".to_owned()).expect("JSON");
        let texts = ["", "plain", "\0\u{1}\u{1f}", "\"\\\n", "\u{7f}é\u{9b}\u{2028}"];
        for text in texts.map(|text| text.repeat(100)) {
            for code in [0, i64::MIN] {
                let error = RpcError::new(code, text.clone()).with_data(data.clone());
                let mut written = String::new();
                error.write_json(&mut written);
                let size = error.size_bytes();
                assert!(written.len() <= size, "{} bytes, not {size}", written.len());
                assert!(size <= 64 + 5 * written.len(), "{} bytes, not {size}", written.len());
            }
        }
    }
}
