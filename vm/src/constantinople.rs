//! `SSTORE` by EIP-1283, which Constantinople had and Petersburg took back; revm does not have it.
//!
//! Pure. It is what EIP-2200 (Istanbul) does, at 200 gas for a slot that is loaded, and without its
//! lower bound for the gas left.

use revm::{
    Database,
    context_interface::cfg::gas_params::{GasId, GasParams},
    interpreter::{
        InstructionContext, InstructionExecResult, InstructionResult, instructions::host,
        interpreter::EthInterpreter,
    },
};

use crate::slice::VmContext;

const LOAD_GAS: u64 = 200;
const SET_GAS: u64 = 20_000;
const RESET_GAS: u64 = 5_000;

/// Petersburg's gas, but for `SSTORE`.
pub(crate) fn set_gas(params: &mut GasParams) {
    params.override_gas([
        (GasId::sstore_static(), LOAD_GAS),
        (GasId::sstore_set_without_load_cost(), SET_GAS - LOAD_GAS),
        (GasId::sstore_reset_without_cold_load_cost(), RESET_GAS - LOAD_GAS),
        (GasId::sstore_set_refund(), SET_GAS - LOAD_GAS),
        (GasId::sstore_reset_refund(), RESET_GAS - LOAD_GAS),
    ]);
}

/// `SSTORE`.
pub(crate) fn sstore<DB: Database>(
    context: InstructionContext<'_, VmContext<DB>, EthInterpreter>,
) -> InstructionExecResult {
    host::sstore_with_gas_accounting(context, |context, _, stored| {
        let params = &context.host.cfg.gas_params;
        let gas = &mut context.interpreter.gas;
        if !gas.record_regular_cost(params.sstore_dynamic_gas(true, &stored.data, false)) {
            return Err(InstructionResult::OutOfGas);
        }
        gas.record_refund(params.sstore_refund(true, &stored.data));
        Ok(())
    })
}
