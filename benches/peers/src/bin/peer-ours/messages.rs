//! Actors that only send: balls, tokens, drips, blocks.

use evenkeel_peers::{Done, Sum, checksum, fill};
use evenkeel_runtime::{Actor, Address, Ctx, Flow, Message};

use crate::drip;

/// Starts an actor.
pub(crate) enum Go {
    Now,
}

impl Message for Go {}

pub(crate) enum Ball {
    Meet(Address<Ball>),
    /// The ball, and how often it still flies.
    Throw(u64),
}

impl Message for Ball {}

pub(crate) struct Player {
    other: Option<Address<Ball>>,
    done: Done,
}

impl Player {
    pub(crate) fn new(done: &Done) -> Self {
        Self { other: None, done: done.clone() }
    }
}

impl Actor for Player {
    type Message = Ball;

    fn handle(&mut self, ball: Ball, _ctx: &mut Ctx<'_, Ball>) -> Flow {
        match ball {
            Ball::Meet(other) => self.other = Some(other),
            Ball::Throw(0) => self.done.send(()).expect("the main thread waits"),
            Ball::Throw(left) => {
                let other = self.other.as_ref().expect("they meet before the first throw");
                other.send(Ball::Throw(left - 1)).expect("one ball is in the air");
            }
        }
        Flow::Next
    }
}

pub(crate) enum Step {
    Join(Address<Step>),
    /// A token, and how many hops it has left.
    Token(u64),
}

impl Message for Step {}

pub(crate) struct Ring {
    next: Option<Address<Step>>,
    done: Done,
}

impl Ring {
    pub(crate) fn new(done: &Done) -> Self {
        Self { next: None, done: done.clone() }
    }
}

impl Actor for Ring {
    type Message = Step;

    fn handle(&mut self, step: Step, _ctx: &mut Ctx<'_, Step>) -> Flow {
        match step {
            Step::Join(next) => self.next = Some(next),
            Step::Token(0) => self.done.send(()).expect("the main thread waits"),
            Step::Token(left) => {
                let next = self.next.as_ref().expect("joined before the first token");
                next.send(Step::Token(left - 1)).expect("all tokens have room");
            }
        }
        Flow::Next
    }
}

pub(crate) struct Drip(pub(crate) u64);

impl Message for Drip {}

pub(crate) struct Sink {
    left: u64,
    done: Done,
}

impl Sink {
    pub(crate) fn new(left: u64, done: &Done) -> Self {
        Self { left, done: done.clone() }
    }
}

impl Actor for Sink {
    type Message = Drip;

    fn handle(&mut self, drip: Drip, _ctx: &mut Ctx<'_, Drip>) -> Flow {
        self.left -= drip.0;
        if self.left == 0 {
            self.done.send(()).expect("the main thread waits");
            return Flow::Stop;
        }
        Flow::Next
    }
}

/// Sends until its quantum is used up or the mailbox is full, and goes on next turn.
pub(crate) struct Source {
    pub(crate) to: Address<Drip>,
    pub(crate) left: u64,
}

impl Actor for Source {
    type Message = Go;

    fn handle(&mut self, _go: Go, ctx: &mut Ctx<'_, Go>) -> Flow {
        self.resume(ctx)
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        while self.left > 0 {
            if ctx.left() == 0 || !drip(&self.to) {
                return Flow::More;
            }
            ctx.consume(1);
            self.left -= 1;
        }
        Flow::Stop
    }
}

/// As [`Source`], to many in turn.
pub(crate) struct Spread {
    pub(crate) to: Vec<Address<Drip>>,
    pub(crate) left: u64,
}

impl Actor for Spread {
    type Message = Go;

    fn handle(&mut self, _go: Go, ctx: &mut Ctx<'_, Go>) -> Flow {
        self.resume(ctx)
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        while self.left > 0 {
            let next = usize::try_from(self.left).expect("a count of messages") % self.to.len();
            if ctx.left() == 0 || !drip(&self.to[next]) {
                return Flow::More;
            }
            ctx.consume(1);
            self.left -= 1;
        }
        Flow::Stop
    }
}

pub(crate) struct Block(Vec<u8>);

impl Message for Block {
    fn size_bytes(&self) -> usize {
        self.0.len()
    }
}

/// Makes blocks. One that the mailbox gives back is offered again next turn.
pub(crate) struct Writer {
    pub(crate) to: Address<Block>,
    pub(crate) next: u64,
    pub(crate) count: u64,
    pub(crate) refused: Option<Block>,
}

impl Actor for Writer {
    type Message = Go;

    fn handle(&mut self, _go: Go, ctx: &mut Ctx<'_, Go>) -> Flow {
        self.resume(ctx)
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        while self.next < self.count {
            let block = self.refused.take().unwrap_or_else(|| Block(fill(self.next)));
            if let Err(error) = self.to.send(block) {
                self.refused = Some(error.into_inner());
                return Flow::More;
            }
            self.next += 1;
            if ctx.left() == 0 {
                return Flow::More;
            }
            ctx.consume(100);
        }
        Flow::Stop
    }
}

pub(crate) struct Reader {
    pub(crate) left: u64,
    pub(crate) total: u64,
    pub(crate) sum: Sum,
}

impl Actor for Reader {
    type Message = Block;

    fn handle(&mut self, block: Block, ctx: &mut Ctx<'_, Block>) -> Flow {
        self.total ^= checksum(&block.0);
        ctx.consume(400);
        self.left -= 1;
        if self.left == 0 {
            self.sum.send(self.total).expect("the main thread waits");
            return Flow::Stop;
        }
        Flow::Next
    }
}
