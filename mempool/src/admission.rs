//! Actors that stand before the pool: what they refuse costs the pool nothing.
//!
//! | message | sends |
//! |---|---|
//! | `Raw`, `Known` | `Admit` to the pool with the reply, or answers it with the refusal |
//! | the same with blobs | `Proven` to itself, when the compute pool has looked at them |
//! | `Proven` | `Admit` or the refusal |
//! | `Gossip` | `Admit` for each, one slice per transaction |
//!
//! Recovering a sender is the dearest step of admission, so there is one of these per worker.

use std::{collections::VecDeque, fmt, sync::Arc};

use alloy_primitives::{B256, Bytes};
use evenkeel_chain::{BlobError, BlobSidecar, ChainSpec, Fork, RecoveredTx, prove_blobs};
use evenkeel_runtime::{Actor, Address, Answer, Ctx, Flow, Published, SendError, reply};
use evenkeel_state::Durable;

use crate::{
    checks::{NextBlock, check_stateless},
    config::AdmissionConfig,
    error::PoolError,
    limits::{PROOFS_WAITING_MAX, RECOVER_REDUCTIONS},
    message::{AdmissionMessage, AdmitReply, PoolMessage},
};

/// Decodes, recovers, checks what needs no state.
pub struct Admission {
    config: AdmissionConfig,
    spec: Arc<ChainSpec>,
    durable: Published<Durable>,
    gas_limit: Published<u64>,
    /// The next block, by the versions of the two that it follows from.
    next: Option<((u64, u64), NextBlock)>,
    pool: Address<PoolMessage>,
    /// What is left of a gossip message, last first.
    gossip: Vec<Bytes>,
    /// Transactions whose blobs are to be proven after those that are at work.
    unproven: VecDeque<(Arc<RecoveredTx>, Option<AdmitReply>)>,
    is_proving: bool,
}

impl Admission {
    /// Checks by the rules of the block after the durable head, which has the `gas_limit` that the
    /// engine publishes.
    #[must_use]
    pub const fn new(
        config: AdmissionConfig,
        spec: Arc<ChainSpec>,
        durable: Published<Durable>,
        gas_limit: Published<u64>,
        pool: Address<PoolMessage>,
    ) -> Self {
        Self {
            config,
            spec,
            durable,
            gas_limit,
            next: None,
            pool,
            gossip: Vec::new(),
            unproven: VecDeque::new(),
            is_proving: false,
        }
    }

    fn offer_raw(
        &mut self,
        raw: &Bytes,
        reply: Option<AdmitReply>,
        ctx: &mut Ctx<'_, AdmissionMessage>,
    ) {
        let tx = RecoveredTx::decode(raw).map_err(PoolError::from).and_then(|tx| {
            ctx.consume(RECOVER_REDUCTIONS);
            Ok(tx.recover()?)
        });
        match tx {
            Ok(tx) => self.offer(tx, reply, ctx),
            Err(error) => answer(reply, error),
        }
    }

    fn next_block(&mut self) -> NextBlock {
        let versions = (self.durable.version(), self.gas_limit.version());
        match self.next {
            // The chain's identifier may be set at any time.
            Some((of, next)) if of == versions => {
                NextBlock { chain_id: self.spec.chain_id_now(), ..next }
            }
            _ => {
                let gas_limit = self.gas_limit.look(|limit| *limit);
                let after =
                    |durable: &Durable| NextBlock::after(&self.spec, &durable.header, gas_limit);
                let next = self.durable.look(after);
                self.next = Some((versions, next));
                next
            }
        }
    }

    fn offer(
        &mut self,
        tx: Arc<RecoveredTx>,
        reply: Option<AdmitReply>,
        ctx: &mut Ctx<'_, AdmissionMessage>,
    ) {
        let next = self.next_block();
        if let Err(error) = check_stateless(&tx, &next, &self.config) {
            return answer(reply, error);
        }
        if tx.sidecar().is_none() {
            return self.admit(tx, reply);
        }
        if self.unproven.len() >= PROOFS_WAITING_MAX {
            return answer(reply, PoolError::Busy);
        }
        self.unproven.push_back((tx, reply));
        self.prove_next(ctx);
    }

    /// Has the blobs of the next transaction looked at, if those of another are not being.
    fn prove_next(&mut self, ctx: &mut Ctx<'_, AdmissionMessage>) {
        if self.is_proving {
            return;
        }
        let Some((tx, reply)) = self.unproven.pop_front() else { return };
        let fork = self.next_block().fork;
        self.is_proving = true;
        let job = ctx.compute(
            move |_| proven(&tx, fork),
            move |proven| AdmissionMessage::Proven {
                proven: proven.unwrap_or(Err(PoolError::Busy)),
                reply,
            },
        );
        // Nobody waits for it but this actor, and who wanted it is answered by its message.
        job.detach();
    }

