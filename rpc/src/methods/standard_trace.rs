//! `debug_standardTraceBlockToFile`: the instructions of a block's transactions, in files.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    mem,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_primitives::{B256, hex};
use alloy_rpc_types_trace::geth::GethDefaultTracingOptions;
use evenkeel_chain::SealedBlock;
use evenkeel_runtime::{Panicked, System};
use evenkeel_vm::{TraceFrame, TraceKind, TracePiece};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    limits::{EXEC_TIME_MAX, TRACE_FILES_BYTES_MAX, TRACE_WRITE_BYTES},
    traced,
    traced_text::Tracing,
};
use crate::{
    api::{Api, Request},
    error::RpcError,
    params::{Object, Params, refuse},
    render::{Answered, answer},
};

/// What may be said beside the block. geth reads its own names in any case; these are the two ways
/// in which they are written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(alias = "EnableMemory")]
    enable_memory: Option<bool>,
    #[serde(alias = "DisableStack")]
    disable_stack: Option<bool>,
    #[serde(alias = "EnableReturnData")]
    enable_return_data: Option<bool>,
    /// Bytes of a file after which it has no more instructions.
    #[serde(alias = "Limit")]
    limit: Option<u64>,
    /// The one transaction that is traced.
    #[serde(alias = "TxHash")]
    tx_hash: Option<B256>,
    #[serde(alias = "Overrides")]
    overrides: Option<Box<RawValue>>,
}

/// `debug_standardTraceBlockToFile`: a file for each transaction of the block, or for the one that
/// is asked for, as geth names them, in [`trace_folder`](crate::RpcConfig::trace_folder): their
/// paths. One line for each instruction and for the end of each call (EIP-3155). If it fails, or
/// its client leaves, nothing stays. Takes as long as a held execution may.
///
/// # Errors
///
/// There is no such block or transaction; a file cannot be written, or all together would have more
/// than [`TRACE_FILES_BYTES_MAX`].
pub(super) async fn block(api: &Arc<Api>, request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    let (options, tx_hash) = config(&params)?;
    let place = api.place(request.client).await?;
    let durable = api.durable.get();
    let not_found = || RpcError::server(format!("block {hash} not found"));
    let height = durable.chain.height_of(hash)?.ok_or_else(not_found)?;
    let scene = traced::scene(&durable, height).await?.ok_or_else(not_found)?;
    let txs = match tx_hash {
        None => 0..scene.block.txs.len(),
        Some(hash) => {
            let nth =
                scene.block.txs.iter().position(|tx| *tx.hash() == hash).ok_or_else(|| {
                    RpcError::server(format!("transaction {hash} not found in block"))
                })?;
            nth..nth + 1
        }
    };
    let names = txs.clone().map(|nth| name(&scene.block, nth)).collect::<Vec<_>>();
    let kind = TraceKind::Lines(options);
    let mut job = scene.job(api, request.client, (txs, kind));
    job.limits.timeout = EXEC_TIME_MAX;
    job.limits.deadline = Some(request.client.arrived.saturating_add(EXEC_TIME_MAX));
    job.limits.is_own_time = true;

    let who = (request.client, traced::method(request)?);
    let tracing = Tracing::start(api, who, (Some(place), job, TraceFrame::Apart));
    let mut files = Files::new(api.system.clone());
    for name in names {
        files.create(api.config.trace_folder.join(name)).await?;
        loop {
            match tracing.next().await? {
                Some(TracePiece::Text(text)) => files.write(&text).await?,
                Some(TracePiece::Between) | None => break,
                Some(TracePiece::Flat { .. }) => return Err(traced::wrong_kind()),
            }
        }
        files.end().await?;
    }
    answer(&files.keep())
}

/// `debug_standardTraceBadBlockToFile`: nobody sends this node blocks, so it keeps none that are
/// bad.
pub(super) fn bad_block(request: Request<'_>) -> Answered {
    let params = Params::new(request.params, 2)?;
    let hash = params.required::<B256>(0)?;
    config(&params)?;
    Err(RpcError::server(format!("bad block {hash} not found")))
}

