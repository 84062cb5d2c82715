//! The programs as tokio tasks that talk through mpsc channels, bounded or (`--tokio-unbounded`)
//! not.

use evenkeel_peers::{
    Births, Counts, Done, Peer, Probe, Run, Sum, checksum, fill, keep, overrun,
    programs::{
        BLOCKS_ITEMS_MAX, CHILDREN, FAN, FAN_ITEMS_MAX, ITEMS_MAX, PLAYER_ITEMS_MAX, RING_ITEMS_MAX,
    },
    run_program,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

/// Sending end of either kind of channel.
enum Tx<T> {
    Bounded(mpsc::Sender<T>),
    Unbounded(mpsc::UnboundedSender<T>),
}

impl<T> Clone for Tx<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Bounded(tx) => Self::Bounded(tx.clone()),
            Self::Unbounded(tx) => Self::Unbounded(tx.clone()),
        }
    }
}

impl<T> Tx<T> {
    /// Waits for room where there is a bound.
    #[inline]
    async fn send(&self, message: T) {
        let is_sent = match self {
            Self::Bounded(tx) => tx.send(message).await.is_ok(),
            Self::Unbounded(tx) => tx.send(message).is_ok(),
        };
        assert!(is_sent, "receivers live until the process ends");
    }

    /// For senders that never wait otherwise: without a bound nothing else would make them yield.
    #[inline]
    async fn send_many(&self, message: T) {
        self.send(message).await;
        if matches!(self, Self::Unbounded(_)) {
            tokio::task::coop::consume_budget().await;
        }
    }

    /// The same from a thread that is no worker.
    fn send_from_outside(&self, message: T) {
        let is_sent = match self {
            Self::Bounded(tx) => tx.blocking_send(message).is_ok(),
            Self::Unbounded(tx) => tx.send(message).is_ok(),
        };
        assert!(is_sent, "receivers live until the process ends");
    }
}

/// Receiving end of either kind of channel.
enum Rx<T> {
    Bounded(mpsc::Receiver<T>),
    Unbounded(mpsc::UnboundedReceiver<T>),
}

impl<T> Rx<T> {
    #[inline]
    async fn recv(&mut self) -> Option<T> {
        match self {
            Self::Bounded(rx) => rx.recv().await,
            Self::Unbounded(rx) => rx.recv().await,
        }
    }
}

#[derive(Clone, Copy)]
struct Channels {
    is_bounded: bool,
}

impl Channels {
    fn make<T>(self, items_max: usize) -> (Tx<T>, Rx<T>) {
        if self.is_bounded {
            let (tx, rx) = mpsc::channel(items_max);
            (Tx::Bounded(tx), Rx::Bounded(rx))
        } else {
            let (tx, rx) = mpsc::unbounded_channel();
            (Tx::Unbounded(tx), Rx::Unbounded(rx))
        }
    }
}

struct Tokio {
    runtime: Runtime,
    channels: Channels,
}

impl Tokio {
    fn new(run: &Run) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(run.workers).enable_time().build();
        let channels = Channels { is_bounded: run.runtime == "tokio" };
        Self { runtime: runtime.expect("threads can be started"), channels }
    }
}

async fn play(mut mine: Rx<u64>, other: Tx<u64>, done: Done) {
    while let Some(left) = mine.recv().await {
        if left == 0 {
            done.send(()).expect("the main thread waits");
        } else {
            other.send(left - 1).await;
        }
    }
}

async fn sink(mut drips: Rx<u64>, mut left: u64, done: Done) {
    while left > 0 {
        left -= drips.recv().await.expect("sources send all");
    }
    done.send(()).expect("the main thread waits");
}

/// A node of the tree over the leaves `first .. first + leaves`.
fn grow(channels: Channels, parent: Tx<u64>, first: u64, leaves: u64) {
    tokio::spawn(async move {
        if leaves == 1 {
            parent.send(first).await;
            return;
        }
        let (me, mut totals) = channels.make(ITEMS_MAX);
        let leaves = leaves / CHILDREN;
        for child in 0..CHILDREN {
            grow(channels, me.clone(), first + child * leaves, leaves);
        }
        let mut total = 0;
        for _ in 0..CHILDREN {
            total += totals.recv().await.expect("each child tells its total");
        }
        parent.send(total).await;
    });
}

