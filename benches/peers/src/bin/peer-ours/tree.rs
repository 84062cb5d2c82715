//! Actors that spawn: the tree, and the nursery of idle ones.

use evenkeel_peers::{
    Births, Sum,
    programs::{CHILDREN, ITEMS_MAX},
};
use evenkeel_runtime::{Actor, Address, Ctx, Flow, Message};

use crate::{items, messages::Go, spawn};

/// What a subtree's leaves add up to.
pub(crate) struct Total(u64);

impl Message for Total {}

/// Whom a node tells its total.
#[derive(Clone)]
pub(crate) enum Parent {
    Node(Address<Total>),
    Main(Sum),
}

impl Parent {
    fn tell(&self, total: u64) {
        match self {
            Self::Node(parent) => parent.send(Total(total)).expect("ten children have room"),
            Self::Main(main) => main.send(total).expect("the main thread waits"),
        }
    }
}

/// A node of the tree over the leaves `first .. first + leaves`.
pub(crate) struct Node {
    parent: Parent,
    first: u64,
    leaves: u64,
    awaited: u64,
    total: u64,
}

impl Node {
    pub(crate) const fn new(parent: Parent, first: u64, leaves: u64) -> Self {
        Self { parent, first, leaves, awaited: CHILDREN, total: 0 }
    }
}

impl Actor for Node {
    type Message = Total;

    fn start(&mut self, ctx: &mut Ctx<'_, Total>) -> Flow {
        if self.leaves == 1 {
            self.parent.tell(self.first);
            return Flow::Stop;
        }
        let leaves = self.leaves / CHILDREN;
        for child in 0..CHILDREN {
            let me = Parent::Node(ctx.me().clone());
            let node = Self::new(me, self.first + child * leaves, leaves);
            ctx.system().spawn_once(spawn(), items(ITEMS_MAX), node);
        }
        Flow::Next
    }

    fn handle(&mut self, total: Total, _ctx: &mut Ctx<'_, Total>) -> Flow {
        self.total += total.0;
        self.awaited -= 1;
        if self.awaited > 0 {
            return Flow::Next;
        }
        self.parent.tell(self.total);
        Flow::Stop
    }
}

/// An actor that waits for a message that does not come.
pub(crate) struct Idle;

impl Actor for Idle {
    type Message = Total;

    fn start(&mut self, _ctx: &mut Ctx<'_, Total>) -> Flow {
        Births::report();
        Flow::Next
    }

    fn handle(&mut self, _total: Total, _ctx: &mut Ctx<'_, Total>) -> Flow {
        Flow::Stop
    }
}

/// The same, born without a turn.
pub(crate) struct Unstarted;

impl Actor for Unstarted {
    type Message = Total;

    const HAS_START: bool = false;

    fn handle(&mut self, _total: Total, _ctx: &mut Ctx<'_, Total>) -> Flow {
        Flow::Stop
    }
}

/// Spawns idle actors and keeps their addresses.
pub(crate) struct Nursery<F> {
    children: Vec<Address<Total>>,
    count: usize,
    make: F,
}

impl<F> Nursery<F> {
    pub(crate) fn new(count: u64, make: F) -> Self {
        let count = usize::try_from(count).expect("a count of actors");
        Self { children: Vec::with_capacity(count), count, make }
    }
}

impl<A, F> Actor for Nursery<F>
where
    A: Actor<Message = Total>,
    F: Fn() -> A + Send + 'static,
{
    type Message = Go;

    fn handle(&mut self, _go: Go, ctx: &mut Ctx<'_, Go>) -> Flow {
        self.resume(ctx)
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        while self.children.len() < self.count {
            if ctx.left() == 0 {
                return Flow::More;
            }
            ctx.consume(4);
            let child = ctx.system().spawn_once(spawn(), items(ITEMS_MAX), (self.make)());
            self.children.push(child);
        }
        Flow::Next
    }
}
