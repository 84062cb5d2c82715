//! Names and groups: how processes find one another that nobody introduced.
//!
//! Neither keeps a process alive, and both forget it when it ends. A restart keeps them, as it
//! keeps the address. Entries know what messages their process takes, so a look-up cannot give an
//! address of another type.

use std::{
    any::{TypeId, type_name},
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use crate::{
    address::Address,
    cell::{Task, WeakTask},
    limits::{GROUP_MEMBERS_MAX, GROUPS_MAX, NAMES_MAX},
    mailbox::Undelivered,
    message::Message,
    system::System,
};

/// Why a name was not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Another living process has it.
    #[error("the name {name} belongs to process {holder}")]
    Taken {
        /// The name.
        name: String,
        /// Number of the process that has it.
        holder: u64,
    },
    /// As many names are given as are allowed.
    #[error("{NAMES_MAX} names are given already")]
    Full,
    /// Only a living process can have a name.
    #[error("the process has ended, or was never spawned")]
    NoProcess,
}

/// Why a look-up gave no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No living process has this name.
    #[error("no process is called {0}")]
    Unknown(String),
    /// The process takes other messages than those asked for.
    #[error("{name} takes messages of type {takes}, not {asked}")]
    OtherMessages {
        /// The name, or the group's.
        name: String,
        /// What it takes.
        takes: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
}

/// Why a process did not join a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The group's members take other messages.
    #[error(transparent)]
    OtherMessages(#[from] LookupError),
    /// There are as many groups as are allowed.
    #[error("there are {GROUPS_MAX} groups already")]
    GroupsFull,
    /// The group has as many members as are allowed.
    #[error("the group {0} has {GROUP_MEMBERS_MAX} members already")]
    MembersFull(String),
    /// Only a living process can be a member.
    #[error("the process has ended, or was never spawned")]
    NoProcess,
}

/// What became of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Members whose mailbox took it.
    pub sent: usize,
    /// Members whose mailbox was full.
    pub full: usize,
}

/// The type of a process's messages.
#[derive(Clone, Copy)]
struct Takes {
    id: TypeId,
    name: &'static str,
}

impl Takes {
    fn of<M: Message>() -> Self {
        Self { id: TypeId::of::<M>(), name: type_name::<M>() }
    }

    fn check<M: Message>(self, name: &str) -> Result<(), LookupError> {
        if self.id == TypeId::of::<M>() {
            return Ok(());
        }
        let (name, takes, asked) = (name.to_owned(), self.name, type_name::<M>());
        Err(LookupError::OtherMessages { name, takes, asked })
    }
}

struct Named {
    id: u64,
    process: WeakTask,
    takes: Takes,
}

struct Group {
    takes: Takes,
    /// In the order they joined.
    members: Vec<(u64, WeakTask)>,
}

#[derive(Default)]
struct Tables {
    names: BTreeMap<Arc<str>, Named>,
    groups: BTreeMap<Arc<str>, Group>,
}

/// The names and groups of one system.
#[derive(Default)]
pub(crate) struct Names(RwLock<Tables>);

impl Names {
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        // Nothing of the user's runs under the lock.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets process number `id`, which had these.
    pub(crate) fn release(&self, id: u64, names: &[Arc<str>], groups: &[Arc<str>]) {
        let mut tables = self.write();
        for name in names {
            tables.release_name(id, name);
        }
        for group in groups {
            tables.leave(id, group);
        }
    }
}

impl Tables {
    fn release_name(&mut self, id: u64, name: &str) {
        if self.names.get(name).is_some_and(|named| named.id == id) {
            self.names.remove(name);
        }
    }

    fn leave(&mut self, id: u64, name: &str) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        group.members.retain(|&(member, _)| member != id);
        if group.members.is_empty() {
            self.groups.remove(name);
        }
    }
}

impl System {
    /// Gives the process behind `address` a name, until it ends. It may have several.
    ///
    /// # Errors
    ///
    /// [`NameError`]: the name is taken, there are too many, or the process is not alive.
    pub fn register<M: Message>(
        &self,
        name: impl Into<Arc<str>>,
        address: &Address<M>,
    ) -> Result<(), NameError> {
        let (name, process) = (name.into(), address.task());
        let Some(id) = living(process) else {
            return Err(NameError::NoProcess);
        };
        // Declared first, so dropped after the lock is given back: it may be the last holder.
        let holder;
        let mut tables = self.names().write();
        holder = tables.names.get(&name).and_then(|named| named.process.upgrade());
        // One that has ended and is just about to give its name up has none.
        match holder.as_ref().and_then(living) {
            Some(holder) if holder == id => return Ok(()),
            Some(holder) => return Err(NameError::Taken { name: name.to_string(), holder }),
            None => {}
        }
        if tables.names.len() >= NAMES_MAX {
            return Err(NameError::Full);
        }
        let named = Named { id, process: process.downgrade(), takes: Takes::of::<M>() };
        tables.names.insert(Arc::clone(&name), named);
        drop(tables);
        process.extras().bonds.names.push(Arc::clone(&name));
        // If it ended in between, its end may not have seen the name.
        if process.is_done() {
            self.names().release(id, &[name], &[]);
            return Err(NameError::NoProcess);
        }
        Ok(())
    }

