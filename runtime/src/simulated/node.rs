//! A node of a simulation: a system of its own, and a disk that outlives it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use super::{
    clock::WallClock,
    disk::{DiskError, Image},
};
use crate::{
    entropy::Seed,
    single::EventHash,
    status::StopReason,
    system::{Driver, System},
};

/// One life of a node, from its start to its crash.
#[derive(Clone, Debug)]
pub struct Node {
    name: &'static str,
    disk: Disk,
}

impl Node {
    pub(super) const fn new(name: &'static str, system: System, image: Arc<Mutex<Image>>) -> Self {
        Self { name, disk: Disk { system, image } }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its system: processes that are spawned into it, and those they spawn, end with the node.
    #[must_use]
    pub const fn system(&self) -> &System {
        &self.disk.system
    }

    /// Its disk.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Loses what the disk has not made durable.
    pub(super) fn crash_disk(&self) {
        self.disk.image.lock().unwrap_or_else(PoisonError::into_inner).crash();
    }
}

/// The disk of a node, as one life of the node sees it. See [`DiskFaults`](crate::DiskFaults).
///
/// Operations take no virtual time by themselves; `Ctx::blocking` gives them some.
#[derive(Clone)]
pub struct Disk {
    system: System,
    image: Arc<Mutex<Image>>,
}

impl Disk {
    fn operate<T>(
        &self,
        name: &str,
        file: &str,
        operate: impl FnOnce(&mut Image) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        if self.system.is_crashed() {
            return Err(DiskError::Crashed);
        }
        // A broken assertion in an operation fails the simulation; the image is whole before it.
        let mut image = self.image.lock().unwrap_or_else(PoisonError::into_inner);
        let result = operate(&mut image);
        let length = image.length(file) as u64;
        drop(image);
        if let Some(single) = self.system.single() {
            let words = [EventHash::word(name), EventHash::word(file), length];
            single.note(&words);
            single.note(&[self.system.core().node, u64::from(result.is_ok())]);
        }
        result
    }

    /// Writes at the end of a file, which is made if it is not there; says where.
    ///
    /// # Errors
    ///
    /// [`DiskError::Write`], after which a part may be written; [`DiskError::Full`];
    /// [`DiskError::Crashed`].
    pub fn append(&self, file: &str, bytes: &[u8]) -> Result<usize, DiskError> {
        self.operate("append", file, |image| {
            let at = image.length(file);
            image.write(file, at, bytes).map(|()| at)
        })
    }

    /// Writes from byte `at` on; a gap reads as zeros.
    ///
    /// # Errors
    ///
    /// As [`Disk::append`].
    pub fn write(&self, file: &str, at: usize, bytes: &[u8]) -> Result<(), DiskError> {
        self.operate("write", file, |image| image.write(file, at, bytes))
    }

    /// Cuts a file to `length` bytes; a shorter one stays as it is.
    ///
    /// # Errors
    ///
    /// [`DiskError::NotFound`], [`DiskError::Write`], [`DiskError::Crashed`].
    pub fn truncate(&self, file: &str, length: usize) -> Result<(), DiskError> {
        self.operate("truncate", file, |image| image.truncate(file, length))
    }

    /// The content of a file, as written.
    ///
    /// # Errors
    ///
    /// [`DiskError::NotFound`], [`DiskError::Read`], [`DiskError::Crashed`].
    pub fn read(&self, file: &str) -> Result<Vec<u8>, DiskError> {
        self.operate("read", file, |image| image.read(file))
    }

    /// Makes a file durable.
    ///
    /// # Errors
    ///
    /// [`DiskError::NotFound`], [`DiskError::Crashed`]; and [`DiskError::Sync`], after which what
    /// was not durable may be lost whatever is synced later.
    pub fn sync(&self, file: &str) -> Result<(), DiskError> {
        self.operate("sync", file, |image| image.sync(file))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl System {
    /// A system of its own within a simulation: same time, other processes, other wall clock.
    pub(crate) fn simulated_node(&self, node: u64, seed: Seed, wall: WallClock) -> Self {
        let Driver::Simulated(driver) = &self.core().driver else {
            unreachable!("only a simulation has nodes")
        };
        let driver = Driver::Simulated(Arc::clone(driver));
        let clock = self.core().clock.with_wall(wall);
        Self::of_node(clock, seed, driver, node, Arc::clone(&self.core().timers))
    }

    /// A simulated crash: what it has begun does not go on.
    pub(crate) fn crash(&self) {
        self.core().is_crashed.store(true, Ordering::Relaxed);
        self.core().stop.set(&StopReason::Fatal("the node crashed".to_owned()));
    }

    pub(crate) fn is_crashed(&self) -> bool {
        self.core().is_crashed.load(Ordering::Relaxed)
    }
}
