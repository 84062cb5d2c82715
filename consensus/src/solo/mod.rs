//! The engine of a chain with one node.

mod clock;
mod commands;
mod config;
mod machine;
mod mine;
mod reorg;
mod slots;
#[cfg(test)]
mod tests;

pub use config::{ConfigError, Mining, SoloConfig};
pub use machine::Solo;
