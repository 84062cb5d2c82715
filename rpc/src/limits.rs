//! Limits of the server: value, unit, why. Those of the methods are in `methods/limits.rs`.
//!
//! What a user may set is in [`RpcConfig`](crate::api::RpcConfig); the rest is fixed here. None of
//! the numbers comes from a bench yet unless it says so.

use std::time::Duration;

use evenkeel_vm::limits::TEXT_AHEAD_BYTES;

/// Nesting of JSON in a request body. The deepest a real request needs is a dozen levels (typed
/// data, block overrides); `serde_json` itself gives up at 128.
pub const DEPTH_MAX: usize = 64;
const _: () = assert!(DEPTH_MAX < 128);

/// Bytes of a method's name, so that an answer never echoes a megabyte. geth has the same number.
pub const METHOD_BYTES_MAX: usize = 2_048;

/// Items of one batch that are worked at the same time. Enough to keep 64 workers busy; a batch
/// never has more than this many answers waiting for an earlier one.
pub const BATCH_FANOUT: usize = 64;

/// Bodies larger than this are parsed on the compute pool: a turn stays below about 200 us at
/// 1 GB/s.
pub const PARSE_INLINE_BYTES_MAX: usize = 128 * 1024;

/// Bytes of a body that cost one reduction (25 ns) to parse: about 1 GB/s.
pub const BYTES_PER_REDUCTION: usize = 25;

/// Bytes of bodies that all connections together may hold while they are read (HTTP) and worked.
/// Above it a request is refused with -32005 (and 503); bodies below [`BODY_FREE_BYTES`] are not
/// counted.
pub const BODIES_BYTES_MAX: usize = 512 << 20;

/// Bytes of finished answers that all connections together may hold until they are written: six of
/// the largest (a guess; or one, if the operator allows larger ones). What finds no room is
/// answered with -32005; answers below [`ANSWER_FREE_BYTES`] are not counted.
pub const ANSWERS_BYTES_MAX: usize = 1 << 30;

/// Answers up to this size are not counted: 1,000 connections hold 64 MB of them.
pub const ANSWER_FREE_BYTES: usize = 64 * 1024;
const _: () = assert!(ANSWER_FREE_BYTES < ANSWERS_BYTES_MAX);

/// Bytes of a streamed answer that are waited for before it is begun: shorter ones have a length,
/// and their errors are answers.
pub const STREAM_FROM_BYTES: usize = 64 * 1024;

/// Bytes that a streamed answer counts as: its beginning, and how far its producer may be ahead.
pub const STREAM_HELD_BYTES: usize = STREAM_FROM_BYTES + TEXT_AHEAD_BYTES;
const _: () = assert!(STREAM_HELD_BYTES < ANSWERS_BYTES_MAX / 1_000);

/// Bytes of finished text that are put together within a turn; more is put together on the compute
/// pool. Copying to fresh memory takes about 1 ns a byte.
pub const JOIN_INLINE_BYTES_MAX: usize = 128 * 1024;

/// Bytes that a job of the compute pool copies or encodes before it asks whether it is to give
/// way: half a millisecond at 1 ns a byte. Shorter ones would leave it too little of a machine
/// whose actors never rest ([`GIVE_WAY_MAX`](evenkeel_runtime::limits::GIVE_WAY_MAX)).
pub const JOB_SLICE_BYTES: usize = 512 * 1024;

/// A piece of an answer that is shorter is copied to the text around it; a longer one is written as
/// it is.
pub const PIECE_BYTES_MIN: usize = 16 * 1024;

/// Bodies up to this size are not counted: 1,000 connections hold 16 MB of them.
pub const BODY_FREE_BYTES: usize = 16 * 1024;
const _: () = assert!(BODY_FREE_BYTES < BODIES_BYTES_MAX);

/// How long a connection may take to send a whole request head, from its start or from the last
/// answer. So it is both the keep-alive time and what stops a slow-header attack. geth's is 120 s.
pub const IDLE_MAX: Duration = Duration::from_mins(1);

/// How long a request body may take to arrive after its head, as geth's `ReadTimeout`.
pub const BODY_READ_MAX: Duration = Duration::from_secs(30);

/// Bytes of a refused body that are read and thrown away, so that the client sees the refusal and
/// not a reset of its connection.
pub const DRAIN_BYTES_MAX: usize = 64 << 20;

/// How long a client may take none of the bytes that wait for it.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// Bytes hyper reads at once, and so about half the largest request head.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long the accept loop rests when the process is out of file descriptors.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Clients whose shares are remembered. Above it those are forgotten who have no connection, no
/// request, no held execution and no weight; if there are none, all newcomers divide one share.
pub const CLIENTS_MAX: usize = 4_096;

/// Bytes of an API key; a longer one is ignored and the client goes by its address.
pub const API_KEY_BYTES_MAX: usize = 256;

/// Requests of one WebSocket that are worked at the same time. At this number we stop reading, so
/// that TCP pushes back.
pub const SOCKET_CALLS_MAX: usize = 64;

