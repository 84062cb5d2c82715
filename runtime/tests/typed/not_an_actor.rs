//! A state without a protocol.
use evenkeel_runtime::{Class, MailboxSpec, Overflow, Spawn, System};

pub struct Idle;

const BOX: MailboxSpec =
    MailboxSpec { name: "box", items_max: 1, bytes_max: 64, overflow: Overflow::Reject };

fn start(system: &System) {
    system.spawn_once(Spawn::new("idle", Class::Exec), BOX, Idle);
}

fn main() {}
