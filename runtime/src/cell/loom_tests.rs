//! Every order of those who hold a cell and of the turns in it, by loom: `make loom`.
//!
//! The cells, the registry and the run queue are the real ones, of a system on the calling thread;
//! its turns are run by any thread of a model. Loom itself reports memory of a cell that is given
//! back twice or never, and contents that are touched or dropped beside another thread's turn.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use loom::thread;

use super::*;
use crate::{
    budget,
    inline::Inline,
    limits::QUANTUM_REDUCTIONS,
    mailbox::Overflow,
    reply::reply,
    sync::{AtomicBool, model},
    system::{Spawn, System},
};

/// Counts what was dropped.
#[derive(Default)]
struct Drops {
    notes: AtomicUsize,
    bodies: AtomicUsize,
    /// An address that a turn has made of its process.
    kept: Mutex<Option<Address<Note>>>,
}

/// A message that counts when it is dropped, handled or not.
struct Note(Arc<Drops>);

impl Message for Note {}

impl Drop for Note {
    fn drop(&mut self) {
        self.0.notes.fetch_add(1, SeqCst);
    }
}

/// What the process does at the end of each turn, unless it is asked to stop.
#[derive(Clone, Copy)]
enum Ends {
    Idle,
    /// The same after it has made an address of itself, and dropped it; or kept it; or looked
    /// itself up.
    IdleAfterClone,
    IdleKept,
    IdleAfterLookup,
    Parked,
    Done,
}

/// A process that counts its turns, and looks if `news` has come.
struct Work {
    drops: Arc<Drops>,
    news: Arc<AtomicBool>,
    ends: Ends,
    has_seen: Arc<AtomicUsize>,
    is_suspended: bool,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.drops.bodies.fetch_add(1, SeqCst);
    }
}

impl Body<Note> for Work {
    fn is_born_idle(&self) -> bool {
        !matches!(self.ends, Ends::Parked | Ends::Done)
    }

    fn turn(&mut self, turn: &Turn<'_, Note>) -> Verdict {
        while let Some(order) = turn.header().next_order() {
            self.is_suspended = matches!(order, Order::Suspend);
        }
        let sees = self.is_suspended || self.news.load(Ordering::Relaxed);
        self.has_seen.store(usize::from(sees), SeqCst);
        while turn.pop().is_some() {}
        if turn.header().is_stopping() {
            return Verdict::Done(Exit::Stopped);
        }
        match self.ends {
            Ends::Idle => Verdict::Idle,
            Ends::IdleAfterClone => {
                drop(turn.me().clone());
                Verdict::Idle
            }
            Ends::IdleAfterLookup => {
                let found = turn.me().task().downgrade().upgrade();
                drop(found.expect("it runs"));
                Verdict::Idle
            }
            Ends::IdleKept => {
                *self.drops.kept.lock().unwrap() = Some(turn.me().clone());
                Verdict::Idle
            }
            Ends::Parked => Verdict::Parked,
            Ends::Done => Verdict::Done(Exit::Stopped),
        }
    }
}

struct World {
    system: System,
    drops: Arc<Drops>,
    news: Arc<AtomicBool>,
    has_seen: Arc<AtomicUsize>,
    /// Ends the system when the model does.
    _inline: Inline,
}

impl World {
    fn new() -> Self {
        let inline = System::inline().expect("the machine gives a seed");
        let (drops, has_seen) = (Arc::default(), Arc::default());
        let news = Arc::new(AtomicBool::new(false));
        Self { system: inline.system().clone(), drops, news, has_seen, _inline: inline }
    }

    /// The one process of the model.
    fn spawn(&self, ends: Ends) -> Address<Note> {
        let spec = MailboxSpec {
            name: "work",
            items_max: 4,
            bytes_max: 1 << 10,
            overflow: Overflow::Reject,
        };
        let body = Work {
            drops: Arc::clone(&self.drops),
            news: Arc::clone(&self.news),
            ends,
            has_seen: Arc::clone(&self.has_seen),
            is_suspended: false,
        };
        let address = occupied(self.system.clone(), &spec, body);
        let id = self.system.next_id();
        self.system.give_birth(Spawn::new("work", Class::Net), address.task(), id);
        address
    }

    fn note(&self) -> Note {
        Note(Arc::clone(&self.drops))
    }

    /// Turns, until nothing is runnable.
    fn run(&self) {
        run(&self.system);
    }

    /// Nobody holds the process any more: it is gone, with `notes` notes.
    fn assert_gone(&self, notes: usize) {
        assert_eq!(self.drops.bodies.load(SeqCst), 1, "bodies dropped");
        assert_eq!(self.drops.notes.load(SeqCst), notes, "notes dropped");
        assert_eq!(self.system.registry().live(), 0);
    }
}

