//! Sends many signed transfers at once and counts them in blocks.

use crate::{
    http::{Client, Error, quantity},
    limits::READ_BATCH_MAX,
    transfers::{Transfer, Wallet, stranger},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

/// How often the watcher asks for a new head.
const LOOK: Duration = Duration::from_millis(20);

/// How many transfers, and how they are sent.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Shape {
    /// Transfers; rounded down to the same number from every account
    #[arg(long, default_value_t = 20_000)]
    pub txs: u64,
    /// Accounts that send them
    #[arg(long, default_value_t = 200)]
    pub accounts: u32,
    /// Accounts that receive them, new ones
    #[arg(long, default_value_t = 1_000)]
    pub recipients: u64,
    /// `eth_sendRawTransaction` in one JSON-RPC batch
    #[arg(long, default_value_t = 50)]
    pub batch: usize,
    /// Connections
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
}

impl Shape {
    /// Transfers each account sends.
    pub const fn per_account(&self) -> u64 {
        self.txs / self.accounts as u64
    }

    /// Transfers in all.
    pub const fn total(&self) -> u64 {
        self.per_account() * self.accounts as u64
    }
}

/// Signed transfers as finished request bodies, by connection.
#[derive(Clone, Debug)]
pub struct Batches(Vec<Vec<Batch>>);

#[derive(Clone, Debug)]
struct Batch {
    body: Vec<u8>,
    calls: u64,
}

impl Batches {
    /// Signs what `shape` says, each account's from its nonce in `first_nonces` on.
    ///
    /// An account stays on one connection and its nonces go up there, so that no transfer ever
    /// waits for one that is sent later.
    pub fn sign(wallet: &Wallet, first_nonces: &[u64], shape: &Shape) -> Self {
        assert_eq!(first_nonces.len(), wallet.len());
        let connection = |index: usize| -> Vec<Batch> {
            let mut transfers = Vec::new();
            for step in 0..shape.per_account() {
                for sender in (index..wallet.len()).step_by(shape.connections) {
                    let nonce = first_nonces[sender] + step;
                    let to =
                        stranger((nonce * wallet.len() as u64 + sender as u64) % shape.recipients);
                    transfers.push(Transfer { sender, nonce, to });
                }
            }
            let signed = wallet.sign_all(&transfers);
            let batch = |part: &[crate::transfers::Signed]| {
                let calls = part.iter().enumerate().map(|(id, tx)| {
                    json!({ "jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction",
                        "params": [tx.raw] })
                });
                let body = serde_json::to_vec(&calls.collect::<Vec<_>>());
                let body = body.expect("a JSON value has an encoding");
                Batch { body, calls: part.len() as u64 }
            };
            signed.chunks(shape.batch).map(batch).collect()
        };
        Self((0..shape.connections).map(connection).collect())
    }

    /// Sends everything as fast as the node answers and returns when the last answer is there or
    /// every connection has failed.
    pub fn send(&self, address: SocketAddr) -> Sent {
        thread::scope(|scope| {
            let connections: Vec<_> = self
                .0
                .iter()
                .map(|batches| scope.spawn(move || send_on_one_connection(address, batches)))
                .collect();
            let mut sum = Sent::default();
            for connection in connections {
                sum.add(connection.join().expect("a sender does not panic"));
            }
            sum
        })
    }
}

/// What a node said to the transfers.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Transfers answered with their hash.
    pub accepted: u64,
    /// Transfers answered with an error.
    pub refused: u64,
    /// The first error answered.
    pub refusal: Option<String>,
    /// What ended the first connection that failed.
    pub failure: Option<String>,
}

impl Sent {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.refusal = self.refusal.take().or(other.refusal);
        self.failure = self.failure.take().or(other.failure);
    }
}

fn send_on_one_connection(address: SocketAddr, batches: &[Batch]) -> Sent {
    let mut sent = Sent::default();
    let mut exchange = || -> Result<(), Error> {
        let mut client = Client::connect(address)?;
        for batch in batches {
            let replies: Value = serde_json::from_slice(&client.post(&batch.body)?)?;
            let replies = replies.as_array().map_or(&[][..], Vec::as_slice);
            let refusals = replies.iter().filter_map(|reply| reply.get("error"));
            let refused = refusals.clone().count() as u64;
            let answered = replies.len() as u64;
            sent.refused += refused + batch.calls.saturating_sub(answered);
            sent.accepted += answered - refused;
            let text = |error: &Value| error["message"].as_str().unwrap_or_default().to_owned();
            sent.refusal = sent.refusal.take().or_else(|| refusals.map(text).next());
        }
        Ok(())
    };
    let result = exchange();
    sent.failure = result.err().map(|error| error.to_string());
    sent
}

/// The transactions found in blocks.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// Transactions.
    pub txs: u64,
    /// Blocks that hold at least one.
    pub blocks: u64,
    /// When the last of them was found.
    pub at: Instant,
}

/// Counts transactions in the blocks after `after`, until `want` are there or `deadline` passes.
///
/// # Errors
///
/// A connection that fails.
pub fn watch(
    address: SocketAddr,
    after: u64,
    want: u64,
    deadline: Instant,
) -> Result<Committed, Error> {
    let mut client = Client::connect(address)?;
    let mut committed = Committed { txs: 0, blocks: 0, at: Instant::now() };
    let mut seen = after;
    while committed.txs < want && Instant::now() < deadline {
        client.set_timeout(deadline.saturating_duration_since(Instant::now()))?;
        let head = match client.call("eth_blockNumber", &json!([])) {
            Ok(head) => quantity(&head)?,
            Err(error) if error.is_timeout() => break,
            Err(error) => return Err(error),
        };
        let mut found = 0;
        while seen < head {
            let upto = head.min(seen + READ_BATCH_MAX as u64);
            let count = |number| {
                let params = json!([format!("{number:#x}")]);
                ("eth_getBlockTransactionCountByNumber", params)
            };
            let counts = client.batch(&(seen + 1..=upto).map(count).collect::<Vec<_>>())?;
            for count in counts {
                let count = quantity(&count?)?;
                found += count;
                committed.blocks += u64::from(count > 0);
            }
            seen = upto;
        }
        if found == 0 {
            thread::sleep(LOOK);
        } else {
            committed.txs += found;
            committed.at = Instant::now();
        }
    }
    Ok(committed)
}

/// Reads the nonce of every account of `wallet`.
///
/// # Errors
///
/// A connection that fails or a node that refuses.
pub fn nonces(client: &mut Client, wallet: &Wallet) -> Result<Vec<u64>, Error> {
    let accounts: Vec<_> = (0..wallet.len()).collect();
    let mut nonces = Vec::with_capacity(accounts.len());
    for part in accounts.chunks(READ_BATCH_MAX) {
        let count =
            |&index: &usize| ("eth_getTransactionCount", json!([wallet.address(index), "latest"]));
        for nonce in client.batch(&part.iter().map(count).collect::<Vec<_>>())? {
            nonces.push(quantity(&nonce?)?);
        }
    }
    Ok(nonces)
}
