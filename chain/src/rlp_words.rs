//! What is wrong with an RLP encoding, in words for whoever reads an error.

/// Says what was found and expected, where alloy says it in two words.
pub(crate) fn rlp_words(error: &alloy_rlp::Error) -> String {
    use alloy_rlp::Error;
    let words = match error {
        Error::Overflow => "a number is larger than its field",
        Error::LeadingZero => "a number begins with a zero byte",
        Error::InputTooShort => "it ends before its length says",
        Error::NonCanonicalSingleByte => "a byte below 0x80 is written with a length",
        Error::NonCanonicalSize => "a length is not written in its shortest form",
        Error::UnexpectedLength => "a field has not the length that it must have",
        Error::UnexpectedString => "expected a list, found a string",
        Error::UnexpectedList => "expected a string, found a list",
        Error::ListLengthMismatch { expected, got } => {
            return format!("expected a list of {expected} bytes, found {got}");
        }
        Error::Custom(words) => words,
    };
    words.to_owned()
}
