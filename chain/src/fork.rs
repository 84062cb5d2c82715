//! The hard forks of Ethereum, in order.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A set of rules; later ones are greater.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[allow(missing_docs, reason = "the names are all there is to say")]
pub enum Fork {
    Frontier,
    Homestead,
    Tangerine,
    SpuriousDragon,
    Byzantium,
    Constantinople,
    Petersburg,
    Istanbul,
    MuirGlacier,
    Berlin,
    London,
    ArrowGlacier,
    GrayGlacier,
    Paris,
    Shanghai,
    Cancun,
    Prague,
    #[default]
    Osaka,
    Bpo1,
    Bpo2,
}

impl Fork {
    /// The newest that this node knows.
    pub const LATEST: Self = Self::Bpo2;

    /// Every fork, in order.
    pub const ALL: [Self; 20] = [
        Self::Frontier,
        Self::Homestead,
        Self::Tangerine,
        Self::SpuriousDragon,
        Self::Byzantium,
        Self::Constantinople,
        Self::Petersburg,
        Self::Istanbul,
        Self::MuirGlacier,
        Self::Berlin,
        Self::London,
        Self::ArrowGlacier,
        Self::GrayGlacier,
        Self::Paris,
        Self::Shanghai,
        Self::Cancun,
        Self::Prague,
        Self::Osaka,
        Self::Bpo1,
        Self::Bpo2,
    ];

    /// The name as anvil's `--hardfork` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frontier => "frontier",
            Self::Homestead => "homestead",
            Self::Tangerine => "tangerine",
            Self::SpuriousDragon => "spuriousdragon",
            Self::Byzantium => "byzantium",
            Self::Constantinople => "constantinople",
            Self::Petersburg => "petersburg",
            Self::Istanbul => "istanbul",
            Self::MuirGlacier => "muirglacier",
            Self::Berlin => "berlin",
            Self::London => "london",
            Self::ArrowGlacier => "arrowglacier",
            Self::GrayGlacier => "grayglacier",
            Self::Paris => "paris",
            Self::Shanghai => "shanghai",
            Self::Cancun => "cancun",
            Self::Prague => "prague",
            Self::Osaka => "osaka",
            Self::Bpo1 => "bpo1",
            Self::Bpo2 => "bpo2",
        }
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no fork of this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unknown hardfork '{0}'; known: frontier .. prague, osaka, bpo1, bpo2, latest")]
pub struct UnknownFork(pub String);

impl FromStr for Fork {
    type Err = UnknownFork;

    /// Upper and lower case, `-` and `_` do not matter.
    fn from_str(text: &str) -> Result<Self, UnknownFork> {
        let name: String = text
            .chars()
            .filter(|c| !matches!(c, '-' | '_'))
            .map(|c| c.to_ascii_lowercase())
            .collect();
        match name.as_str() {
            "latest" => Ok(Self::LATEST),
            "merge" => Ok(Self::Paris),
            // It moved balances on one chain; its rules are Homestead's.
            "dao" => Ok(Self::Homestead),
            "tangerinewhistle" => Ok(Self::Tangerine),
            _ => Self::ALL
                .into_iter()
                .find(|fork| fork.name() == name)
                .ok_or_else(|| UnknownFork(text.to_owned())),
        }
    }
}