/// As a worker: what it notes of a turn it writes at the end of the turn, before others may run the
/// process or drop it.
fn run(system: &System) {
    let single = system.single().expect("it is inline");
    while let Some(run) = single.draw(system) {
        budget::begin(QUANTUM_REDUCTIONS, Time::ZERO);
        let after = run.turn(|header| header.count(1));
        budget::end();
        if let After::Again(run) = after {
            system.schedule(run);
        }
    }
}

/// Goal: C3: an upgrade beside the last holder's end gives the whole process, or nothing.
#[test]
fn an_upgrade_beside_the_last_holder_is_whole_or_nothing() {
    loom::model(|| {
        let world = World::new();
        let address = world.spawn(Ends::Idle);
        let weak = address.task().downgrade();
        let note = world.note();
        let upgrading = thread::spawn(move || {
            if let Some(address) = weak.upgrade().map(Address::<Note>::new) {
                address.send(note).unwrap();
            }
        });
        drop(address);
        upgrading.join().unwrap();
        world.run();
        world.assert_gone(1);
    });
}

/// Goal: C4: somebody becomes a holder, wakes the process, lets go and runs it, beside the end of
/// the last holder: that finds it as it was, running, or waiting again. So do turns that make an
/// address of the process, and drop it or keep it.
#[test]
fn a_holder_comes_and_goes_beside_the_last_one() {
    for ends in [Ends::Idle, Ends::IdleAfterClone, Ends::IdleKept, Ends::IdleAfterLookup] {
        model(4, move || {
            let world = World::new();
            let address = world.spawn(ends);
            let weak = address.task().downgrade();
            let (note, system) = (world.note(), world.system.clone());
            let passing = thread::spawn(move || {
                if let Some(address) = weak.upgrade().map(Address::<Note>::new) {
                    address.send(note).unwrap();
                    drop(address);
                    run(&system);
                }
            });
            drop(address);
            passing.join().unwrap();
            let kept = world.drops.kept.lock().unwrap().take();
            if let Some(address) = &kept {
                address.send(world.note()).unwrap();
            }
            let notes = 1 + usize::from(kept.is_some());
            drop(kept);
            world.run();
            // Kept again by the turn that the second note gave it.
            drop(world.drops.kept.lock().unwrap().take());
            world.assert_gone(notes);
        });
    }
}

/// Goal: C4: who makes a process runnable beside the end of its system, or ends the system too,
/// leaves nothing behind: it ends once, and who asked is told, though it is held.
#[test]
fn a_letter_beside_the_end_of_the_system() {
    for ends_too in [false, true] {
        model(3, move || {
            let world = World::new();
            let address = world.spawn(Ends::Idle);
            let (telling, mut answer) = reply();
            address.task().on_exit(telling);
            let (sender, note, system) = (address.clone(), world.note(), world.system.clone());
            let other = thread::spawn(move || {
                if ends_too {
                    drop(note);
                    system.single().unwrap().end_all(&system);
                } else {
                    drop(sender.send(note));
                }
            });
            world.system.single().unwrap().end_all(&world.system);
            other.join().unwrap();
            assert_eq!(answer.try_take(), Some(Ok(Exit::Stopped)));
            drop(address);
            world.assert_gone(1);
        });
    }
}

/// Goal: C4: the last holder ends beside a turn that makes an address of the process and drops it.
#[test]
fn the_last_holder_goes_beside_a_turn() {
    for ends in [Ends::Idle, Ends::IdleAfterClone, Ends::Done] {
        loom::model(move || {
            let world = World::new();
            let address = world.spawn(ends);
            if matches!(ends, Ends::Idle | Ends::IdleAfterClone) {
                address.send(world.note()).unwrap();
            }
            let system = world.system.clone();
            let running = thread::spawn(move || run(&system));
            drop(address);
            running.join().unwrap();
            world.run();
            world.assert_gone(usize::from(!matches!(ends, Ends::Done)));
        });
    }
}

/// Goal: C3 for the registry, which upgrades under its lock and gives up its weak reference.
#[test]
fn a_look_through_the_registry_beside_the_last_holder() {
    loom::model(|| {
        let world = World::new();
        let address = world.spawn(Ends::Idle);
        let system = world.system.clone();
        let looking = thread::spawn(move || system.registry().all().len());
        drop(address);
        assert!(looking.join().unwrap() <= 1);
        world.run();
        world.assert_gone(0);
    });
}

/// Goal: C3: the last waker is dropped beside the turn after which nobody else holds the process.
#[test]
fn a_waker_goes_beside_the_end_of_a_turn() {
    for ends in [Ends::Parked, Ends::Done] {
        loom::model(move || {
            let world = World::new();
            let address = world.spawn(ends);
            let waker = address.task().waker();
            let (telling, mut answer) = reply();
            address.task().on_exit(telling);
            address.send(world.note()).unwrap();
            drop(address);
            let dropping = thread::spawn(move || drop(waker));
            world.run();
            dropping.join().unwrap();
            world.assert_gone(1);
            let exit = match ends {
                Ends::Done => Exit::Stopped,
                _ => Exit::Unreachable,
            };
            assert_eq!(answer.try_take(), Some(Ok(exit)));
        });
    }
}

