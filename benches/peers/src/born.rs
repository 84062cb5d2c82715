//! Counts the first turns of idle actors, and says when all have had it.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, Sender, channel},
};

static BORN: AtomicU64 = AtomicU64::new(0);
static EXPECTED: OnceLock<(u64, Sender<()>)> = OnceLock::new();

/// The one count of a process: static, so that no actor carries a pointer to it.
pub struct Births;

impl Births {
    /// Expects `count` of them; the receiver hears of the last. Once in a process.
    pub(crate) fn expect(count: u64) -> Receiver<()> {
        let (all, wait) = channel();
        assert!(EXPECTED.set((count, all)).is_ok(), "a process expects actors once");
        wait
    }

    /// Said by each in its first turn.
    pub fn report() {
        let number = BORN.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some((count, all)) = EXPECTED.get()
            && number == *count
        {
            all.send(()).expect("the main thread waits");
        }
    }
}
