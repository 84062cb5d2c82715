//! Every method on a chain of hand-made blocks, on a simulated system.

mod any_parameters;
mod calls;
mod executions;
mod logs;
mod mining;
mod pool;
mod proofs;
mod reads;
mod sending;
mod state_debug;
mod subscriptions;
mod trace_chain;
mod traces;
mod world;
