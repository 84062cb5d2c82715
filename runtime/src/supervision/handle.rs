//! How supervision trees are built.

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    actor::{Adoption, Link, Reporter, Room, Signal, SupervisorActor},
    bonds::Place,
    future::FutureChild,
    machine::{Backoff, ChildId, Intensity, Rules, Strategy},
    watch::fail_with_links,
};
use crate::{
    actor::{Actor, ActorBody},
    address::Address,
    cell::{self, Body, Task},
    class::Class,
    limits::CHILDREN_MAX,
    mailbox::{Mailbox, MailboxSpec},
    message::{Message, Never},
    process::{ActorHandle, Inbox},
    reply::{Answer, reply},
    share::Share,
    status::Exit,
    system::{Spawn, System},
};

/// A supervisor's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupervisorSpec {
    /// Name for statistics and logs.
    pub name: &'static str,
    /// What a child's failure leads to.
    pub strategy: Strategy,
    /// How much it puts up with.
    pub intensity: Intensity,
    /// How long children wait before they begin anew.
    pub backoff: Backoff,
}

impl SupervisorSpec {
    /// With 5 restarts a minute, and [`Backoff::DEFAULT`].
    #[must_use]
    pub const fn new(name: &'static str, strategy: Strategy) -> Self {
        let intensity = Intensity { max: 5, window: Duration::from_mins(1) };
        Self { name, strategy, intensity, backoff: Backoff::DEFAULT }
    }

    /// The same with another bound for failures.
    #[must_use]
    pub const fn intensity(mut self, max: u32, window: Duration) -> Self {
        self.intensity = Intensity { max, window };
        self
    }

    /// The same with other waits.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }
}

/// What becomes of the messages that wait when an actor begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtRestart {
    /// The next life handles them.
    #[default]
    Keep,
    /// They are dropped, and counted as dead letters.
    Drop,
}

/// How a child is spawned.
#[derive(Clone, Debug)]
pub struct Child {
    name: &'static str,
    class: Class,
    share: Option<Share>,
    at_restart: AtRestart,
    stop_wait: Duration,
}

impl Child {
    /// A child that keeps its mailbox, and has five seconds to stop.
    #[must_use]
    pub const fn new(name: &'static str, class: Class) -> Self {
        let stop_wait = Duration::from_secs(5);
        Self { name, class, share: None, at_restart: AtRestart::Keep, stop_wait }
    }

    /// The same in a share.
    #[must_use]
    pub fn share(mut self, share: Share) -> Self {
        self.share = Some(share);
        self
    }

    /// The same with another rule for what waits when it begins anew.
    #[must_use]
    pub const fn at_restart(mut self, at_restart: AtRestart) -> Self {
        self.at_restart = at_restart;
        self
    }

    /// The same with another time to stop: after it, it is killed.
    #[must_use]
    pub const fn stop_within(mut self, wait: Duration) -> Self {
        self.stop_wait = wait;
        self
    }
}

