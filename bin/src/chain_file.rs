//! `evenkeel import` and `evenkeel export`: blocks in files, as geth has them: the RLP of one after
//! that of the other.

mod blocks;
mod export;
mod import;

pub(crate) use export::export;
pub(crate) use import::import;
