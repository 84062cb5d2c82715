//! An actor spawned on a mailbox of another protocol.
include!("protocol.inc");

use evenkeel_runtime::{Class, Mailbox, Spawn, System};

fn open(system: &System, mailbox: Mailbox<Withdraw>) {
    system.spawn(Spawn::new("account", Class::Exec), mailbox, || Account);
}

fn main() {}
