//! A future under a supervisor: made anew by its factory for each of its lives.

use std::{future::Future, pin::Pin};

use super::{AtRestart, actor::Signal};
use crate::{
    cell::{Body, Order, Turn, Verdict},
    message::Message,
    process::{Inbox, pending, poll_once},
    status::Exit,
};

enum Phase {
    /// It is made and polled.
    New,
    /// The same, and its supervisor waits to be told.
    Anew,
    Running,
    /// Its life has ended; the next begins when its supervisor says so.
    Down,
}

pub(crate) struct FutureChild<F, Make> {
    make: Make,
    future: Option<Pin<Box<F>>>,
    phase: Phase,
    at_restart: AtRestart,
    is_suspended: bool,
}

impl<F, Make> FutureChild<F, Make> {
    pub(crate) const fn new(make: Make, at_restart: AtRestart) -> Self {
        Self { make, future: None, phase: Phase::New, at_restart, is_suspended: false }
    }

    /// Carries out what was ordered; `Some` ends the turn.
    fn obey<M: Message>(&mut self, turn: &Turn<'_, M>) -> Option<Verdict> {
        while let Some(order) = turn.header().next_order() {
            match order {
                Order::Suspend => self.is_suspended = true,
                Order::Resume => self.is_suspended = false,
                Order::End => return Some(Verdict::Done(Exit::Killed)),
                // It has no life that could end.
                Order::Kill | Order::Broken(_) | Order::Halt
                    if matches!(self.phase, Phase::Down) => {}
                Order::Kill => self.fail(turn, &Exit::Killed),
                Order::Broken(exit) => self.fail(turn, &exit),
                Order::Halt => {
                    self.end_life(turn, &Exit::Killed);
                    turn.header().report(|child| Signal::Halted { child });
                }
                Order::Begin => {
                    if self.at_restart == AtRestart::Drop {
                        turn.bury_waiting();
                    }
                    self.phase = Phase::Anew;
                }
                Order::Visit(visit) => visit(None),
            }
        }
        None
    }

    fn end_life<M: Message>(&mut self, turn: &Turn<'_, M>, exit: &Exit) {
        self.phase = Phase::Down;
        let future = self.future.take();
        turn.header().end_life(|| drop(future), exit);
    }

    fn fail<M: Message>(&mut self, turn: &Turn<'_, M>, exit: &Exit) {
        self.end_life(turn, exit);
        turn.header().report_crash(exit);
    }
}

impl<M, F, Make> Body<M> for FutureChild<F, Make>
where
    M: Message,
    F: Future<Output = ()> + Send + 'static,
    Make: FnMut(Inbox<M>) -> F + Send + 'static,
{
    fn turn(&mut self, turn: &Turn<'_, M>) -> Verdict {
        if let Some(verdict) = self.obey(turn) {
            return verdict;
        }
        let header = turn.header();
        let is_stopping = header.is_stopping();
        match self.phase {
            _ if self.is_suspended && !is_stopping => return Verdict::Parked,
            Phase::Down if is_stopping => return Verdict::Done(Exit::Stopped),
            Phase::Down => return Verdict::Parked,
            // It need not be made only to end, but what came before the stop is handled.
            Phase::New | Phase::Anew if is_stopping && !turn.has_letters() => {
                return Verdict::Done(Exit::Stopped);
            }
            Phase::New | Phase::Anew | Phase::Running => {}
        }
        let (make, future) = (&mut self.make, &mut self.future);
        let polled = poll_once(turn, |cx| {
            let make = || Box::pin(make(Inbox::new(turn.me())));
            future.get_or_insert_with(make).as_mut().poll(cx)
        });
        match polled {
            Ok(polled) => {
                if let Phase::Anew = self.phase {
                    header.report(|child| Signal::Begun { child });
                }
                self.phase = Phase::Running;
                // A stop is a poll with the mailbox closed, and then the end.
                if polled.is_ready() || is_stopping {
                    return Verdict::Done(Exit::Stopped);
                }
                pending()
            }
            Err(reason) if is_stopping => Verdict::Done(Exit::Panicked(reason)),
            Err(reason) => {
                self.fail(turn, &Exit::Panicked(reason));
                Verdict::Parked
            }
        }
    }
}
