//! What an actor sees of the world during its turn.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{
    actor::Rare,
    address::Address,
    budget,
    compute::{JobHandle, Panicked, Yielder},
    entropy::Entropy,
    message::Message,
    system::System,
    ticket::{self, Completion, Ticket},
    time::Time,
    timers::TimerId,
};

/// The doors of one turn: clock, entropy, timers, jobs, the actor's own address.
pub struct Ctx<'a, M: Message> {
    me: &'a Address<M>,
    rare: &'a mut Option<Box<Rare>>,
}

impl<'a, M: Message> Ctx<'a, M> {
    pub(crate) const fn new(me: &'a Address<M>, rare: &'a mut Option<Box<Rare>>) -> Self {
        Self { me, rare }
    }

    /// Time since the system started; virtual when simulated.
    #[must_use]
    pub fn now(&self) -> Time {
        self.system().now()
    }

    /// Time since the Unix epoch; virtual when simulated.
    #[must_use]
    pub fn wall_clock(&self) -> Duration {
        self.system().wall_clock()
    }

    /// This actor's stream, seeded by the system's seed and the actor's number.
    pub fn entropy(&mut self) -> &mut Entropy {
        let me = self.me;
        self.rare.get_or_insert_default().entropy.get_or_insert_with(|| Box::new(me.entropy()))
    }

    /// The actor's own address.
    #[must_use]
    pub const fn me(&self) -> &Address<M> {
        self.me
    }

    /// The system that runs it.
    #[must_use]
    pub fn system(&self) -> &System {
        &self.me.task().system
    }

    /// Reductions left in this turn; 0 means: return `More`.
    #[must_use]
    pub fn left(&self) -> u32 {
        budget::left()
    }

    /// Charges what was done beyond the message's own cost.
    pub fn consume(&mut self, reductions: u32) {
        budget::consume(reductions);
    }

    /// Sends `message` to this actor at `at`. It comes even if the mailbox is full; a restart
    /// cancels it.
    pub fn send_at(&mut self, at: Time, message: M) -> TimerId {
        let (address, generation) = self.life();
        let deliver = move || address.deliver(generation, message);
        self.system().set_timer(at, Box::new(deliver))
    }

    /// As [`Ctx::send_at`], `delay` from now.
    pub fn send_after(&mut self, delay: Duration, message: M) -> TimerId {
        self.send_at(self.now() + delay, message)
    }

    /// Forgets a timer. A message that has already been sent comes nevertheless.
    pub fn cancel(&mut self, timer: TimerId) {
        self.system().cancel_timer(timer);
    }

    /// Runs `job` on the compute pool (what cannot be sliced); its result comes back as a message.
    ///
    /// Every job gives exactly one message: a panic comes back as `Err`, and so does a job that was
    /// cancelled before it began. Dropping the handle cancels the job, so an actor that keeps it
    /// takes its jobs with it when it ends; [`JobHandle::detach`] lets one run. A restart cancels
    /// the message. Jobs of one [`Share`](crate::Share) run one at a time.
    pub fn compute<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&Yielder) -> T + Send + 'static,
        into: impl FnOnce(Result<T, Panicked>) -> M + Send + 'static,
    ) -> JobHandle {
        let (address, generation) = self.life();
        let share = self.me.task().identity().share();
        self.system().start_compute(share, job, move |result| {
            address.deliver(generation, into(result));
        })
    }

    /// The same on the blocking pool (fsync, big reads).
    pub fn blocking<T: Send + 'static>(
        &mut self,
        job: impl FnOnce() -> T + Send + 'static,
        into: impl FnOnce(Result<T, Panicked>) -> M + Send + 'static,
    ) {
        let (address, generation) = self.life();
        self.system().start_blocking(job, move |result| {
            address.deliver(generation, into(result));
        });
    }

    /// For `Flow::Park`: a ticket and the thing that completes it.
    pub fn ticket(&mut self) -> (Ticket, Completion) {
        ticket::ticket(self.me.task().clone())
    }

    fn life(&self) -> (Address<M>, u32) {
        (self.me.clone(), self.me.task().generation.load(Ordering::Relaxed))
    }
}

impl<M: Message> Address<M> {
    /// The stream of the process behind this address, from its beginning.
    pub(crate) fn entropy(&self) -> Entropy {
        let header = self.task();
        header.system.actor_entropy(header.identity().id)
    }
}