impl Peer for Tokio {
    fn mailboxes(&self) -> &'static str {
        if self.channels.is_bounded { "bounded" } else { "unbounded" }
    }

    fn pairs(&self, pairs: u64, rounds: u64, done: &Done) {
        for _ in 0..pairs {
            let (to_first, first) = self.channels.make(PLAYER_ITEMS_MAX);
            let (to_other, other) = self.channels.make(PLAYER_ITEMS_MAX);
            self.runtime.spawn(play(first, to_other.clone(), done.clone()));
            self.runtime.spawn(play(other, to_first, done.clone()));
            to_other.send_from_outside(rounds * 2 - 1);
        }
    }

    fn ring(&self, nodes: usize, done: &Done) -> impl Fn(u64) {
        let (to_first, mut mine) = self.channels.make(RING_ITEMS_MAX);
        for _ in 1..nodes {
            let (next, others) = self.channels.make(RING_ITEMS_MAX);
            self.runtime.spawn(play(mine, next, done.clone()));
            mine = others;
        }
        self.runtime.spawn(play(mine, to_first.clone(), done.clone()));
        move |hops| to_first.send_from_outside(hops)
    }

    fn fan_in(&self, each: u64, done: &Done) {
        let (to, drips) = self.channels.make(FAN_ITEMS_MAX);
        self.runtime.spawn(sink(drips, each * FAN, done.clone()));
        for _ in 0..FAN {
            let to = to.clone();
            self.runtime.spawn(async move {
                for _ in 0..each {
                    to.send_many(1).await;
                }
            });
        }
    }

    fn fan_out(&self, each: u64, done: &Done) {
        let channels = self.channels;
        let sink = |_| {
            let (to, drips) = channels.make(FAN_ITEMS_MAX);
            self.runtime.spawn(sink(drips, each, done.clone()));
            to
        };
        let sinks: Vec<Tx<u64>> = (0..FAN).map(sink).collect();
        self.runtime.spawn(async move {
            for _ in 0..each {
                for to in &sinks {
                    to.send_many(1).await;
                }
            }
        });
    }

    fn skynet(&self, leaves: u64, sum: &Sum) {
        let (channels, sum) = (self.channels, sum.clone());
        self.runtime.spawn(async move {
            let (root, mut totals) = channels.make(1);
            grow(channels, root, 0, leaves);
            let total = totals.recv().await.expect("the root tells its total");
            sum.send(total).expect("the main thread waits");
        });
    }

    fn idle(&self, count: u64) {
        let channels = self.channels;
        self.runtime.spawn(async move {
            let mut children = Vec::with_capacity(usize::try_from(count).expect("a count"));
            for _ in 0..count {
                let (to, mut mine) = channels.make::<u64>(ITEMS_MAX);
                tokio::spawn(async move {
                    Births::report();
                    mine.recv().await
                });
                children.push(to);
                tokio::task::coop::consume_budget().await;
            }
            keep(children);
        });
    }

    fn spinners(&self, counts: &Counts, units: u32) {
        for actor in 0..counts.actors() {
            let (to_me, mut mine) = self.channels.make(ITEMS_MAX);
            let counts = counts.clone();
            self.runtime.spawn(async move {
                loop {
                    counts.work(actor, units);
                    to_me.send(()).await;
                    mine.recv().await;
                }
            });
        }
    }

    fn overrunner(&self) {
        let (to_me, mut mine) = self.channels.make(ITEMS_MAX);
        self.runtime.spawn(async move {
            loop {
                overrun();
                to_me.send(()).await;
                mine.recv().await;
            }
        });
    }

    fn echo(&self) -> impl Fn(Probe) {
        let (to, mut probes) = self.channels.make::<Probe>(ITEMS_MAX);
        self.runtime.spawn(async move {
            while let Some(probe) = probes.recv().await {
                probe.answer();
            }
        });
        move |probe| to.send_from_outside(probe)
    }

    fn blocks(&self, count: u64, sum: &Sum) -> bool {
        if !self.channels.is_bounded {
            return false;
        }
        let (to, mut blocks) = self.channels.make::<Vec<u8>>(BLOCKS_ITEMS_MAX);
        let sum = sum.clone();
        self.runtime.spawn(async move {
            let mut total = 0;
            for _ in 0..count {
                total ^= checksum(&blocks.recv().await.expect("the writer sends all"));
            }
            sum.send(total).expect("the main thread waits");
        });
        self.runtime.spawn(async move {
            for number in 0..count {
                to.send(fill(number)).await;
            }
        });
        true
    }
}

fn main() {
    run_program(&["tokio", "tokio-unbounded"], Tokio::new);
}