/// Bytes that are read from a Unix socket at once, where there are so many.
pub const IPC_READ_BYTES: usize = 16 * 1024;

/// Subscriptions of one WebSocket.
pub const SUBSCRIPTIONS_MAX: usize = 1_024;

/// Messages that may wait for one WebSocket: a few seconds of a busy log subscription. A
/// notification beyond it closes the connection; an answer waits, and nothing is read meanwhile.
pub const OUTBOX_ITEMS_MAX: usize = 8_192;

/// Bytes that may wait for one WebSocket. One larger message may be there if it is alone.
pub const OUTBOX_BYTES_MAX: usize = 16 << 20;

/// Bytes of the request log that wait for a slow terminal; more is left out and counted.
pub const LOG_BYTES_MAX: usize = 1 << 20;

/// Bytes of a method's name, of the parameters of a failed request and of the reason of its failure
/// that the request log shows.
pub const LOG_TEXT_BYTES_MAX: usize = 1_024;

/// Blocks that the request log shows of those that became durable at once (`anvil_mine` of many).
pub const LOG_BLOCKS_MAX: u64 = 1_000;

/// Bytes of what transactions said (`console.log`, why they failed, what they called) that wait
/// until their block is durable: of 16 blocks that say all they may.
pub const LOG_NOTES_BYTES_MAX: usize = 24 << 20;

/// Bytes of a line of `console.log` that the request log shows.
pub const LOG_CONSOLE_BYTES_MAX: usize = 4_096;

/// Bytes of such lines of one block or of one call; those after them are counted.
pub const LOG_CONSOLES_BYTES_MAX: usize = 256 << 10;

/// Calls whose lines wait to be written: 4 MiB of `console.log` as it was heard, 2 MiB of traces.
/// Those of more are left out and counted.
pub const LOG_CALLS_WAITING_MAX: usize = 16;

/// Transactions of one block that the request log shows: nobody reads more, and a block may have
/// tens of thousands.
pub const LOG_TXS_MAX: usize = 100;

/// Bytes that may wait for all sockets together before notifications are refused: 16 that read
/// nothing, or 1,000 with 256 KB each. Beyond it the next one to be notified that holds more than
/// [`OUTBOX_FREE_BYTES`] is closed. Answers count, and are refused by [`ANSWERS_BYTES_MAX`] alone.
pub const OUTBOXES_BYTES_MAX: usize = 256 << 20;

/// Bytes that may wait for a WebSocket however many wait for others, so that those who do not read
/// cannot close those who do: 1,000 connections hold 64 MB of them.
pub const OUTBOX_FREE_BYTES: usize = 64 << 10;
const _: () = assert!(OUTBOX_FREE_BYTES < OUTBOX_BYTES_MAX);
const _: () = assert!(OUTBOX_BYTES_MAX < OUTBOXES_BYTES_MAX);

/// How often a WebSocket is pinged. It is closed if nothing came from it between two pings.
pub const PING_EVERY: Duration = Duration::from_secs(30);

/// How long a closing WebSocket may take to accept our close frame.
pub const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Executions (`eth_call`, estimates, traces) at once. Each may hold 16 MiB of EVM memory and pins
/// a state: 4 GiB together in the worst case. Real calls hold some KiB.
pub const EXECUTIONS_MAX: usize = 256;

/// Executions of one client at once: all that one batch works at the same time, twice, so that a
/// client with 64 endless calls still gets another in; and half of all, so that it takes two to
/// keep others waiting.
pub const EXECUTIONS_PER_CLIENT_MAX: usize = 128;
const _: () = assert!(EXECUTIONS_PER_CLIENT_MAX >= 2 * BATCH_FANOUT);
const _: () = assert!(EXECUTIONS_PER_CLIENT_MAX <= EXECUTIONS_MAX / 2);

/// Executions that go on beyond their deadline, as their text is streamed and their clients are
/// slow: a quarter of all places, so that the others go on to who waits, deadline by deadline.
pub const EXECUTIONS_LATE_MAX: usize = 64;

/// Such executions of one client: a quarter of them.
pub const EXECUTIONS_LATE_PER_CLIENT_MAX: usize = 16;
const _: () = assert!(EXECUTIONS_LATE_MAX <= EXECUTIONS_MAX / 4);
const _: () = assert!(EXECUTIONS_LATE_PER_CLIENT_MAX <= EXECUTIONS_LATE_MAX / 4);

/// Requests of one client that wait for a place. What waits holds its decoded request only, whose
/// body is counted in [`BODIES_BYTES_MAX`].
pub const EXECUTIONS_WAITING_PER_CLIENT_MAX: usize = 1_024;

/// Requests of all clients that wait for a place: four clients at their bound.
pub const EXECUTIONS_WAITING_MAX: usize = 4_096;
const _: () = assert!(EXECUTIONS_WAITING_PER_CLIENT_MAX < EXECUTIONS_WAITING_MAX);

/// Places of the registry of processes that are looked at between two yields: about 10 us (guess).
pub const REGISTRY_SLICE: usize = 128;