    fn admit(&self, tx: Arc<RecoveredTx>, reply: Option<AdmitReply>) {
        let error = match self.pool.send(PoolMessage::Admit { tx, reply }) {
            Ok(()) => return,
            Err(error) => error,
        };
        let reason = refusal(&error);
        if let PoolMessage::Admit { reply, .. } = error.into_inner() {
            answer(reply, reason);
        }
    }
}

impl Actor for Admission {
    type Message = AdmissionMessage;

    fn handle(&mut self, message: AdmissionMessage, ctx: &mut Ctx<'_, AdmissionMessage>) -> Flow {
        match message {
            AdmissionMessage::Raw { raw, reply } => self.offer_raw(&raw, Some(reply), ctx),
            AdmissionMessage::Known { tx, reply } => self.offer(tx, Some(reply), ctx),
            AdmissionMessage::Proven { proven, reply } => {
                self.is_proving = false;
                match proven {
                    Ok(tx) => self.admit(tx, reply),
                    Err(error) => answer(reply, error),
                }
                self.prove_next(ctx);
            }
            AdmissionMessage::Gossip { raws } => {
                self.gossip = raws;
                self.gossip.reverse();
                return self.resume(ctx);
            }
        }
        Flow::Next
    }

    fn resume(&mut self, ctx: &mut Ctx<'_, AdmissionMessage>) -> Flow {
        while let Some(raw) = self.gossip.pop() {
            self.offer_raw(&raw, None, ctx);
            if ctx.left() == 0 && !self.gossip.is_empty() {
                return Flow::More;
            }
        }
        Flow::Next
    }
}

/// The transaction with its blobs as `fork` wants them, all proven.
fn proven(tx: &Arc<RecoveredTx>, fork: Fork) -> Result<Arc<RecoveredTx>, PoolError> {
    let blobs = tx.tx().as_eip4844().zip(tx.sidecar());
    let (signed, sidecar) = blobs.ok_or(BlobError::Missing)?;
    let sidecar = BlobSidecar::clone(sidecar);
    let sidecar = prove_blobs(sidecar, &signed.tx().blob_versioned_hashes, fork)?;
    Ok(tx.with_sidecar(Arc::new(sidecar)))
}

/// All admission actors; what is sent goes to the one with the shortest queue.
#[derive(Clone)]
pub struct Admissions(Arc<[Address<AdmissionMessage>]>);

impl Admissions {
    /// Spreads over these.
    ///
    /// # Panics
    ///
    /// If there are none.
    #[must_use]
    pub fn new(addresses: Vec<Address<AdmissionMessage>>) -> Self {
        assert!(!addresses.is_empty(), "somebody has to admit transactions");
        Self(addresses.into())
    }

    /// Sends; never waits. What finds no room is answered so; gossip is dropped then.
    pub fn send(&self, message: AdmissionMessage) {
        let shortest = match &*self.0 {
            [only] => only,
            all => all
                .iter()
                .min_by_key(|address| address.queued())
                .expect("there are some, by the check in `new`"),
        };
        let Err(error) = shortest.send(message) else { return };
        let reason = refusal(&error);
        match error.into_inner() {
            AdmissionMessage::Raw { reply, .. } | AdmissionMessage::Known { reply, .. } => {
                answer(Some(reply), reason);
            }
            AdmissionMessage::Proven { .. } | AdmissionMessage::Gossip { .. } => {}
        }
    }

    /// Offers EIP-2718 bytes.
    pub fn raw(&self, raw: Bytes) -> Answer<Result<B256, PoolError>> {
        let (reply, answer) = reply();
        self.send(AdmissionMessage::Raw { raw, reply });
        answer
    }

    /// Offers what was signed here, or is impersonated.
    pub fn known(&self, tx: Arc<RecoveredTx>) -> Answer<Result<B256, PoolError>> {
        let (reply, answer) = reply();
        self.send(AdmissionMessage::Known { tx, reply });
        answer
    }
}

impl fmt::Debug for Admissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Admissions").field(&self.0.len()).finish()
    }
}

fn refusal<M>(error: &SendError<M>) -> PoolError {
    match error {
        SendError::Full(_) => PoolError::Busy,
        SendError::Closed(_) => PoolError::Closed,
    }
}

fn answer(reply: Option<AdmitReply>, error: PoolError) {
    if let Some(reply) = reply {
        reply.send(Err(error));
    }
}
