//! The system calls after the last transaction, and what they and the deposits request (EIP-7685).
//! Pure.

use alloy_primitives::Bytes;
use revm::context::{TxEnv, result::ExecutionResult};

use super::{
    ExecError,
    observer::Observer,
    run::{BlockRun, Phase, Progress, fatal},
};
use crate::{
    overlay::Overlay,
    slice::{Frames, Machine, Slice},
};

impl<I: Observer> BlockRun<I>
where
    Machine<Overlay, I>: Frames<Overlay>,
{
    /// Goes on with `current`, or takes the next.
    pub(super) fn after(
        &mut self,
        mut calls: std::vec::IntoIter<(u8, TxEnv)>,
        current: Option<(u8, TxEnv)>,
        left: &mut u64,
    ) -> Result<Progress, ExecError> {
        let (kind, call) = if let Some(current) = current {
            current
        } else {
            let Some((kind, call)) = calls.next() else { return Ok(self.finish_calls()) };
            if !self.has_code(&call)? {
                if self.spec.needs_request_contracts() {
                    let address = call.kind.into_to().unwrap_or_default();
                    return Err(ExecError::SystemContract { address });
                }
                // Dev chains may do without the contracts; nothing is requested then.
                return Ok(Progress::Phase(Phase::After { calls, current: None }));
            }
            self.evm().begin_system(call.clone()).map_err(fatal)?;
            (kind, call)
        };
        match self.evm().resume(left).map_err(fatal)? {
            Slice::More => Ok(Progress::Phase(Phase::After { calls, current: Some((kind, call)) })),
            Slice::Offload(heavy) => {
                let phase = Phase::After { calls, current: Some((kind, call)) };
                Ok(Progress::Offload(phase, heavy))
            }
            Slice::Done(ExecutionResult::Success { output, .. }) => {
                self.commit()?;
                self.request(kind, output.data());
                Ok(Progress::Phase(Phase::After { calls, current: None }))
            }
            Slice::Done(_) => {
                let address = call.kind.into_to().unwrap_or_default();
                Err(ExecError::SystemCall { address })
            }
        }
    }

    fn has_code(&mut self, call: &TxEnv) -> Result<bool, ExecError> {
        let address = call.kind.into_to().unwrap_or_default();
        let account = self.evm().db_mut().account(address);
        let account = account.map_err(|error| ExecError::State(error.0))?;
        Ok(account.is_some_and(|account| account.has_code()))
    }

    /// EIP-7685: requests without data are left out.
    pub(super) fn request(&mut self, kind: u8, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let mut request = Vec::with_capacity(1 + data.len());
        request.push(kind);
        request.extend_from_slice(data);
        self.body.requests.push_request(Bytes::from(request));
    }
}
