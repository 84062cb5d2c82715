//! The database against a plain model, on all stores.

mod chunks;
mod crash;
mod datadir;
mod genesis;
mod history;
mod reorg;
mod restore;
mod revert;
mod verify;
