//! Every order of the threads that matters, by loom: `make loom`.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use loom::{sync::Arc, thread};

use super::*;

/// A queue with who is in its run queue and who runs it, to check Q1.
struct World {
    queue: Queue,
    taken: Taken,
    /// Times that somebody was told to schedule the process and it has not run since.
    scheduled: AtomicUsize,
}

impl World {
    fn new(items_max: usize) -> Arc<Self> {
        let queue = Queue::new(items_max, 1 << 20, true);
        Arc::new(Self {
            queue,
            taken: Taken::new(items_max, 1 << 20),
            scheduled: AtomicUsize::new(0),
        })
    }

    fn schedule(&self) {
        // Q1: never while it is scheduled already.
        assert_eq!(self.scheduled.fetch_add(1, SeqCst), 0, "scheduled twice");
    }

    fn send(&self, number: u64) -> Result<(), Refusal> {
        let weight = Weight::of_bytes(1);
        self.queue.reserve(weight)?;
        match self.queue.push(Letter::new(number, weight)) {
            Ok(true) => self.schedule(),
            Ok(false) => {}
            Err(letter) => {
                self.queue.unreserve(weight);
                drop(letter);
                return Err(Refusal::Closed);
            }
        }
        Ok(())
    }

    fn wake(&self) {
        if self.queue.wake() {
            self.schedule();
        }
    }

    /// Runs the process as long as it is scheduled: the one thread that a run queue hands it to.
    /// Takes what waits, and says if it was woken.
    fn run(&self, taken: &mut Vec<u64>, parks: bool) -> bool {
        let mut was_woken = false;
        while self.scheduled.load(SeqCst) == 1 {
            self.scheduled.store(0, SeqCst);
            loop {
                was_woken |= self.queue.clear_woken();
                // SAFETY: scheduled once (Q1), and only this thread runs it.
                while let Some((number, _)) = unsafe { self.queue.pop::<u64>(&self.taken, |_| ()) }
                {
                    taken.push(number);
                }
                let has_left = if parks {
                    self.queue.try_park()
                } else {
                    // SAFETY: as above.
                    unsafe { self.queue.try_idle::<u64>(&self.taken) }
                };
                if has_left {
                    break;
                }
            }
        }
        was_woken
    }

    /// Drops what is left.
    fn end(&self) -> usize {
        // SAFETY: all threads have ended.
        unsafe { self.queue.shut::<u64>(&self.taken) }.0.len()
    }
}

/// Goal: Q1 to Q4 with two senders, one of which also wakes, beside the process.
#[test]
fn letters_arrive_in_order_and_nobody_schedules_twice() {
    loom::model(|| {
        let world = World::new(8);
        assert!(world.queue.try_idle_unborn());
        let other = Arc::clone(&world);
        let sender = thread::spawn(move || {
            other.send(1).unwrap();
            other.send(2).unwrap();
        });
        world.send(10).unwrap();
        let mut taken = Vec::new();
        world.run(&mut taken, false);
        sender.join().unwrap();
        world.run(&mut taken, false);
        // Q3: it went idle, so nothing waits. Q2: each sender's letters in order.
        assert_eq!(taken.len(), 3, "{taken:?}");
        let of_other: Vec<_> = taken.iter().filter(|n| **n < 10).collect();
        assert_eq!(of_other, [&1, &2]);
        assert_eq!(world.queue.len(), 0);
        assert_eq!(world.end(), 0);
    });
}

/// Goal: Q3 for wake-ups: one beside a letter is never lost, whatever the process does.
#[test]
fn a_wake_up_beside_a_letter_is_seen() {
    for parks in [false, true] {
        loom::model(move || {
            let world = World::new(8);
            world.schedule();
            let other = Arc::clone(&world);
            let waker = thread::spawn(move || other.wake());
            let other = Arc::clone(&world);
            let sender = thread::spawn(move || other.send(1).unwrap());
            let mut taken = Vec::new();
            let mut was_woken = world.run(&mut taken, parks);
            waker.join().unwrap();
            sender.join().unwrap();
            was_woken |= world.run(&mut taken, parks);
            assert!(was_woken);
            // A parked process need not have seen the letter, but it must still be there.
            assert_eq!(taken.len() + world.end(), 1);
        });
    }
}

