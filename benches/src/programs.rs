//! The calls that a fair node must survive: each burns a processor for seconds.
//!
//! Every program is bytecode put at one address by a state override, so no node needs a contract.

use crate::{
    bytecode::{Code, Op},
    http::body,
    random::Random,
};
use alloy_primitives::hex;
use serde_json::json;

/// Gas of one call unless a program needs another amount.
const GAS: u64 = 1_000_000_000;
/// A frame keeps 1/64 of its gas (EIP-150) and spends about 110, so 1,000 frames need 4 · 10¹⁰.
const CHAIN_GAS: u64 = 100_000_000_000;
/// Where the bytecode is put.
const CONTRACT: &str = "0x00000000000000000000000000000000e0e0e0e0";

/// One kind of hostile `eth_call`.
#[derive(Clone, Debug)]
pub struct Program {
    /// What the report calls it.
    pub name: &'static str,
    /// The JSON-RPC request.
    pub body: Vec<u8>,
}

/// `JUMPDEST PUSH1 0 JUMP`: nothing but cheap steps.
pub fn endless_loop() -> Program {
    let (code, start) = Code::new().label();
    on_contract("loop", code.jump(start), GAS, &[])
}

/// One program for each operation that a step counter does not see coming.
pub fn hostile_mix() -> Vec<Program> {
    let (modexp, pair) = (modexp_input(), pair());
    let modexp_code = precompile_loop(0x05, 1, modexp.len());
    let pairing_code = precompile_loop(0x08, 5_000, pair.len());
    vec![
        blake2f(),
        on_contract("modexp 1024 bytes", modexp_code, GAS, &modexp),
        on_contract("pairing 5000 pairs", pairing_code, GAS, &pair),
        on_contract("keccak 20 MB", keccak_loop(20 << 20), GAS, &[]),
        on_contract("keccak 15 MB", keccak_loop(15 << 20), GAS, &[]),
        on_contract("1000-deep calls", call_chain(), CHAIN_GAS, &[]),
        on_contract("cold sloads", cold_sloads(), GAS, &[]),
    ]
}

/// `BLAKE2F` of 10⁹ rounds in one step: the precompile is the callee, so that it gets all the gas
/// (EIP-152: one gas a round).
fn blake2f() -> Program {
    const ROUNDS: u32 = 1_000_000_000;
    let mut input = vec![0; 213];
    input[..4].copy_from_slice(&ROUNDS.to_be_bytes());
    // Beside the rounds, room for the intrinsic gas of 213 bytes.
    let gas = u64::from(ROUNDS) + 100_000;
    let call = json!({ "to": "0x0000000000000000000000000000000000000009",
        "gas": format!("{gas:#x}"), "data": hex::encode_prefixed(&input) });
    Program { name: "blake2f 1e9 rounds", body: body("eth_call", &json!([call, "latest"])) }
}

/// Fills memory with `copies` of the call data, then calls the precompile on all of it for as long
/// as there is gas.
fn precompile_loop(precompile: u64, copies: u64, input_bytes: usize) -> Code {
    // Stack: where the next copy goes.
    let (code, fill) = Code::new().push(0).label();
    let code = code.op(Op::CallDataSize).push(0).op(Op::Dup3).op(Op::CallDataCopy);
    let code = code.op(Op::CallDataSize).op(Op::Add);
    let code = code.op(Op::Dup1).push(copies * input_bytes as u64).op(Op::Gt).jump_if(fill);
    // Stack: the bytes filled, which are the precompile's input.
    let (code, again) = code.label();
    let code = code.push(0).push(0).op(Op::Dup3).push(0).push(precompile).op(Op::Gas);
    code.op(Op::StaticCall).op(Op::Pop).jump(again)
}

/// Hashes one stretch of memory for as long as there is gas.
fn keccak_loop(bytes: u64) -> Code {
    let (code, again) = Code::new().label();
    code.push(bytes).push(0).op(Op::Keccak256).op(Op::Pop).jump(again)
}

/// Calls itself with all gas, for ever, in every frame: a walk of the call tree at full depth.
fn call_chain() -> Code {
    let (code, again) = Code::new().label();
    let code = code.push(0).push(0).push(0).push(0).push(0).op(Op::Address).op(Op::Gas);
    code.op(Op::Call).op(Op::Pop).jump(again)
}

/// Reads one storage slot after another, each for the first time.
fn cold_sloads() -> Code {
    // An odd step visits every key, and neighbouring reads are far apart in any ordered store.
    let step = [0x9d; 32];
    let (code, again) = Code::new().push_bytes(&step).push(0).label();
    let code = code.op(Op::Dup2).op(Op::Add);
    code.op(Op::Dup1).op(Op::SLoad).op(Op::Pop).jump(again)
}

/// Base, exponent and modulus of 1,024 bytes, the most that EIP-7823 allows.
fn modexp_input() -> Vec<u8> {
    const BYTES: usize = 1_024;
    let mut input = Vec::with_capacity(3 * (32 + BYTES));
    for _ in 0..3 {
        input.extend([0; 30]);
        input.extend(u16::try_from(BYTES).expect("1,024 fits").to_be_bytes());
    }
    let mut random = Random::new(1);
    for _ in 0..3 {
        input.extend((0..BYTES / 8).flat_map(|_| random.next().to_be_bytes()));
    }
    // Odd, so that nobody gets away with a shortcut for powers of two.
    *input.last_mut().expect("not empty") |= 1;
    input
}

/// The generators of both bn254 groups (EIP-197), so that a pair costs a whole Miller loop.
fn pair() -> Vec<u8> {
    hex::decode(concat!(
        "0000000000000000000000000000000000000000000000000000000000000001",
        "0000000000000000000000000000000000000000000000000000000000000002",
        "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2",
        "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed",
        "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b",
        "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa",
    ))
    .expect("hex digits")
}

fn on_contract(name: &'static str, code: Code, gas: u64, data: &[u8]) -> Program {
    let call = json!({ "to": CONTRACT, "gas": format!("{gas:#x}"),
        "data": hex::encode_prefixed(data) });
    let code = json!({ CONTRACT: { "code": hex::encode_prefixed(code.into_bytes()) } });
    Program { name, body: body("eth_call", &json!([call, "latest", code])) }
}
