//! Code versions: several versions of one behaviour side by side, and actors that move from one to
//! the next at a message boundary.
//!
//! Rust has no stable ABI, so code that was not compiled in is never loaded. What is versioned is
//! the choice: [`Behaviour`] lists the versions of one protocol that this program knows, actors are
//! spawned with a requirement, hold the version that they run, and are upgraded one by one.
//!
//! # Invariants
//!
//! - V1: a version never changes after it was published: two actors on one version run one code.
//! - V2: an upgrade takes place between two messages, never within work that goes on (`More`,
//!   `Park`), and is told to who asked.
//! - V3: an upgrade that fails, by a refusal or a panic, changes nothing: the migration reads the
//!   old state, and only its result replaces it. Address, mailbox, links and number stay in any
//!   case.
//! - V4: the next life after a panic begins on the version that the last one ran.
//! - V5: a version lives as long as it is published or an actor runs it.
//! - V6: where messages choose ([`Code::chosen_by`]), one that is for another version is handled by
//!   that version or by none: the actor moves before it, by V3, and if it cannot the message is a
//!   dead letter.

mod bound;
mod handle;

use std::{
    any::{Any, type_name},
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    sync::{Arc, PoisonError, RwLock},
};

pub use semver::{Version, VersionReq};

use self::bound::{Binding, Bound, State};
pub use self::handle::VersionedHandle;
use crate::{
    actor::Actor,
    limits::VERSIONS_MAX,
    mailbox::Mailbox,
    message::Message,
    system::{Spawn, System},
};

/// Makes the state of a version from that of another.
pub trait MigrateFrom<Old: Actor>: Actor + Sized {
    /// The state as `Self` has it. `old` goes on as it is if this fails.
    ///
    /// # Errors
    ///
    /// [`Unmigrated`] if the old state has no counterpart.
    fn migrate(old: &Old) -> Result<Self, Unmigrated>;
}

/// Why a state could not be migrated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unmigrated(pub String);

/// Why a version could not be published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// V1.
    #[error("{behaviour} {version} is published already")]
    Taken {
        /// The behaviour's name.
        behaviour: &'static str,
        /// The version.
        version: Version,
    },
    /// As many as there may be.
    #[error("{behaviour} has {VERSIONS_MAX} versions already, the most there may be")]
    Full {
        /// The behaviour's name.
        behaviour: &'static str,
    },
}

/// No published version meets a requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no version of {behaviour} is {requirement}; published: {published}")]
pub struct NoVersion {
    /// The behaviour's name.
    pub behaviour: &'static str,
    /// What was asked for.
    pub requirement: VersionReq,
    /// What there is, oldest first, with commas between.
    pub published: String,
}

/// Why an actor stays on its version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The new version was not published with a migration from the old one.
    #[error("{to} cannot take over the state of {from}")]
    NoMigration {
        /// The version that the actor runs.
        from: Version,
        /// The version that was asked for.
        to: Version,
    },
    /// The migration refused the state.
    #[error("the state of {from} was not migrated to {to}: {reason}")]
    Refused {
        /// The version that the actor runs.
        from: Version,
        /// The version that was asked for.
        to: Version,
        /// What the migration said.
        reason: String,
    },
    /// The migration panicked.
    #[error("the migration from {from} to {to} panicked: {reason}")]
    Panicked {
        /// The version that the actor runs.
        from: Version,
        /// The version that was asked for.
        to: Version,
        /// What the panic said.
        reason: String,
    },
    /// Another upgrade waits for the end of the message that is handled.
    #[error("an upgrade to {0} waits already")]
    Busy(Version),
}

type Make<M, C> = Box<dyn Fn(&C) -> Box<dyn State<M>> + Send + Sync>;
type Migrate<M> =
    Box<dyn Fn(&dyn Any) -> Option<Result<Box<dyn State<M>>, Unmigrated>> + Send + Sync>;
type Choose<M> = Arc<dyn Fn(&dyn Any, &M) -> Version + Send + Sync>;

/// A published version.
struct Edition<M: Message, C> {
    version: Version,
    make: Make<M, C>,
    migrations: Vec<Migrate<M>>,
    /// None: every message is for this version.
    choose: Option<Choose<M>>,
}

impl<M: Message, C> Edition<M, C> {
    /// The state of `old` in this version; `None` if no migration knows it.
    fn migrate(&self, old: &dyn Any) -> Option<Result<Box<dyn State<M>>, Unmigrated>> {
        self.migrations.iter().find_map(|migrate| migrate(old))
    }
}

/// One version of a behaviour, to be published: how its actors, which are `A`s, are made from a
/// configuration, and from which other states they can go on.
pub struct Code<A: Actor, C> {
    edition: Edition<A::Message, C>,
    _actor: PhantomData<fn() -> A>,
}