/// Goal: M3 and C3: what was done before a wake-up is seen by a turn, though the waker was the last
/// holder and the process was about to wait.
#[test]
fn a_wake_up_beside_the_end_of_a_turn_is_seen() {
    loom::model(|| {
        let world = World::new();
        let address = world.spawn(Ends::Parked);
        let waker = address.task().waker();
        drop(address);
        let news = Arc::clone(&world.news);
        let waking = thread::spawn(move || {
            news.store(true, Ordering::Relaxed);
            waker.wake();
        });
        world.run();
        waking.join().unwrap();
        world.run();
        assert_eq!(world.has_seen.load(SeqCst), 1, "the news");
        world.assert_gone(0);
    });
}

/// Goal: a wake-up, a letter and the end of the process: nothing runs after the end, and the letter
/// is dropped once.
#[test]
fn a_letter_beside_the_end_of_the_process() {
    loom::model(|| {
        let world = World::new();
        let address = world.spawn(Ends::Done);
        let (note, sender) = (world.note(), address.clone());
        let sending = thread::spawn(move || drop(sender.send(note)));
        world.run();
        sending.join().unwrap();
        assert!(address.task().is_done());
        assert!(world.system.single().unwrap().draw(&world.system).is_none(), "runs after its end");
        drop(address);
        world.assert_gone(1);
    });
}

/// Goal: C1 and C2: two threads that send and run turns; each turn sees the one before.
#[test]
fn turns_on_two_threads_follow_each_other() {
    model(4, || {
        let world = World::new();
        let address = world.spawn(Ends::Idle);
        let (note, sender, system) = (world.note(), address.clone(), world.system.clone());
        let other = thread::spawn(move || {
            sender.send(note).unwrap();
            run(&system);
        });
        address.send(world.note()).unwrap();
        drop(address);
        world.run();
        other.join().unwrap();
        world.run();
        world.assert_gone(2);
    });
}

/// Goal: an order that is given beside the end of a turn is obeyed.
#[test]
fn an_order_beside_the_end_of_a_turn_is_obeyed() {
    loom::model(|| {
        let world = World::new();
        let address = world.spawn(Ends::Parked);
        let other = address.clone();
        let ordering = thread::spawn(move || other.task().order(Order::Suspend));
        world.run();
        ordering.join().unwrap();
        world.run();
        assert_eq!(world.has_seen.load(SeqCst), 1, "the order");
        drop(address);
        world.assert_gone(0);
    });
}

/// Goal: who asks to be told of the end, beside the end, is told (the fences of `extras` and
/// `set_done`).
#[test]
fn who_asks_beside_the_end_is_told() {
    loom::model(|| {
        let world = World::new();
        let address = world.spawn(Ends::Done);
        let other = address.clone();
        let asking = thread::spawn(move || {
            let (telling, answer) = reply();
            other.task().on_exit(telling);
            answer
        });
        world.run();
        let mut answer = asking.join().unwrap();
        let told = answer.try_take();
        let is_told = [Exit::Stopped, Exit::NoProcess].map(|exit| Some(Ok(exit))).contains(&told);
        assert!(is_told, "{told:?}");
        drop(address);
        world.assert_gone(0);
    });
}

/// Goal: two threads that need what most processes never need, at once, get the same.
#[test]
fn two_who_need_the_extras_first_share_them() {
    loom::model(|| {
        let world = World::new();
        let address = world.spawn(Ends::Idle);
        let other = address.clone();
        let ask = |address: &Address<Note>| {
            let (telling, answer) = reply();
            address.task().on_exit(telling);
            answer
        };
        let asking = thread::spawn(move || ask(&other));
        let mut answers = [ask(&address), asking.join().unwrap()];
        drop(address);
        world.assert_gone(0);
        for answer in &mut answers {
            assert_eq!(answer.try_take(), Some(Ok(Exit::Unreachable)));
        }
    });
}

/// Goal: the slot of who runs next: the owner puts two in beside a thief, and each is handed out
/// once.
#[test]
fn a_slot_hands_each_run_out_once() {
    loom::model(|| {
        let worlds = [World::new(), World::new()];
        let tasks = worlds.each_ref().map(|world| world.spawn(Ends::Idle).task().clone());
        let slot = Arc::new(RunSlot::default());
        let same = Arc::clone(&slot);
        let thief = thread::spawn(move || same.take());
        let displaced = tasks.each_ref().map(|task| {
            assert!(task.queue.wake(), "it was idle");
            slot.put(Run::of(task))
        });
        let stolen = thief.join().unwrap();
        let left = [slot.take(), slot.take()];
        let found = displaced.iter().chain(&left).chain([&stolen]).flatten().count();
        assert_eq!(found, 2);
        drop((displaced, left, stolen, tasks));
        for world in &worlds {
            world.assert_gone(0);
        }
    });
}
