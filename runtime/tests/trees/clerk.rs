//! Clerks: actors and async actors that send each other letters, bind themselves to one another,
//! and fail.

use std::{
    panic,
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_runtime::{
    Actor, Address, Ctx, Entropy, Flow, Inbox, Monitor, Overflow, System, checkpoint, consume,
};

use crate::post::{Fate, From, Letter, Life, Post};

pub(crate) struct Tree {
    pub(crate) addresses: Mutex<Vec<Address<Letter>>>,
    pub(crate) post: Arc<Post>,
    pub(crate) panics_once_in: u64,
}

impl Tree {
    fn anybody(&self, entropy: &mut Entropy) -> (usize, Address<Letter>) {
        let addresses = self.addresses.lock().unwrap();
        let index = usize::try_from(entropy.below(addresses.len() as u64)).unwrap();
        (index, addresses[index].clone())
    }

    /// Sends directly, and sometimes without regard for room.
    fn send(&self, letter: Letter, entropy: &mut Entropy) {
        let (_, to) = self.anybody(entropy);
        if entropy.once_in(8) {
            to.insist(letter);
        } else if let Err(refused) = to.send(letter) {
            self.post.note(refused.into_inner().number, Fate::Refused);
        }
    }
}

/// A panic without the noise of the hook.
pub(crate) fn fail() -> ! {
    panic::resume_unwind(Box::new("on purpose"));
}

/// Letters that may wait for a clerk; few where senders wait for room, so that they do.
pub(crate) const fn items_max(overflow: Overflow) -> usize {
    if matches!(overflow, Overflow::Await) { 2 } else { 8 }
}

/// The rule of a clerk's mailbox.
pub(crate) const fn overflow(index: usize) -> Overflow {
    match index % 5 {
        0 => Overflow::Reject,
        1 => Overflow::DropNew,
        2 => Overflow::DropOld,
        3 => Overflow::Await,
        _ => Overflow::Coalesce,
    }
}

/// One of four clerks is an async actor.
pub(crate) const fn is_async(index: usize) -> bool {
    index % 4 == 3
}

// --- actors --------------------------------------------------------------------------------

pub(crate) struct Clerk {
    pub(crate) life: Life,
    pub(crate) coalesces: bool,
    pub(crate) tree: Arc<Tree>,
    pub(crate) watch: Option<(usize, Monitor)>,
}

impl Actor for Clerk {
    type Message = Letter;

    fn start(&mut self, ctx: &mut Ctx<'_, Letter>) -> Flow {
        self.bind(ctx);
        if ctx.entropy().once_in(40) {
            fail();
        }
        Flow::Next
    }

    fn handle(&mut self, letter: Letter, ctx: &mut Ctx<'_, Letter>) -> Flow {
        self.life.receive(&letter, self.coalesces);
        let work = ctx.entropy().below(3_000);
        ctx.consume(u32::try_from(work).unwrap());
        let copies = if letter.hops == 0 { 0 } else { ctx.entropy().below(3) };
        for _ in 0..copies {
            self.send(letter.hops - 1, ctx);
        }
        if ctx.entropy().once_in(30)
            && let Some((number, monitor)) = self.watch.take()
        {
            ctx.demonitor(&monitor);
            self.life.post.take_back(number);
        }
        if ctx.entropy().once_in(self.tree.panics_once_in) {
            fail();
        }
        if ctx.entropy().once_in(10) { Flow::More } else { Flow::Next }
    }
}

impl Clerk {
    /// Watches somebody, links itself to somebody, traps exits, or nothing of that.
    fn bind(&mut self, ctx: &mut Ctx<'_, Letter>) {
        let (target, other) = self.tree.anybody(ctx.entropy());
        let (life, post) = (self.life.number, Arc::clone(&self.life.post));
        match ctx.entropy().below(16) {
            0..4 => {
                let number = post.watch(&self.life, target);
                let monitor = ctx.monitor(&other, move |_| {
                    post.tell(number);
                    Letter::new(From::Life(life), 0, &post)
                });
                self.watch = Some((number, monitor.unwrap()));
            }
            4 => ctx.link(&other).unwrap(),
            5 => {
                ctx.trap_exits(move |_| Letter::new(From::Life(life), 0, &post));
                ctx.link(&other).unwrap();
            }
            _ => {}
        }
    }

    /// Directly, through a timer of its own, or through a job.
    fn send(&self, hops: u32, ctx: &mut Ctx<'_, Letter>) {
        let post = &self.life.post;
        match ctx.entropy().below(6) {
            0 => {
                let delay = Duration::from_micros(ctx.entropy().below(2_000));
                ctx.send_after(delay, Letter::new(From::Life(self.life.number), hops, post));
            }
            1 => {
                let letter = Letter::new(From::Life(self.life.number), hops, post);
                ctx.compute(move |_| letter, |letter| letter.expect("the job does not panic"))
                    .detach();
            }
            _ => {
                let letter = Letter::new(From::Sender(self.life.index), hops, post);
                self.tree.send(letter, ctx.entropy());
            }
        }
    }
}

// --- async actors --------------------------------------------------------------------------

/// A life of an async clerk.
pub(crate) async fn work(
    life: Life,
    coalesces: bool,
    tree: Arc<Tree>,
    system: System,
    mut entropy: Entropy,
    mut inbox: Inbox<Letter>,
) {
    if entropy.once_in(4) {
        let (target, other) = tree.anybody(&mut entropy);
        let (number, post, of) =
            (life.post.watch(&life, target), Arc::clone(&life.post), life.number);
        let tell = move |_| {
            post.tell(number);
            Letter::new(From::Life(of), 0, &post)
        };
        inbox.monitor(&other, tell).unwrap();
    }
    if entropy.once_in(40) {
        fail();
    }
    while let Some(letter) = inbox.recv().await {
        life.receive(&letter, coalesces);
        let hops = letter.hops;
        drop(letter);
        consume(u32::try_from(entropy.below(3_000)).unwrap());
        checkpoint().await;
        let copies = if hops == 0 { 0 } else { entropy.below(3) };
        for _ in 0..copies {
            let letter = Letter::new(From::Sender(life.index), hops - 1, &life.post);
            pass_on(letter, &tree, &mut entropy).await;
        }
        if entropy.once_in(12) {
            system.sleep(Duration::from_micros(entropy.below(500))).await;
        }
        if entropy.once_in(tree.panics_once_in) {
            fail();
        }
    }
}

/// Sends when there is room; but not to an async clerk, since two that wait for each other do so
/// for ever.
async fn pass_on(letter: Letter, tree: &Tree, entropy: &mut Entropy) {
    let (index, to) = tree.anybody(entropy);
    if is_async(index) {
        return tree.send(letter, entropy);
    }
    let number = letter.number;
    let overflow = overflow(index);
    if overflow == Overflow::Await && to.queued() >= items_max(overflow) {
        tree.post.book().waits += 1;
    }
    let sending = to.send_when_room(letter);
    tree.post.waits(number, true);
    let sent = sending.await;
    tree.post.waits(number, false);
    if let Err(refused) = sent {
        tree.post.note(refused.into_inner().number, Fate::Refused);
    }
}
