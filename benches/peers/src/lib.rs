//! The programs, which are the same for all runtimes: sizes, the unit of work, meters, probes, and
//! the line that each prints.
//!
//! A binary per runtime implements [`Peer`] and runs one program in a process of its own;
//! `compare` runs them all in turns and makes the table.

mod born;
mod command;
mod drive;
mod measure;
mod probe;
pub mod programs;
mod report;
mod work;

pub use self::{
    born::Births,
    command::{Run, run_program},
    drive::{ClassShare, Peer},
    probe::Probe,
    work::{Counts, checksum, fill, overrun},
};

/// The node's allocator, for all: glibc's grows a thread's arena by a system call a page, which was
/// a third of what a spawn took.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The end of a program, told to the main thread, which is no worker of any runtime.
pub type Done = std::sync::mpsc::Sender<()>;

/// The same, with a number that shows that the work was done.
pub type Sum = std::sync::mpsc::Sender<u64>;

/// Keeps `thing` until the process ends, so that nothing ends for want of an address.
pub fn keep<T>(thing: T) {
    std::mem::forget(thing);
}
