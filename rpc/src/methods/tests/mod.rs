//! Every method on a chain of hand-made blocks, on a simulated system.

mod any_parameters;
mod calls;
mod dev_tokens;
mod executions;
mod logs;
mod mining;
mod opcode_gas;
mod pool;
mod proofs;
mod reads;
mod scheduler;
mod sending;
mod shadow;
mod standard_trace;
mod state_debug;
mod subscriptions;
mod trace_chain;
mod traces;
mod world;