fn config(params: &Params<'_>) -> Result<(GethDefaultTracingOptions, Option<B256>), RpcError> {
    let Some(Object(config)) = params.optional::<Object<Config>>(1)? else {
        return Ok((GethDefaultTracingOptions::default(), None));
    };
    if config.overrides.is_some() {
        let text = "overrides: other rules than the block's are not supported (expected none)";
        return Err(refuse(1, text));
    }
    let options = GethDefaultTracingOptions {
        enable_memory: config.enable_memory,
        disable_stack: config.disable_stack,
        enable_return_data: config.enable_return_data,
        limit: config.limit,
        ..GethDefaultTracingOptions::default()
    };
    Ok((options, config.tx_hash.filter(|hash| !hash.is_zero())))
}

/// How the file of a transaction is called, but for the number at its end; as geth calls it.
fn name(block: &SealedBlock, nth: usize) -> String {
    let start = |hash: &B256| hex::encode(&hash[..4]);
    format!("block_0x{}-{nth}-0x{}-", start(&block.hash), start(block.txs[nth].hash()))
}

/// The files of one request; what is not kept of them is removed on the blocking pool, or, if that
/// takes nothing more, where they are dropped.
struct Files {
    system: System,
    written: Vec<TraceFile>,
    open: Option<TraceFile>,
    /// What is not in the open one yet.
    text: Vec<u8>,
    /// Bytes of all of them.
    bytes: u64,
}

/// A file that is removed unless it is kept, where it is dropped.
struct TraceFile {
    path: PathBuf,
    /// While it is written.
    file: Option<File>,
    is_kept: bool,
}

impl Files {
    fn new(system: System) -> Self {
        Self { system, written: Vec::new(), open: None, text: Vec::new(), bytes: 0 }
    }

    /// A new file, which is written from now on.
    async fn create(&mut self, stem: PathBuf) -> Result<(), RpcError> {
        let number = self.system.wall_clock().as_nanos();
        let created = self.system.blocking_async(move || TraceFile::create(&stem, number)).await;
        self.open = Some(created.map_err(|error| lost(&error))?.map_err(RpcError::server)?);
        Ok(())
    }

    async fn write(&mut self, text: &[u8]) -> Result<(), RpcError> {
        self.bytes += text.len() as u64;
        if self.bytes > TRACE_FILES_BYTES_MAX {
            return Err(RpcError::server(format!(
                "the traces have more than {TRACE_FILES_BYTES_MAX} bytes; txHash or limit would \
                 make them smaller"
            )));
        }
        self.text.extend_from_slice(text);
        if self.text.len() >= TRACE_WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Writes what is not written yet.
    async fn flush(&mut self) -> Result<(), RpcError> {
        let Some(mut file) = self.open.take() else { return Ok(()) };
        let mut text = mem::take(&mut self.text);
        let writing = move || {
            let written = file.write(&text);
            text.clear();
            (file, text, written)
        };
        let (file, text, written) =
            self.system.blocking_async(writing).await.map_err(|error| lost(&error))?;
        (self.open, self.text) = (Some(file), text);
        written.map_err(RpcError::server)
    }

    /// Ends the open one.
    async fn end(&mut self) -> Result<(), RpcError> {
        self.flush().await?;
        if let Some(mut file) = self.open.take() {
            file.file = None;
            self.written.push(file);
        }
        Ok(())
    }

    /// Lets them stay; returns their paths.
    fn keep(mut self) -> Vec<String> {
        let keep = |mut file: TraceFile| {
            file.is_kept = true;
            file.path.display().to_string()
        };
        mem::take(&mut self.written).into_iter().map(keep).collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let left = (mem::take(&mut self.written), self.open.take());
        if !left.0.is_empty() || left.1.is_some() {
            self.system.blocking_detached(move || drop(left));
        }
    }
}

impl TraceFile {
    /// One that nobody else has: `stem`, and the first free number from `number` on.
    fn create(stem: &Path, number: u128) -> Result<Self, String> {
        for number in number.. {
            let path = PathBuf::from(format!("{}{number}", stem.display()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok(Self { path, file: Some(file), is_kept: false }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(format!("cannot create {}: {error}", path.display())),
            }
        }
        Err(format!("no number is left for {}", stem.display()))
    }

    fn write(&mut self, text: &[u8]) -> Result<(), String> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let cannot = |error| format!("cannot write the trace to {}: {error}", self.path.display());
        file.write_all(text).map_err(cannot)
    }
}

impl Drop for TraceFile {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("a trace that nobody takes stays: {}: {error}", self.path.display());
        }
    }
}

fn lost(error: &Panicked) -> RpcError {
    RpcError::internal(format!("writing a trace: {error}"))
}
