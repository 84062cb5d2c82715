//! The actor that runs some version of a behaviour.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Behaviour, Choose, Edition, UpgradeError, Version};
use crate::{
    actor::{Actor, Flow},
    cell::said_by,
    ctx::Ctx,
    dead_letters::DeadReason,
    message::Message,
    reply::Reply,
};

/// An actor of any version.
pub(super) trait State<M: Message>: Send {
    fn handle(&mut self, message: M, ctx: &mut Ctx<'_, M>) -> Flow;
    fn resume(&mut self, ctx: &mut Ctx<'_, M>) -> Flow;
    fn start(&mut self, ctx: &mut Ctx<'_, M>) -> Flow;
    fn as_any(&self) -> &dyn Any;
}

impl<M: Message, A: Actor<Message = M>> State<M> for A {
    fn handle(&mut self, message: M, ctx: &mut Ctx<'_, M>) -> Flow {
        Actor::handle(self, message, ctx)
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, M>) -> Flow {
        Actor::resume(self, ctx)
    }

    fn start(&mut self, ctx: &mut Ctx<'_, M>) -> Flow {
        Actor::start(self, ctx)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The version that an actor runs in this life, or begins the next with (V4).
pub(super) struct Binding<M: Message, C>(Mutex<Arc<Edition<M, C>>>);

impl<M: Message, C> Binding<M, C> {
    pub(super) const fn new(edition: Arc<Edition<M, C>>) -> Self {
        Self(Mutex::new(edition))
    }

    pub(super) fn get(&self) -> Arc<Edition<M, C>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The old version is dropped outside the lock: it may be the last of it.
    pub(super) fn set(&self, edition: Arc<Edition<M, C>>) {
        let mut bound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = mem::replace(&mut *bound, edition);
        drop(bound);
        drop(old);
    }
}

/// An upgrade on its way, and who is told.
pub(super) struct Upgrade<M: Message, C> {
    pub(super) edition: Arc<Edition<M, C>>,
    pub(super) reply: Reply<Result<Version, UpgradeError>>,
}

/// The actor.
pub(super) struct Bound<M: Message, C> {
    behaviour: Behaviour<M, C>,
    binding: Arc<Binding<M, C>>,
    state: Box<dyn State<M>>,
    /// Of the version that it runs: here, so that a message takes no lock to find that there is
    /// none.
    choose: Option<Choose<M>>,
    /// No message is being handled.
    is_between: bool,
    waiting: Option<Upgrade<M, C>>,
}

impl<M: Message, C: Send + Sync + 'static> Bound<M, C> {
    pub(super) fn new(behaviour: Behaviour<M, C>, binding: Arc<Binding<M, C>>, config: &C) -> Self {
        let edition = binding.get();
        let (state, choose) = ((edition.make)(config), edition.choose.clone());
        Self { behaviour, binding, state, choose, is_between: false, waiting: None }
    }

    /// Upgrades now, or when the message that is being handled is done.
    pub(super) fn take(&mut self, upgrade: Upgrade<M, C>) {
        if self.is_between {
            self.upgrade(upgrade);
        } else if let Some(waiting) = &self.waiting {
            upgrade.reply.send(Err(UpgradeError::Busy(waiting.edition.version.clone())));
        } else {
            self.waiting = Some(upgrade);
        }
    }

    fn upgrade(&mut self, upgrade: Upgrade<M, C>) {
        let outcome = self.move_to(upgrade.edition);
        if let Err(error) = &outcome {
            tracing::warn!(%error, "an actor was not upgraded");
        }
        upgrade.reply.send(outcome);
    }

    /// V3. The version that it runs then.
    fn move_to(&mut self, edition: Arc<Edition<M, C>>) -> Result<Version, UpgradeError> {
        let (from, to) = (self.binding.get().version.clone(), edition.version.clone());
        if from == to {
            return Ok(to);
        }
        // Only read, so it is whole after a panic.
        let migrating = AssertUnwindSafe(|| edition.migrate(self.state.as_any()));
        match catch_unwind(migrating) {
            Ok(Some(Ok(state))) => {
                self.choose.clone_from(&edition.choose);
                self.binding.set(edition);
                self.state = state;
                Ok(to)
            }
            Ok(Some(Err(unmigrated))) => {
                Err(UpgradeError::Refused { from, to, reason: unmigrated.0 })
            }
            Ok(None) => Err(UpgradeError::NoMigration { from, to }),
            Err(payload) => Err(UpgradeError::Panicked { from, to, reason: said_by(payload) }),
        }
    }

    /// V6: false if `message` is for a version that cannot be had.
    fn move_for(&mut self, message: &M) -> bool {
        let Some(choose) = &self.choose else { return true };
        let chosen = choose(self.state.as_any(), message);
        if chosen == self.binding.get().version {
            return true;
        }
        let Some(edition) = self.behaviour.exactly(&chosen) else {
            let behaviour = self.behaviour.name();
            tracing::debug!(behaviour, %chosen, "a message chose what is not published");
            return false;
        };
        let moved = self.move_to(edition);
        if let Err(error) = &moved {
            tracing::debug!(%error, "a message did not move the actor to its version");
        }
        moved.is_ok()
    }

    /// V2.
    fn after(&mut self, flow: Flow) -> Flow {
        self.is_between = matches!(flow, Flow::Next);
        if self.is_between
            && let Some(upgrade) = self.waiting.take()
        {
            self.upgrade(upgrade);
        }
        flow
    }
}

impl<M: Message, C: Send + Sync + 'static> Actor for Bound<M, C> {
    type Message = M;

    fn handle(&mut self, message: M, ctx: &mut Ctx<'_, M>) -> Flow {
        let flow = if self.move_for(&message) {
            self.state.handle(message, ctx)
        } else {
            ctx.me().task().bury(message, DeadReason::NoVersion);
            Flow::Next
        };
        self.after(flow)
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, M>) -> Flow {
        let flow = self.state.resume(ctx);
        self.after(flow)
    }

    fn start(&mut self, ctx: &mut Ctx<'_, M>) -> Flow {
        let flow = self.state.start(ctx);
        self.after(flow)
    }
}
