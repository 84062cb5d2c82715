//! `Solo` over virtual time, with an executor, a disk and a pool that take random times.

mod model;
mod scenarios;
mod world;
