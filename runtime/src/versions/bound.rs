//! The actor that runs some version of a behaviour.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Edition, UpgradeError, Version};
use crate::{
    actor::{Actor, Flow},
    cell::said_by,
    ctx::Ctx,
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
    binding: Arc<Binding<M, C>>,
    state: Box<dyn State<M>>,
    /// No message is being handled.
    is_between: bool,
    waiting: Option<Upgrade<M, C>>,
}

impl<M: Message, C: Send + Sync + 'static> Bound<M, C> {
    pub(super) fn new(binding: Arc<Binding<M, C>>, config: &C) -> Self {
        let state = (binding.get().make)(config);
        Self { binding, state, is_between: false, waiting: None }
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

    /// V3.
    fn upgrade(&mut self, upgrade: Upgrade<M, C>) {
        let Upgrade { edition, reply } = upgrade;
        let (from, to) = (self.binding.get().version.clone(), edition.version.clone());
        if from == to {
            reply.send(Ok(to));
            return;
        }
        // Only read, so it is whole after a panic.
        let migrating = AssertUnwindSafe(|| edition.migrate(self.state.as_any()));
        let migrated = catch_unwind(migrating);
        let outcome = match migrated {
            Ok(Some(Ok(state))) => {
                self.binding.set(edition);
                self.state = state;
                Ok(to)
            }
            Ok(Some(Err(unmigrated))) => {
                Err(UpgradeError::Refused { from, to, reason: unmigrated.0 })
            }
            Ok(None) => Err(UpgradeError::NoMigration { from, to }),
            Err(payload) => Err(UpgradeError::Panicked { from, to, reason: said_by(payload) }),
        };
        if let Err(error) = &outcome {
            tracing::warn!(%error, "an actor was not upgraded");
        }
        reply.send(outcome);
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
        let flow = self.state.handle(message, ctx);
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
