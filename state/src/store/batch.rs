//! A write batch: all keys and values in one buffer, so that a row costs no allocation.

use super::Family;

/// One change of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// The table.
    pub family: Family,
    /// The key of the row.
    pub key: &'a [u8],
    /// The new value; `None` deletes the row.
    pub value: Option<&'a [u8]>,
}

/// Changes that are applied together or not at all. A later change of one row wins.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ops: Vec<Place>,
}

/// Where an operation's key and value end in the buffer; they begin where the one before ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    family: Family,
    key_end: usize,
    value_end: Option<usize>,
}

impl Batch {
    /// Sets a row.
    pub fn put(&mut self, family: Family, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(key.as_ref());
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value.as_ref());
        self.ops.push(Place { family, key_end, value_end: Some(self.bytes.len()) });
    }

    /// Removes a row, if it is there.
    pub fn delete(&mut self, family: Family, key: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(key.as_ref());
        self.ops.push(Place { family, key_end: self.bytes.len(), value_end: None });
    }

    /// The changes in order.
    pub fn ops(&self) -> impl Iterator<Item = Op<'_>> {
        let mut start = 0;
        self.ops.iter().map(move |place| {
            let key = &self.bytes[start..place.key_end];
            let value = place.value_end.map(|end| &self.bytes[place.key_end..end]);
            start = place.value_end.unwrap_or(place.key_end);
            Op { family: place.family, key, value }
        })
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Returns true if nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}