impl<A: Actor, C: 'static> Code<A, C> {
    /// A version whose actors are made by `make` from the configuration they are spawned with.
    pub fn new(version: Version, make: impl Fn(&C) -> A + Send + Sync + 'static) -> Self {
        let make = move |config: &C| -> Box<dyn State<A::Message>> { Box::new(make(config)) };
        let edition =
            Edition { version, make: Box::new(make), migrations: Vec::new(), choose: None };
        Self { edition, _actor: PhantomData }
    }

    /// The same, taking over from actors whose state is an `Old`.
    #[must_use]
    pub fn takes_over<Old: Actor<Message = A::Message>>(self) -> Self
    where
        A: MigrateFrom<Old>,
    {
        self.takes_over_by(A::migrate)
    }

    /// The same by a function: for versions that differ in more than their types.
    #[must_use]
    pub fn takes_over_by<Old: Actor<Message = A::Message>>(
        mut self,
        migrate: impl Fn(&Old) -> Result<A, Unmigrated> + Send + Sync + 'static,
    ) -> Self {
        self.edition.migrations.push(Box::new(move |old| {
            let migrated = migrate(old.downcast_ref::<Old>()?);
            Some(migrated.map(|state| Box::new(state) as Box<dyn State<A::Message>>))
        }));
        self
    }

    /// The same, where a message says for which version it is (V6): `choose` is asked before each
    /// one, and if it names another version than this the actor moves there first, as by
    /// [`VersionedHandle::upgrade`], if that version is published and takes over. The one that it
    /// names handles the message and is not asked about it. A panic of `choose` ends the actor's
    /// life, as one of its handler does. A message costs a lock that nobody contends for, and a
    /// lookup if the actor moves.
    #[must_use]
    pub fn chosen_by(
        mut self,
        choose: impl Fn(&A, &A::Message) -> Version + Send + Sync + 'static,
    ) -> Self {
        self.edition.choose = Some(Arc::new(move |state, message| {
            let state = state.downcast_ref().expect("the state of a version is what it makes");
            choose(state, message)
        }));
        self
    }
}

struct Versions<M: Message, C> {
    name: &'static str,
    published: RwLock<BTreeMap<Version, Arc<Edition<M, C>>>>,
}

/// The published versions of one behaviour: actors that take `M`, made from a `C`. Cloning it gives
/// another handle to the same.
pub struct Behaviour<M: Message, C>(Arc<Versions<M, C>>);

impl<M: Message, C> Clone for Behaviour<M, C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Message, C: Send + Sync + 'static> Behaviour<M, C> {
    /// A behaviour without versions.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self(Arc::new(Versions { name, published: RwLock::default() }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Makes a version known; actors on others run on.
    ///
    /// # Errors
    ///
    /// [`PublishError`], and nothing has changed.
    pub fn publish<A: Actor<Message = M>>(&self, code: Code<A, C>) -> Result<(), PublishError> {
        let behaviour = self.name();
        let Code { edition, .. } = code;
        let mut published = self.0.published.write().unwrap_or_else(PoisonError::into_inner);
        if published.contains_key(&edition.version) {
            return Err(PublishError::Taken { behaviour, version: edition.version });
        }
        if published.len() >= VERSIONS_MAX {
            return Err(PublishError::Full { behaviour });
        }
        published.insert(edition.version.clone(), Arc::new(edition));
        Ok(())
    }

    /// Takes a version back: no actor is spawned on it or upgraded to it any more, those on it run
    /// on (V5). False if it was not published.
    pub fn retire(&self, version: &Version) -> bool {
        let mut published = self.0.published.write().unwrap_or_else(PoisonError::into_inner);
        let retired = published.remove(version);
        drop(published);
        retired.is_some()
    }

    /// Its published versions, the oldest first, each with the number of actors and upgrades that
    /// hold it.
    #[must_use]
    pub fn versions(&self) -> Vec<(Version, usize)> {
        let published = self.0.published.read().unwrap_or_else(PoisonError::into_inner);
        let users = |edition: &Arc<_>| Arc::strong_count(edition) - 1;
        published.iter().map(|(version, edition)| (version.clone(), users(edition))).collect()
    }

    /// Spawns an actor on the newest version that meets `requirement`, made from `config` in its
    /// first turn and after every panic that `spec.restart` forgives (V4).
    ///
    /// # Errors
    ///
    /// [`NoVersion`]; the mailbox is closed then.
    pub fn spawn(
        &self,
        system: &System,
        spec: Spawn,
        mailbox: Mailbox<M>,
        requirement: &VersionReq,
        config: C,
    ) -> Result<VersionedHandle<M, C>, NoVersion> {
        let binding = Arc::new(Binding::new(self.newest(requirement)?));
        let (behaviour, held) = (self.clone(), Arc::clone(&binding));
        let config = Arc::new(config);
        let factory = move || Bound::new(behaviour.clone(), Arc::clone(&held), &config);
        let handle = system.spawn(spec, mailbox, factory);
        Ok(VersionedHandle::new(handle, self.clone(), binding))
    }

    /// The version, if it is published.
    fn exactly(&self, version: &Version) -> Option<Arc<Edition<M, C>>> {
        let published = self.0.published.read().unwrap_or_else(PoisonError::into_inner);
        published.get(version).map(Arc::clone)
    }

    /// The newest published version that meets a requirement. O(number of versions).
    fn newest(&self, requirement: &VersionReq) -> Result<Arc<Edition<M, C>>, NoVersion> {
        let published = self.0.published.read().unwrap_or_else(PoisonError::into_inner);
        let meets = |(version, _): &(&Version, _)| requirement.matches(version);
        if let Some((_, edition)) = published.iter().rev().find(meets) {
            return Ok(Arc::clone(edition));
        }
        let names: Vec<String> = published.keys().map(Version::to_string).collect();
        Err(NoVersion {
            behaviour: self.name(),
            requirement: requirement.clone(),
            published: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
        })
    }
}

impl<M: Message, C> fmt::Debug for Behaviour<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl<A: Actor, C> fmt::Debug for Code<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Edition { version, migrations, choose, .. } = &self.edition;
        f.debug_struct("Code")
            .field("version", version)
            .field("actor", &type_name::<A>())
            .field("migrations", &migrations.len())
            .field("is_chosen", &choose.is_some())
            .finish_non_exhaustive()
    }
}
