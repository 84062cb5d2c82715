//! What code of the user's does where no handler's fence is around it: drops, wakers, payloads.

use std::{
    panic::panic_any,
    sync::{Arc, mpsc},
    task::{Context, Wake, Waker},
    time::{Duration, Instant},
};

use evenkeel_runtime::{
    Actor, Class, Ctx, Flow, MailboxSpec, Message, Overflow, Spawn, System, ThreadsConfig,
};

const BOX: MailboxSpec =
    MailboxSpec { name: "box", items_max: 1, bytes_max: 1 << 20, overflow: Overflow::Await };

/// On one worker: where that is lost, nothing runs any more.
fn system() -> System {
    let config =
        ThreadsConfig { workers: 1, compute_threads: 1, blocking_threads: 1, seed: Some(1) };
    System::threads(config).expect("threads can be started")
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb was dropped");
    }
}

/// Panics when it is woken.
struct Alarm;

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        panic!("an alarm was woken");
    }
}

struct Note(bool);

impl Message for Note {
    fn cost(&self) -> u32 {
        0
    }
}

/// Panics with a bomb at a note that says so.
struct Reader;

impl Actor for Reader {
    type Message = Note;

    fn handle(&mut self, Note(is_bomb): Note, _ctx: &mut Ctx<'_, Note>) -> Flow {
        if is_bomb {
            panic_any(Bomb);
        }
        Flow::Next
    }
}

/// Goal: no panic outside of a handler ends a worker, nor keeps the system from stopping: of a
/// result nobody waits for, of what a panic carries, of the waker of a timer and of one who waits
/// for room.
#[test]
fn a_panic_outside_of_a_handler_ends_no_worker() {
    let system = system();
    let goes_on = |what: &str| {
        let next = system.spawn_future(Spawn::new("next", Class::Call), async {});
        assert_eq!(next.wait(), Ok(()), "after {what}");
    };
    let alarm = Waker::from(Arc::new(Alarm));

    drop(system.spawn_future(Spawn::new("bomb", Class::Call), async { Bomb }));
    goes_on("a result that nobody waits for");

    let (reader, mailbox) = system.mailbox(BOX);
    let handle = system.spawn(Spawn::new("reader", Class::Call), mailbox, || Reader);
    reader.send(Note(true)).expect("there is room");
    handle.exited().wait().expect("it ends");
    goes_on("a panic with a bomb");

    let inside = system.clone();
    let woken = alarm.clone();
    let sleeper = system.spawn_future(Spawn::new("sleeper", Class::Call), async move {
        let mut sleep = Box::pin(inside.sleep(Duration::from_millis(1)));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(&woken)).is_pending());
        let before = inside.now();
        while inside.now() - before < Duration::from_millis(2) {
            evenkeel_runtime::yield_now().await;
        }
    });
    assert_eq!(sleeper.wait(), Ok(()));
    goes_on("the waker of a timer");

    let (reader, mailbox) = system.mailbox(BOX);
    reader.send(Note(false)).expect("there is room");
    let waiting = reader.clone();
    let mut sending = Box::pin(waiting.send_when_room(Note(false)));
    assert!(sending.as_mut().poll(&mut Context::from_waker(&alarm)).is_pending());
    let handle = system.spawn(Spawn::new("reader", Class::Call), mailbox, || Reader);
    goes_on("the waker of who waits for room");
    assert!(handle.exited().wait().is_ok(), "the process whose turn it was has ended");

    assert!(system.status().panics > 0);
    let began = Instant::now();
    system.stop(Duration::from_mins(10));
    assert!(began.elapsed() < Duration::from_mins(5), "the worker was not counted down");
    assert_eq!(system.status().actors_live, 0);
}

/// Sends itself the next message, which says that it costs nothing.
struct Echo;

impl Actor for Echo {
    type Message = Note;

    fn handle(&mut self, note: Note, ctx: &mut Ctx<'_, Note>) -> Flow {
        ctx.me().send(note).expect("its room is free");
        Flow::Next
    }
}

/// Goal: messages that cost nothing end a turn as well, where only counts are charged.
#[test]
fn free_messages_end_a_turn() {
    let mut inline = System::inline().expect("the machine gives a seed");
    let system = inline.system().clone();
    let (echo, mailbox) = system.mailbox(BOX);
    let _echo = system.spawn(Spawn::new("echo", Class::Call), mailbox, || Echo);
    echo.send(Note(false)).expect("there is room");
    let other = system.spawn_future(Spawn::new("other", Class::Call), async {});
    assert_eq!(inline.run_until(other), Ok(()));
}

/// Takes long to drop.
struct Slow(mpsc::Sender<()>);

impl Actor for Slow {
    type Message = Note;

    fn handle(&mut self, _note: Note, _ctx: &mut Ctx<'_, Note>) -> Flow {
        Flow::Next
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        self.0.send(()).expect("the test waits");
    }
}

/// Goal: what is done between two turns is charged to neither, as the drop of a process that
/// nobody holds any more.
#[test]
fn a_drop_after_a_turn_is_not_charged_to_the_next() {
    let system = system();
    let (tells, told) = mpsc::channel();
    let (slow, mailbox) = system.mailbox(BOX);
    drop(system.spawn(Spawn::new("slow", Class::Call), mailbox, move || Slow(tells.clone())));
    let last = system.spawn_future(Spawn::new("last", Class::Call), async move {
        // In a turn of its own, so that it runs when the one that lets go of it has ended.
        slow.send(Note(false)).expect("there is room");
    });
    assert_eq!(last.wait(), Ok(()));
    let next = system.spawn_future(Spawn::new("next", Class::Net), async {});
    told.recv().expect("nobody holds it");
    assert_eq!(next.wait(), Ok(()));
    let busy = system.status().classes[Class::Net.index()].busy_ns;
    assert!(busy < 10_000_000, "charged {busy} ns");
    system.stop(Duration::from_secs(10));
}
