//! Every process of the node: its mailbox, what happens when that is full, its scheduling class.
//!
//! Reading this file is knowing the node. `docs/ARCHITECTURE.md` prints the same table; a test
//! compares them. [`start`](crate::start) makes the mailboxes first and the processes second, so
//! no constructor needs a process that does not exist yet. Not in the table: processes at the edge
//! (one per connection, subscription or signal, the log), supervisors, and futures that carry one
//! answer or job.

use std::fmt::Write as _;

use evenkeel_consensus::limits as consensus;
use evenkeel_runtime::{Class, MailboxSpec, Overflow};

/// One kind of process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Name in spans, statistics and the table.
    pub name: &'static str,
    /// The crate its code lives in.
    pub room: &'static str,
    /// How many there are.
    pub count: &'static str,
    /// Its scheduling class.
    pub class: Class,
    /// What it is told.
    pub messages: &'static str,
    /// Whom it tells.
    pub sends_to: &'static str,
    /// What its panic leads to.
    pub at_panic: &'static str,
    /// Its mailbox; none for a process that lives for one request and is started with its work.
    pub mailbox: Option<Mailbox>,
}

/// Bounds of a mailbox and what happens when it is full.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox {
    /// Most messages that wait.
    pub items_max: usize,
    /// Most bytes that wait.
    pub bytes_max: usize,
    /// What happens to one more.
    pub overflow: Overflow,
    /// The same in the words of the sender.
    pub when_full: &'static str,
}

impl Process {
    /// The mailbox as the runtime wants it.
    ///
    /// # Panics
    ///
    /// When the process has none: ask only for those that [`start`](crate::start) makes.
    pub fn spec(&self) -> MailboxSpec {
        let mailbox = self.mailbox.expect("only processes with a mailbox are wired");
        MailboxSpec {
            name: self.name,
            items_max: mailbox.items_max,
            bytes_max: mailbox.bytes_max,
            overflow: mailbox.overflow,
        }
    }
}

const MIB: usize = 1 << 20;

/// Decodes transactions, recovers senders, checks what needs no state.
pub const ADMISSION: Process = Process {
    name: "Admission",
    room: "mempool",
    count: "workers",
    class: Class::Mempool,
    messages: "Raw, Known, Gossip",
    sends_to: "Pool",
    at_panic: "restarted",
    mailbox: Some(Mailbox {
        items_max: 16_384,
        bytes_max: 64 * MIB,
        overflow: Overflow::Reject,
        when_full: "the request is refused",
    }),
};

/// Orders pending transactions; publishes `BestTxs` and the feed of new ones.
pub const POOL: Process = Process {
    name: "Pool",
    room: "mempool",
    count: "1",
    class: Class::Mempool,
    messages: "Admit, Committed, Unexecutable, Remove, Query, Flush, SetMinGasPrice, SetNextBaseFee",
    sends_to: "Consensus",
    at_panic: "restarted, empty",
    mailbox: Some(Mailbox {
        items_max: 65_536,
        bytes_max: 256 * MIB,
        overflow: Overflow::Reject,
        when_full: "the request is refused; Committed comes beyond the bound",
    }),
};

/// Runs the engine: decides what block comes next.
pub const CONSENSUS: Process = Process {
    name: "Consensus",
    room: "consensus",
    count: "1",
    class: Class::Consensus,
    messages: "Event, Command, Begin, done-messages of its commands",
    sends_to: "Executor, Pool",
    at_panic: "restarted with Executor",
    mailbox: Some(Mailbox {
        items_max: consensus::MAILBOX_ITEMS_MAX,
        bytes_max: consensus::MAILBOX_BYTES_MAX,
        overflow: Overflow::Reject,
        when_full: "a command is refused; answers of Executor and Writer come beyond the bound",
    }),
};

/// Builds and validates blocks on the executed tip.
pub const EXECUTOR: Process = Process {
    name: "Executor",
    room: "vm",
    count: "1",
    class: Class::Exec,
    messages: "Build, Validate, Finalize, Discard, Cheat, Mark, Revert, Branch, Reorg",
    sends_to: "Consensus, Writer, Pool",
    at_panic: "restarted with Consensus",
    mailbox: Some(Mailbox {
        items_max: 1_024,
        bytes_max: 256 * MIB,
        overflow: Overflow::Reject,
        when_full: "Consensus keeps its orders and tries again",
    }),
};

/// The one writer of the database; publishes `Durable`.
pub const WRITER: Process = Process {
    name: "Writer",
    room: "state",
    count: "1",
    class: Class::Exec,
    messages: "Commit, Diff, Mark, Revert, Reorg, Tip",
    sends_to: "Pool, Consensus, Executor",
    at_panic: "the node stops",
    mailbox: Some(Mailbox {
        items_max: 64,
        bytes_max: 1_024 * MIB,
        overflow: Overflow::Await,
        when_full: "Executor takes no message until there is room",
    }),
};

/// Executes what became final once more, under another fork, and reports what differs.
pub const SHADOW: Process = Process {
    name: "Shadow",
    room: "vm",
    count: "0 or 1",
    class: Class::Prove,
    messages: "LiveBlock",
    sends_to: "none; publishes its report",
    at_panic: "restarted",
    mailbox: Some(Mailbox {
        items_max: 8,
        bytes_max: 256 * MIB,
        overflow: Overflow::DropOld,
        when_full: "the oldest block is left out, and counted",
    }),
};

/// One execution on behalf of a request, in its client's share.
pub const CALL: Process = Process {
    name: "Call",
    room: "vm",
    count: "per request",
    class: Class::Call,
    messages: "started with its job",
    sends_to: "its reply",
    at_panic: "the request fails",
    mailbox: None,
};

/// One connection or one request of a batch.
pub const REQUEST: Process = Process {
    name: "Request",
    room: "rpc",
    count: "per request",
    class: Class::Rpc,
    messages: "none",
    sends_to: "Admission, Pool, Consensus, Call",
    at_panic: "the request fails",
    mailbox: None,
};

/// All of them, in the order of the table.
pub const PROCESSES: [Process; 8] =
    [ADMISSION, POOL, CONSENSUS, EXECUTOR, WRITER, SHADOW, CALL, REQUEST];

/// The table of `docs/ARCHITECTURE.md`, in Markdown.
pub fn table() -> String {
    let mut table = String::from(
        "| process (crate) | class | messages in | sends to | after a panic | mailbox, when full |\n\
         |---|---|---|---|---|---|\n",
    );
    for p in PROCESSES {
        let mailbox = p.mailbox.map_or_else(
            || "none".to_owned(),
            |m| format!("{} items, {} MiB; {}", m.items_max, m.bytes_max / MIB, m.when_full),
        );
        let class = format!("{:?}", p.class).to_lowercase();
        let row = (p.name, p.room, p.count, class, p.messages, p.sends_to, p.at_panic, mailbox);
        writeln!(
            table,
            "| `{}` ({}) x{} | {} | {} | {} | {} | {} |",
            row.0, row.1, row.2, row.3, row.4, row.5, row.6, row.7
        )
        .expect("writing to a String cannot fail");
    }
    table
}

#[cfg(test)]
mod tests {
    /// Goal: the map that people read is the node that runs.
    #[test]
    fn architecture_page_prints_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ARCHITECTURE.md");
        let page = std::fs::read_to_string(path).expect("the page is there");
        let table = super::table();
        assert!(page.contains(&table), "docs/ARCHITECTURE.md shall contain:\n{table}");
    }
}
