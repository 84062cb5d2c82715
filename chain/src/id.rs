//! Ids as newtypes: nothing converts into them by accident.

use std::fmt;

/// Number of a block; the genesis block of a chain has the number its genesis names, mostly zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Height(u64);

impl Height {
    /// Height zero.
    pub const GENESIS: Self = Self(0);

    /// The height with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The height of a child.
    ///
    /// # Panics
    ///
    /// At `u64::MAX`, which no chain reaches; bounds what comes from outside before.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("no chain has 2^64 blocks"))
    }

    /// The height of the parent; none at zero.
    #[must_use]
    pub const fn prev(self) -> Option<Self> {
        match self.0.checked_sub(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
