//! Whether a block may name these headers as its ommers.
//!
//! Pure. Source: yellow paper 11.1; the header rules hold for an ommer as for a block.

use alloy_primitives::B256;

use crate::{
    Header,
    limits::{OMMER_DEPTH_MAX, OMMERS_MAX},
    rules::{HeaderError, check_header},
    spec::ChainSpec,
};

/// A block that another is built on, as its ommers are measured by.
#[derive(Clone, Copy, Debug)]
pub struct Ancestor<'a> {
    /// Its header.
    pub header: &'a Header,
    /// Its hash.
    pub hash: B256,
    /// Hashes of the ommers that it names.
    pub ommers: &'a [B256],
}

/// Why a block may not name its ommers.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OmmerError {
    /// Too many of them.
    #[error("{found} ommers, limit {limit}")]
    TooMany {
        /// In the block.
        found: usize,
        /// A block may have.
        limit: usize,
    },
    /// The same twice in the block, or in one before it.
    #[error("ommer {0} is named already")]
    Named(B256),
    /// The block is built on it.
    #[error("ommer {0} is an ancestor of the block")]
    IsAncestor(B256),
    /// It has the same parent as the block: at best it is an ommer of the next one.
    #[error("ommer {0} is a brother of the block")]
    IsBrother(B256),
    /// It branches off too early, or off another chain.
    #[error("ommer {ommer}: its parent {parent} is not among the last {depth} blocks")]
    Parent {
        /// The ommer.
        ommer: B256,
        /// Its parent hash.
        parent: B256,
        /// Generations that its parent may be away.
        depth: u64,
    },
    /// No block could have this header.
    #[error("ommer {ommer}: {error}")]
    Header {
        /// The ommer.
        ommer: B256,
        /// The rule its header breaks.
        error: Box<HeaderError>,
    },
}

/// Checks the ommers of a child of `ancestors[0]`. `ancestors` are the blocks before it, the
/// nearest first: [`OMMER_DEPTH_MAX`] + 1 of them, or all there are. O(ommers · ancestors).
///
/// # Errors
///
/// The first rule broken, see [`OmmerError`].
///
/// # Panics
///
/// If there is no ancestor.
pub fn check_ommers(
    spec: &ChainSpec,
    ommers: &[Header],
    ancestors: &[Ancestor<'_>],
) -> Result<(), OmmerError> {
    if ommers.len() > OMMERS_MAX {
        return Err(OmmerError::TooMany { found: ommers.len(), limit: OMMERS_MAX });
    }
    let mut named = Vec::with_capacity(OMMERS_MAX);
    for ommer in ommers {
        let hash = ommer.hash_slow();
        if named.contains(&hash) || ancestors.iter().any(|block| block.ommers.contains(&hash)) {
            return Err(OmmerError::Named(hash));
        }
        if ancestors.iter().any(|block| block.hash == hash) {
            return Err(OmmerError::IsAncestor(hash));
        }
        if ommer.parent_hash == ancestors[0].hash {
            return Err(OmmerError::IsBrother(hash));
        }
        let Some(parent) = ancestors.iter().find(|block| block.hash == ommer.parent_hash) else {
            let (parent, depth) = (ommer.parent_hash, OMMER_DEPTH_MAX);
            return Err(OmmerError::Parent { ommer: hash, parent, depth });
        };
        check_header(spec, parent.header, ommer)
            .map_err(|error| OmmerError::Header { ommer: hash, error: Box::new(error) })?;
        named.push(hash);
    }
    Ok(())
}