    /// Takes a name back.
    pub fn unregister(&self, name: &str) {
        let named = self.names().write().names.remove(name);
        if let Some(process) = named.and_then(|named| named.process.upgrade()) {
            process.extras().bonds.names.retain(|own| &**own != name);
        }
    }

    /// The address of the process with this name. O(log n).
    ///
    /// # Errors
    ///
    /// [`LookupError`]: no living process has it, or one that takes other messages.
    pub fn lookup<M: Message>(&self, name: &str) -> Result<Address<M>, LookupError> {
        let tables = self.names().read();
        let named = tables.names.get(name);
        let named = named.ok_or_else(|| LookupError::Unknown(name.to_owned()))?;
        named.takes.check::<M>(name)?;
        let process = named.process.upgrade();
        drop(tables);
        let process = process.filter(|process| !process.is_done());
        process.map(Address::new).ok_or_else(|| LookupError::Unknown(name.to_owned()))
    }

    /// Makes the process behind `address` a member of a group, until it ends. The first member
    /// makes the group, and says what messages it takes. O(members).
    ///
    /// # Errors
    ///
    /// [`GroupError`]: the group takes other messages, a bound is reached, or the process is not
    /// alive.
    pub fn join<M: Message>(
        &self,
        group: impl Into<Arc<str>>,
        address: &Address<M>,
    ) -> Result<(), GroupError> {
        let (name, process) = (group.into(), address.task());
        let Some(id) = living(process) else {
            return Err(GroupError::NoProcess);
        };
        let mut tables = self.names().write();
        if !tables.groups.contains_key(&name) && tables.groups.len() >= GROUPS_MAX {
            return Err(GroupError::GroupsFull);
        }
        let new = || Group { takes: Takes::of::<M>(), members: Vec::new() };
        let group = tables.groups.entry(Arc::clone(&name)).or_insert_with(new);
        group.takes.check::<M>(&name)?;
        if group.members.iter().any(|&(member, _)| member == id) {
            return Ok(());
        }
        if group.members.len() >= GROUP_MEMBERS_MAX {
            return Err(GroupError::MembersFull(name.to_string()));
        }
        group.members.push((id, process.downgrade()));
        drop(tables);
        process.extras().bonds.groups.push(Arc::clone(&name));
        // As in `register`.
        if process.is_done() {
            self.names().release(id, &[], &[name]);
            return Err(GroupError::NoProcess);
        }
        Ok(())
    }

    /// Takes a process out of a group. O(members).
    pub fn leave_group<M: Message>(&self, group: &str, address: &Address<M>) {
        let process = address.task();
        if let Some(id) = living(process) {
            self.names().write().leave(id, group);
            process.extras().bonds.groups.retain(|own| &**own != group);
        }
    }

    /// The living members of a group, in the order they joined; none if there is no such group.
    ///
    /// # Errors
    ///
    /// [`LookupError::OtherMessages`] if they take other messages.
    pub fn members<M: Message>(&self, group: &str) -> Result<Vec<Address<M>>, LookupError> {
        let tables = self.names().read();
        let Some(entry) = tables.groups.get(group) else {
            return Ok(Vec::new());
        };
        entry.takes.check::<M>(group)?;
        let members: Vec<_> =
            entry.members.iter().filter_map(|(_, member)| member.upgrade()).collect();
        drop(tables);
        Ok(members.into_iter().filter(|member| !member.is_done()).map(Address::new).collect())
    }

    /// Sends a copy to every member, by each mailbox's own rule. O(members).
    ///
    /// # Errors
    ///
    /// As [`System::members`].
    pub fn broadcast<M: Message + Clone>(
        &self,
        group: &str,
        message: &M,
    ) -> Result<Told, LookupError> {
        let mut told = Told::default();
        for member in self.members::<M>(group)? {
            match member.send(message.clone()).map_err(|error| error.reason()) {
                Ok(()) => told.sent += 1,
                Err(Undelivered::Full) => told.full += 1,
                // It ended since it was looked up: no member.
                Err(Undelivered::Closed) => {}
            }
        }
        Ok(told)
    }
}

fn living(process: &Task) -> Option<u64> {
    process.spawned().filter(|_| !process.is_done()).map(|identity| identity.id)
}
