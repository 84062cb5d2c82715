//! A type that is no message at all.
use evenkeel_runtime::Address;

pub struct Note;

fn write(_to: &Address<Note>) {}

fn main() {}
