//! Why a file is no state file.

use serde_json::error::Category;

/// What is wrong with the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It ends before the object does.
    #[error("the file is cut off{}: it ends at line {line}, column {column}", within(at))]
    Truncated {
        /// The field it ends in; empty outside all.
        at: String,
        /// Lines read, from 1.
        line: usize,
        /// Bytes read of the last line.
        column: usize,
    },
    /// It is not JSON.
    #[error("not JSON{}: {reason}", within(at))]
    Syntax {
        /// The field where it stops being JSON; empty outside all.
        at: String,
        /// What was found, with line and column.
        reason: String,
    },
    /// A field is missing or not what it has to be.
    #[error("not a state file of anvil's: {}{reason}", prefix(at))]
    Field {
        /// Its name, with those it lies in; empty for the whole.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be read, or its gzip is damaged.
    #[error("cannot be read: {0}")]
    Io(String),
}

/// Why a state file was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// The text.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Whoever took what is in it.
    #[error(transparent)]
    Taken(E),
}

fn within(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!(" within {at}") }
}

fn prefix(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!("{at}: ") }
}

impl FormatError {
    /// What `error` says of the field `at`.
    pub(super) fn new(error: &serde_json::Error, at: String) -> Self {
        let (line, column) = (error.line(), error.column());
        let is_cut = error.io_error_kind() == Some(std::io::ErrorKind::UnexpectedEof);
        match error.classify() {
            Category::Eof => Self::Truncated { at, line, column },
            Category::Io if is_cut => Self::Truncated { at, line, column },
            Category::Io => Self::Io(error.to_string()),
            Category::Syntax => Self::Syntax { at, reason: error.to_string() },
            Category::Data => Self::Field { at, reason: error.to_string() },
        }
    }
}
