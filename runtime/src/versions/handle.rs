//! Who holds an actor that has versions.

use std::{fmt, ops::Deref, sync::Arc};

use super::{
    Behaviour, NoVersion, UpgradeError, Version, VersionReq,
    bound::{Binding, Bound, Upgrade},
};
use crate::{
    cell::Order,
    message::Message,
    process::ActorHandle,
    reply::{Answer, reply},
};

/// An actor that was spawned on a version of a behaviour. Dropping the handle changes nothing for
/// it.
pub struct VersionedHandle<M: Message, C> {
    handle: ActorHandle,
    behaviour: Behaviour<M, C>,
    binding: Arc<Binding<M, C>>,
}

impl<M: Message, C: Send + Sync + 'static> VersionedHandle<M, C> {
    pub(super) const fn new(
        handle: ActorHandle,
        behaviour: Behaviour<M, C>,
        binding: Arc<Binding<M, C>>,
    ) -> Self {
        Self { handle, behaviour, binding }
    }

    /// The version that the actor runs now; of one that is down, what its next life begins with.
    #[must_use]
    pub fn version(&self) -> Version {
        self.binding.get().version.clone()
    }

    /// Moves the actor to the newest version that meets `requirement`, at its next message
    /// boundary. The answer is the version it runs then, or why it stays; [`Lost`](crate::Lost) if
    /// it ended first. One without a state, because it is not made yet or waits for its next life,
    /// begins with the new version.
    ///
    /// # Errors
    ///
    /// [`NoVersion`], and nothing has changed.
    pub fn upgrade(
        &self,
        requirement: &VersionReq,
    ) -> Result<Answer<Result<Version, UpgradeError>>, NoVersion> {
        let edition = self.behaviour.newest(requirement)?;
        let (reply, answer) = reply();
        let binding = Arc::clone(&self.binding);
        self.handle.task().order(Order::Visit(Box::new(move |state| {
            if let Some(bound) = state.and_then(|state| state.downcast_mut::<Bound<M, C>>()) {
                bound.take(Upgrade { edition, reply });
            } else {
                let version = edition.version.clone();
                binding.set(edition);
                reply.send(Ok(version));
            }
        })));
        Ok(answer)
    }
}

impl<M: Message, C> Deref for VersionedHandle<M, C> {
    type Target = ActorHandle;

    fn deref(&self) -> &ActorHandle {
        &self.handle
    }
}

impl<M: Message, C> Clone for VersionedHandle<M, C> {
    fn clone(&self) -> Self {
        let (behaviour, binding) = (self.behaviour.clone(), Arc::clone(&self.binding));
        Self { handle: self.handle.clone(), behaviour, binding }
    }
}

impl<M: Message, C> fmt::Debug for VersionedHandle<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.binding.get().version.clone();
        f.debug_struct("VersionedHandle")
            .field("actor", &self.handle)
            .field("version", &version)
            .finish_non_exhaustive()
    }
}
