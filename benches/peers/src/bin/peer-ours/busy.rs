//! Actors that compute: spinners, one that overruns its budget, and the ones that are probed.

use evenkeel_peers::{Counts, Probe, overrun};
use evenkeel_runtime::{Actor, Ctx, Flow, Message};

use crate::messages::Go;

/// Nominal reductions of a unit: 1 us at 25 ns each.
const UNIT_REDUCTIONS: u32 = 40;

/// Computes for ever, in quanta.
pub(crate) struct Busy {
    pub(crate) actor: usize,
    pub(crate) counts: Counts,
    pub(crate) units: u32,
}

impl Actor for Busy {
    type Message = Go;

    fn handle(&mut self, _go: Go, _ctx: &mut Ctx<'_, Go>) -> Flow {
        Flow::More
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, Go>) -> Flow {
        while ctx.left() > 0 {
            self.counts.work(self.actor, self.units);
            ctx.consume(UNIT_REDUCTIONS * self.units);
        }
        Flow::More
    }

    fn start(&mut self, _ctx: &mut Ctx<'_, Go>) -> Flow {
        Flow::More
    }
}

/// Does not look at what is left of its turn, and never ends.
pub(crate) struct Overrunner;

impl Actor for Overrunner {
    type Message = Go;

    fn handle(&mut self, go: Go, ctx: &mut Ctx<'_, Go>) -> Flow {
        overrun();
        ctx.me().send(go).expect("its mailbox is empty");
        Flow::Next
    }
}

pub(crate) struct Request(pub(crate) Probe);

impl Message for Request {}

pub(crate) struct Echo;

impl Actor for Echo {
    type Message = Request;

    fn handle(&mut self, request: Request, _ctx: &mut Ctx<'_, Request>) -> Flow {
        request.0.answer();
        Flow::Next
    }
}
