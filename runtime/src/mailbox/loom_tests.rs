//! Every order of those who wait for room and of those who make it, by loom: `make loom`.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake},
};

use loom::thread;

use super::*;
use crate::{
    cell::{Body, Turn, Verdict, occupied},
    class::Class,
    inline::Inline,
    status::Exit,
    sync::model,
    system::{Spawn, System},
};

struct Letter;

impl Message for Letter {}

/// Takes all that waits.
struct Reader;

impl Body<Letter> for Reader {
    fn turn(&mut self, turn: &Turn<'_, Letter>) -> Verdict {
        while turn.pop().is_some() {}
        if turn.header().is_stopping() { Verdict::Done(Exit::Stopped) } else { Verdict::Idle }
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// A sender that waits for room, polled by hand.
struct Sender {
    sending: Pin<Box<dyn Future<Output = Result<(), SendError<Letter>>>>>,
    woken: Arc<Woken>,
    sent: Option<Result<(), Undelivered>>,
}

impl Sender {
    fn new(address: &Address<Letter>) -> Self {
        let address = address.clone();
        let sending = Box::pin(async move { address.send_when_room(Letter).await });
        Self { sending, woken: Arc::default(), sent: None }
    }

    fn poll(mut self) -> Self {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        self.woken.0.store(false, SeqCst);
        if let Poll::Ready(sent) = self.sending.as_mut().poll(&mut cx) {
            self.sent = Some(sent.map_err(|error| error.reason()));
        }
        self
    }

    fn waits(&self) -> bool {
        self.sent.is_none()
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(SeqCst)
    }
}

/// A process with room for one letter, and one in it.
fn full() -> (Inline, Address<Letter>) {
    let inline = System::inline().expect("the machine gives a seed");
    let system = inline.system();
    let spec =
        MailboxSpec { name: "one", items_max: 1, bytes_max: 1 << 10, overflow: Overflow::Await };
    let address = occupied(system.clone(), &spec, Reader);
    system.give_birth(Spawn::new("one", Class::Net), address.task(), system.next_id());
    address.send(Letter).unwrap();
    (inline, address)
}

fn run(inline: &Inline) {
    let system = inline.system();
    while system.single().expect("it is inline").step(system) {}
}

/// M4: by the time the process rests, its mailbox empty, whoever waits has been woken; and all get
/// in, one after another.
fn all_get_in(inline: &Inline, mut waiting: Vec<Sender>) {
    run(inline);
    while !waiting.is_empty() {
        assert!(waiting.iter().all(|one| !one.waits() || one.is_woken()), "waits beside room");
        waiting.retain(Sender::waits);
        waiting = waiting.into_iter().map(Sender::poll).collect();
        run(inline);
    }
}

/// Goal: M4 for one that waits beside the reader.
#[test]
fn who_waits_is_woken_when_room_comes() {
    loom::model(|| {
        let (inline, address) = full();
        let sender = Sender::new(&address);
        let sending = thread::spawn(move || sender.poll());
        run(&inline);
        all_get_in(&inline, vec![sending.join().unwrap()]);
    });
}

/// Goal: M4 for two, neither of which may take the other's try for a letter.
#[test]
fn two_that_wait_do_not_hold_each_other_up() {
    model(3, || {
        let (inline, address) = full();
        let senders = [Sender::new(&address), Sender::new(&address)];
        let sending = senders.map(|sender| thread::spawn(move || sender.poll()));
        run(&inline);
        let waiting = sending.into_iter().map(|sending| sending.join().unwrap()).collect();
        all_get_in(&inline, waiting);
    });
}

/// Goal: M4 beside one that does not wait, and turns back when there is no room.
#[test]
fn who_turns_back_leaves_nobody_waiting_beside_room() {
    model(3, || {
        let (inline, address) = full();
        let sender = Sender::new(&address);
        let sending = thread::spawn(move || sender.poll());
        let other = address.clone();
        let trying = thread::spawn(move || drop(other.send(Letter)));
        run(&inline);
        trying.join().unwrap();
        all_get_in(&inline, vec![sending.join().unwrap()]);
    });
}

/// Goal: who waits is told when the process ends.
#[test]
fn who_waits_is_told_of_the_end() {
    loom::model(|| {
        let (inline, address) = full();
        let sender = Sender::new(&address);
        let sending = thread::spawn(move || sender.poll());
        address.task().stop();
        let mut sender = sending.join().unwrap();
        if sender.waits() {
            assert!(sender.is_woken());
            sender = sender.poll();
        }
        // In, if it was before the stop: never, since nobody takes the letter that is there.
        assert_eq!(sender.sent, Some(Err(Undelivered::Closed)));
        run(&inline);
    });
}
