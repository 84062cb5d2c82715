//! What became of every letter, life and monitor.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_runtime::Message;

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Under,
    /// Its sender waits for room, and gives it up when its own life ends.
    Waiting,
    Withdrawn,
    Handled,
    /// The runtime counted it as a dead letter.
    Buried,
    /// The sender got it back.
    Refused,
}

/// A monitor that a life has set.
pub(crate) struct Watch {
    watcher: usize,
    life: usize,
    target: usize,
    /// Lives of the target that were over then.
    ended: usize,
    is_told: bool,
    is_taken_back: bool,
}

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) fates: Vec<Fate>,
    /// The last letter that one actor sent directly to another and that was handled; where letters
    /// with a key take each other's places, by key.
    last: BTreeMap<(usize, usize, Option<u64>), usize>,
    pub(crate) lives: usize,
    /// By clerk: the life that goes on, and how many are over.
    present: BTreeMap<usize, usize>,
    ended: BTreeMap<usize, usize>,
    pub(crate) watches: Vec<Watch>,
    /// How often a sender had to wait for room.
    pub(crate) waits: usize,
    /// What went wrong: a panic in an actor would only be its restart.
    pub(crate) wrong: Vec<String>,
}

/// Writes down every letter's fate, once.
#[derive(Default)]
pub(crate) struct Post(Mutex<Book>);

impl Post {
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, number: usize, fate: Fate) {
        let before = std::mem::replace(&mut self.book().fates[number], fate);
        let is_first = matches!(before, Fate::Under | Fate::Waiting);
        self.check(is_first, || format!("letter {number} is {fate:?} after it was {before:?}"));
    }

    pub(crate) fn check(&self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            let what = what();
            self.book().wrong.push(what);
        }
    }

    /// It waits for room from now on; or it has got it, if nothing has become of it since.
    pub(crate) fn waits(&self, number: usize, is_waiting: bool) {
        let fate = &mut self.book().fates[number];
        match (*fate, is_waiting) {
            (Fate::Under, true) => *fate = Fate::Waiting,
            (Fate::Waiting, false) => *fate = Fate::Under,
            _ => {}
        }
    }

    /// A life sets a monitor; says its number.
    pub(crate) fn watch(&self, life: &Life, target: usize) -> usize {
        let book = &mut *self.book();
        let ended = book.ended.get(&target).copied().unwrap_or(0);
        let (watcher, life) = (life.index, life.number);
        let watch = Watch { watcher, life, target, ended, is_told: false, is_taken_back: false };
        book.watches.push(watch);
        book.watches.len() - 1
    }

    /// B1: once.
    pub(crate) fn tell(&self, watch: usize) {
        let was_told = std::mem::replace(&mut self.book().watches[watch].is_told, true);
        self.check(!was_told, || format!("monitor {watch} tells twice"));
    }

    pub(crate) fn take_back(&self, watch: usize) {
        self.book().watches[watch].is_taken_back = true;
    }

    /// B1 at rest: who still lives and watches has been told, if what it watches has ended.
    pub(crate) fn check_watches(&self, is_finished: impl Fn(usize) -> bool) {
        let untold = |book: &Book| {
            let is_untold = |watch: &Watch| {
                let is_over = book.ended.get(&watch.target).is_some_and(|&e| e > watch.ended);
                let is_watching = book.present.get(&watch.watcher) == Some(&watch.life);
                let is_due = is_over || is_finished(watch.target);
                is_due && is_watching && !watch.is_told && !watch.is_taken_back
            };
            book.watches.iter().position(is_untold)
        };
        let untold = untold(&self.book());
        self.check(untold.is_none(), || format!("monitor {untold:?} does not tell"));
    }
}

/// A life of a clerk, from when it is made until its state is dropped.
pub(crate) struct Life {
    /// Of the clerk.
    pub(crate) index: usize,
    /// Different for every life of every clerk.
    pub(crate) number: usize,
    pub(crate) post: Arc<Post>,
}

impl Life {
    pub(crate) fn begin(index: usize, post: &Arc<Post>) -> Self {
        let book = &mut *post.book();
        book.lives += 1;
        let before = book.present.insert(index, book.lives);
        if let Some(before) = before {
            book.wrong.push(format!("life {before} goes on beside life {}", book.lives));
        }
        Self { index, number: book.lives, post: Arc::clone(post) }
    }

    /// Checks that a letter may be handled here, and notes that it is.
    pub(crate) fn receive(&self, letter: &Letter, coalesces: bool) {
        let post = &self.post;
        post.note(letter.number, Fate::Handled);
        if let From::Life(life) = letter.from {
            let number = self.number;
            post.check(life == number, || format!("life {life} ordered it, not {number}"));
        }
        let From::Sender(from) = letter.from else { return };
        let key = letter.key.filter(|_| coalesces);
        let before = post.book().last.insert((from, self.index, key), letter.number);
        let is_in_order = before < Some(letter.number);
        post.check(is_in_order, || format!("letter {} is out of order", letter.number));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let book = &mut *self.post.book();
        book.present.remove(&self.index);
        *book.ended.entry(self.index).or_default() += 1;
    }
}

#[derive(Clone, Copy)]
pub(crate) enum From {
    /// An actor, or the world outside, that sent it directly.
    Sender(usize),
    /// A life of the receiver that ordered it.
    Life(usize),
}

pub(crate) struct Letter {
    pub(crate) number: usize,
    pub(crate) from: From,
    key: Option<u64>,
    pub(crate) hops: u32,
    post: Arc<Post>,
}

impl Letter {
    pub(crate) fn new(from: From, hops: u32, post: &Arc<Post>) -> Self {
        let fates = &mut post.book().fates;
        fates.push(Fate::Under);
        let number = fates.len() - 1;
        // Every second one may take another's place.
        let key = (number.is_multiple_of(2)).then_some(number as u64 / 2 % 3);
        Self { number, from, key, hops, post: Arc::clone(post) }
    }
}

impl Message for Letter {
    fn coalesce_key(&self) -> Option<u64> {
        self.key
    }

    /// The runtime asks for it when it counts a dead letter, and at no other time.
    fn kind(&self) -> &'static str {
        self.post.note(self.number, Fate::Buried);
        "letter"
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        let book = &mut *self.post.book();
        match &mut book.fates[self.number] {
            Fate::Under => book.wrong.push(format!("letter {} vanished", self.number)),
            fate @ Fate::Waiting => *fate = Fate::Withdrawn,
            Fate::Withdrawn | Fate::Handled | Fate::Buried | Fate::Refused => {}
        }
    }
}