/// Goal: Q4: two senders and room for one; one is let in, and a later one finds the room again.
#[test]
fn the_bound_holds_and_room_comes_back() {
    loom::model(|| {
        let world = World::new(1);
        world.schedule();
        let senders: Vec<_> = (0..2)
            .map(|number| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.send(number).is_ok())
            })
            .collect();
        let sent = senders.into_iter().filter_map(|s| s.join().unwrap().then_some(())).count();
        // Both may have met while one turned back, but never were both let in.
        assert!(sent <= 1, "{sent} letters in a queue for one");
        assert_eq!(world.queue.len(), sent);
        let mut taken = Vec::new();
        world.run(&mut taken, false);
        assert_eq!(taken.len(), sent);
        world.send(7).unwrap();
        assert_eq!(world.end(), 1);
    });
}

/// Goal: a letter sent while the queue is shut is either among what was dropped or comes back.
#[test]
fn a_letter_beside_the_end_is_counted_once() {
    loom::model(|| {
        let world = World::new(8);
        world.schedule();
        let other = Arc::clone(&world);
        let sender = thread::spawn(move || other.send(1).is_ok());
        let dropped = world.end();
        let was_sent = sender.join().unwrap();
        assert_eq!(dropped, usize::from(was_sent));
        assert_eq!(world.send(2), Err(Refusal::Closed));
        assert_eq!(world.queue.len(), 0);
    });
}

/// Goal: Q4 in bytes, both ways to make room: what is let in never exceeds the bound, and of what
/// turned back nothing stays counted.
#[test]
fn bytes_are_bounded_and_nothing_leaks() {
    for (a, b, both_fit) in [(60, 40, true), (60, 41, false)] {
        for is_strict in [false, true] {
            loom::model(move || {
                let queue = Arc::new(Queue::new(2, 100, false));
                let reserve = move |queue: &Queue, bytes| {
                    let weight = Weight::of_bytes(bytes);
                    let room = if is_strict {
                        queue.reserve_if_room(weight)
                    } else {
                        queue.reserve(weight)
                    };
                    room.is_ok().then_some(bytes)
                };
                let other = Arc::clone(&queue);
                let reserving = thread::spawn(move || reserve(&other, a));
                let in_here = reserve(&queue, b);
                let in_there = reserving.join().unwrap();
                let inside = [in_here, in_there].into_iter().flatten();
                let (items, bytes) = (inside.clone().count(), inside.clone().sum::<usize>());
                assert!(bytes <= 100, "{bytes} bytes in a queue for 100");
                // Turning back takes no room from who comes later, nor, if strict, meanwhile.
                assert!(items == 2 || !both_fit);
                assert!(items >= 1 || !is_strict);
                assert_eq!(queue.load(), Load { items, bytes });
                inside.for_each(|bytes| queue.unreserve(Weight::of_bytes(bytes)));
                assert_eq!(queue.load(), Load::default());
            });
        }
    }
}

/// Goal: Q5: of each batch the newest letter stays linked, emptied, while the next comes; through a
/// park, and whether the queue is shut over opened letters, over some that are not, or over both.
#[test]
fn an_emptied_letter_stays_until_the_word_has_moved_on() {
    for opened_at_most in 1..4 {
        loom::model(move || {
            let world = World::new(8);
            world.send(10).unwrap();
            let other = Arc::clone(&world);
            let sender = thread::spawn(move || {
                other.send(1).unwrap();
                other.send(2).unwrap();
            });
            let mut opened = Vec::new();
            for _ in 0..opened_at_most {
                // SAFETY: nobody else runs the process.
                let letter = unsafe { world.queue.pop::<u64>(&world.taken, |_| ()) };
                opened.extend(letter.map(|(number, _)| number));
            }
            assert!(world.queue.try_park());
            sender.join().unwrap();
            assert_eq!(opened, [10, 1, 2][..opened.len()]);
            assert_eq!(opened.len() + world.end(), 3);
        });
    }
}