/// Why a supervisor takes no more children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpawnRefused {
    /// It has as many as are allowed.
    #[error("supervisor {0} has {CHILDREN_MAX} children already")]
    Full(&'static str),
    /// It has ended.
    #[error("supervisor {0} has ended")]
    Ended(&'static str),
}

/// A supervisor. Cloning it gives another handle to the same; it lives as long as it has children
/// or a handle.
#[derive(Clone)]
pub struct Supervisor {
    address: Address<Signal>,
    room: Arc<Room>,
}

impl System {
    /// Starts a supervisor with nobody above it: when it fails, the system stops.
    #[must_use]
    pub fn supervisor(&self, spec: SupervisorSpec) -> Supervisor {
        let supervisor = Supervisor::new(self, spec, true);
        let process = supervisor.address.task();
        process.extras().bonds.place = Place::Root;
        self.give_birth(Supervisor::spawn_spec(spec.name), process, self.next_id());
        supervisor
    }
}

impl Supervisor {
    fn new(system: &System, spec: SupervisorSpec, is_root: bool) -> Self {
        let SupervisorSpec { name, strategy, intensity, backoff } = spec;
        let room = Arc::<Room>::default();
        let rules = Rules { strategy, intensity, backoff, is_root };
        let actor = SupervisorActor::new(name, rules, Arc::clone(&room));
        // Signals come in beyond the bound; nobody else has the address.
        let mailbox = MailboxSpec::none(name);
        let address = cell::occupied(system.clone(), &mailbox, ActorBody::indispensable(actor));
        fail_with_links(address.task());
        Self { address, room }
    }

    const fn spawn_spec(name: &'static str) -> Spawn {
        Spawn::new(name, Class::System)
    }

    pub(crate) const fn task(&self) -> &Task {
        self.address.task()
    }

    /// Name it was started with.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.task().identity().name
    }

    /// Children that were spawned and have not ended.
    #[must_use]
    pub fn children(&self) -> usize {
        self.room.children.load(Ordering::Acquire) as usize
    }

    /// Spawns an actor under this supervisor. `factory` makes the state of each of its lives, in
    /// its own turn. Every life has the same address and number.
    ///
    /// # Errors
    ///
    /// [`SpawnRefused`]; the mailbox is closed then.
    pub fn spawn<A: Actor>(
        &self,
        child: Child,
        mailbox: Mailbox<A::Message>,
        factory: impl FnMut() -> A + Send + 'static,
    ) -> Result<ActorHandle, SpawnRefused> {
        let body = ActorBody::supervised(factory, child.at_restart);
        self.place(child, mailbox, Box::new(body))
    }

    /// Spawns an async actor under this supervisor; `factory` makes the future of each of its
    /// lives. A future that ends is a child that ends: only its panic, a kill and a broken link are
    /// failures. It has begun when it was polled once.
    ///
    /// # Errors
    ///
    /// [`SpawnRefused`]; the mailbox is closed then.
    pub fn spawn_async<M: Message, F>(
        &self,
        child: Child,
        mailbox: Mailbox<M>,
        factory: impl FnMut(Inbox<M>) -> F + Send + 'static,
    ) -> Result<ActorHandle, SpawnRefused>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let body = FutureChild::new(factory, child.at_restart);
        self.place(child, mailbox, Box::new(body))
    }

    /// The same for a future that takes no messages.
    ///
    /// # Errors
    ///
    /// [`SpawnRefused`].
    pub fn spawn_future<F>(
        &self,
        child: Child,
        mut factory: impl FnMut() -> F + Send + 'static,
    ) -> Result<ActorHandle, SpawnRefused>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (_, mailbox) = self.system().mailbox::<Never>(MailboxSpec::none(child.name));
        self.spawn_async(child, mailbox, move |_| factory())
    }

    fn place<M: Message>(
        &self,
        child: Child,
        mailbox: Mailbox<M>,
        body: Box<dyn Body<M>>,
    ) -> Result<ActorHandle, SpawnRefused> {
        let Child { name, class, share, at_restart: _, stop_wait } = child;
        self.make_room()?;
        let address = cell::settle(mailbox, body);
        let process = address.task();
        let adopted = self.adopt(name, process, stop_wait, Link::Actor(process.clone()));
        let spawn = Spawn { share, ..Spawn::new(name, class) };
        match adopted {
            Ok(ChildId(id)) => {
                self.system().give_birth(spawn, process, id);
                Ok(ActorHandle::new(process.clone()))
            }
            Err(refused) => {
                cell::abandon(&address);
                Err(refused)
            }
        }
    }

    /// Starts a supervisor under this one. When that one fails, all below it go down, and this one
    /// decides; a restart begins all of them anew. Asked to stop it gets `stop_wait` for all below
    /// it.
    ///
    /// # Errors
    ///
    /// [`SpawnRefused`].
    pub fn supervisor(
        &self,
        spec: SupervisorSpec,
        stop_wait: Duration,
    ) -> Result<Self, SpawnRefused> {
        self.make_room()?;
        let below = Self::new(self.system(), spec, false);
        let process = below.address.task();
        let link = Link::Supervisor(below.address.clone());
        let ChildId(id) = self.adopt(spec.name, process, stop_wait, link)?;
        self.system().give_birth(Self::spawn_spec(spec.name), process, id);
        Ok(below)
    }

    /// Stops all below, the youngest first, each handling what waits for it and killed after its
    /// deadline; then the supervisor ends.
    pub fn stop(&self) {
        Signal::Stop.give(self.task());
    }

    /// Answers when the supervisor has ended, and with it all below it.
    pub fn exited(&self) -> Answer<Exit> {
        let (telling, answer) = reply();
        self.task().on_exit(telling);
        answer
    }

    fn system(&self) -> &System {
        &self.task().system
    }

    fn make_room(&self) -> Result<(), SpawnRefused> {
        if self.task().is_done() {
            return Err(SpawnRefused::Ended(self.name()));
        }
        let more = |children: u32| (children < CHILDREN_MAX).then_some(children + 1);
        let room = &self.room.children;
        let made = room.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        made.map(drop).map_err(|_| SpawnRefused::Full(self.name()))
    }

    /// Makes a process that is not born yet a child: told of before the child can report.
    fn adopt(
        &self,
        name: &'static str,
        process: &Task,
        stop_wait: Duration,
        link: Link,
    ) -> Result<ChildId, SpawnRefused> {
        let child = ChildId(self.system().next_id());
        let reporter = Reporter { supervisor: self.address.clone(), child };
        process.extras().bonds.place = Place::Child(reporter);
        let adoption = Adoption { child, name, stop_wait, link: Some(link) };
        if self.address.is_delivered(0, Signal::Added(adoption)) {
            return Ok(child);
        }
        process.extras().bonds.place = Place::Free;
        Err(SpawnRefused::Ended(self.name()))
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, children) = (self.name(), self.children());
        f.debug_struct("Supervisor").field("name", &name).field("children", &children).finish()
    }
}
