//! Every order of threads that take blocks and give them back, by loom: `make loom`.
//!
//! Racks, depot and chunks are the real ones, small: magazines of two blocks, a depot of one
//! magazine, chunks of five blocks or two. A model's threads have their racks by hand, and hand
//! them over at their end, as the destructor of a thread's own racks does. Loom itself reports a
//! block that two write to, the slab being one of them, without anything that puts them in order,
//! and a chunk that is given back twice or never.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex as Unseen,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use loom::thread;

use super::{chunks::seen, *};
use crate::sync::model;

/// Five blocks a chunk, so that a magazine may have blocks of two chunks.
const FIVE: SizeClass = SizeClass::of::<[u64; 10]>().expect("80 bytes fit");
/// Two blocks a chunk, so that chunks come and go.
const TWO: SizeClass = SizeClass::of::<[u64; 26]>().expect("208 bytes fit");

/// A depot, and which blocks somebody has.
struct World {
    depot: Depot,
    held: Unseen<BTreeSet<usize>>,
}

impl World {
    fn new(class: SizeClass) -> Arc<Self> {
        let depot = Depot { class, store: Mutex::new(Store::EMPTY) };
        Arc::new(Self { depot, held: Unseen::default() })
    }

    /// Asserts that all blocks have come home, and so many chunks are kept at most (B2). They are
    /// given back, after which loom must not find another.
    fn end(&self, kept_max: usize) {
        assert!(self.held.lock().unwrap().is_empty());
        let kept = self.depot.close();
        assert!((1..=kept_max).contains(&kept), "{kept} chunks of which no block is needed");
    }

    fn magazines(&self) -> usize {
        self.depot.lock().magazines.len()
    }
}

/// A block with its owner.
struct Held(NonNull<u8>);

// SAFETY: whoever has it is the block's only owner, which the models see to.
unsafe impl Send for Held {}

impl Held {
    fn new(block: NonNull<u8>, world: &World) -> Self {
        let at = block.addr().get();
        let mut held = world.held.lock().unwrap();
        let next = held.range(at..).next().copied().unwrap_or(usize::MAX);
        let before =
            held.range(..at).next_back().map_or(0, |before| before + world.depot.class.bytes());
        assert!(before <= at && at + world.depot.class.bytes() <= next, "a block with two owners");
        held.insert(at);
        drop(held);
        let block = Self(block);
        block.write(world);
        block
    }

    /// As an owner writes to what it has.
    fn write(&self, world: &World) {
        // SAFETY: the block came from the slab with this class, and nothing is written to its end.
        unsafe { seen::written(self.0, world.depot.class) };
    }

    /// Out of its owner's hands.
    fn leave(self, world: &World) -> NonNull<u8> {
        self.write(world);
        assert!(world.held.lock().unwrap().remove(&self.0.addr().get()));
        self.0
    }
}

/// A thread with its rack of the one size.
struct Thread {
    world: Arc<World>,
    rack: Rack,
}

impl Thread {
    fn new(world: &Arc<World>) -> Self {
        Self { world: Arc::clone(world), rack: Rack::EMPTY }
    }

    fn take(&mut self) -> Held {
        Held::new(self.rack.take(&self.world.depot), &self.world)
    }

    fn take_some(&mut self, count: usize) -> Vec<Held> {
        (0..count).map(|_| self.take()).collect()
    }

    fn give(&mut self, block: Held) {
        let block = block.leave(&self.world);
        // SAFETY: it came from this depot, and its owner has let go of it.
        unsafe { self.rack.give(&self.world.depot, block) };
    }

    fn give_all(&mut self, blocks: Vec<Held>) {
        blocks.into_iter().for_each(|block| self.give(block));
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // A model that fails unwinds through here.
        if !std::thread::panicking() {
            self.rack.hand_over(&self.world.depot);
        }
    }
}

/// Goal: a block has one owner at a time, and comes home, whatever two threads take, give back and
/// take again, end with half a magazine, and need a second chunk.
#[test]
fn a_block_has_one_owner_and_comes_home() {
    loom::model(|| {
        let world = World::new(FIVE);
        let threads = [1, 3].map(|count| {
            let mut own = Thread::new(&world);
            thread::spawn(move || {
                let blocks = own.take_some(count);
                own.give_all(blocks);
                let block = own.take();
                own.give(block);
            })
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        world.end(1);
    });
}

/// Goal: blocks that one thread took and another gave back come to the next owner through the
/// depot, with all that was written to them before.
/// Method: loom sees every write. In some order what the one gave back is what the other takes.
#[test]
fn a_magazine_crosses_to_another_thread() {
    let crossed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&crossed);
    loom::model(move || {
        let world = World::new(FIVE);
        let mut own = Thread::new(&world);
        let blocks = own.take_some(5);
        let places: BTreeSet<_> = blocks.iter().map(|block| block.0.addr()).collect();
        let mut other = Thread::new(&world);
        let giving = thread::spawn(move || other.give_all(blocks));
        let again = own.take_some(3);
        count.fetch_max(
            again.iter().filter(|block| places.contains(&block.0.addr())).count(),
            SeqCst,
        );
        giving.join().unwrap();
        own.give_all(again);
        drop(own);
        world.end(1);
    });
    assert_eq!(crossed.load(SeqCst), 3, "blocks that cross at best");
}

/// Goal: a depot that is full keeps no more; what is beyond goes home, and chunks that are whole go
/// back, beside one who takes.
#[test]
fn a_full_depot_sends_blocks_home() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    model(3, move || {
        let world = World::new(TWO);
        let mut own = Thread::new(&world);
        let threads = [(); 2].map(|()| {
            let mut giver = Thread::new(&world);
            let blocks = own.take_some(5);
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                giver.give_all(blocks);
                seen.fetch_max(giver.world.magazines(), SeqCst);
            })
        });
        let block = own.take();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        own.give(block);
        drop(own);
        // One may be mapped while blocks come home to another.
        world.end(2);
    });
    assert_eq!(most.load(SeqCst), MAGAZINES_MAX, "magazines at most");
}

/// Goal: of two that find no block, each asks for a chunk at worst; both chunks are the depot's,
/// and one is kept.
#[test]
fn two_that_need_a_chunk_may_map_two() {
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    loom::model(move || {
        let world = World::new(FIVE);
        let threads = [(); 2].map(|()| {
            let mut own = Thread::new(&world);
            thread::spawn(move || {
                let block = own.take();
                (own, block)
            })
        });
        let threads = threads.map(|thread| thread.join().unwrap());
        let chunks = world.depot.lock().chunks.count();
        assert!((1..=2).contains(&chunks), "{chunks} chunks for two");
        seen.fetch_max(chunks, SeqCst);
        for (mut own, block) in threads {
            own.give(block);
        }
        world.end(1);
    });
    assert_eq!(most.load(SeqCst), 2, "chunks at most");
}

/// Goal: a thread that has no rack any more takes and gives as well, beside one that has one.
#[test]
fn a_thread_without_a_rack_takes_and_gives() {
    loom::model(|| {
        let world = World::new(TWO);
        let bare = Arc::clone(&world);
        let ending = thread::spawn(move || {
            let block = Held::new(bare.depot.take_bare(), &bare).leave(&bare);
            // SAFETY: it came from this depot, and its owner has let go of it.
            unsafe { bare.depot.give_bare(block) };
        });
        let mut own = Thread::new(&world);
        let blocks = own.take_some(3);
        own.give_all(blocks);
        drop(own);
        ending.join().unwrap();
        world.end(1);
    });
}
