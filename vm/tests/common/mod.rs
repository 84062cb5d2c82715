//! Generated contracts, and both ways to run a transaction on them.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]

use alloy_primitives::{Address, Bytes, TxKind, U256};
use evenkeel_vm::{ExecutionError, HeavyCall, Setup, Slice, Suspended};
use proptest::prelude::*;
use revm::{
    MainBuilder, MainContext,
    bytecode::{Bytecode, opcode as op},
    context::{BlockEnv, CfgEnv, Context, TxEnv, result::ExecutionResult},
    database::InMemoryDB,
    primitives::hardfork::SpecId,
    state::{AccountInfo, EvmState},
};

/// Sends every transaction.
pub const SENDER: Address = Address::repeat_byte(0xaa);

/// Every set of rules that revm knows and we run.
pub const SPECS: [SpecId; 14] = [
    SpecId::FRONTIER,
    SpecId::HOMESTEAD,
    SpecId::TANGERINE,
    SpecId::SPURIOUS_DRAGON,
    SpecId::BYZANTIUM,
    SpecId::PETERSBURG,
    SpecId::ISTANBUL,
    SpecId::BERLIN,
    SpecId::LONDON,
    SpecId::MERGE,
    SpecId::SHANGHAI,
    SpecId::CANCUN,
    SpecId::PRAGUE,
    SpecId::OSAKA,
];

/// Address of the contract with this number.
pub fn contract(number: u8) -> Address {
    let mut address = Address::repeat_byte(0x10);
    address.0[19] = number;
    address
}

/// Code being written.
#[derive(Clone, Debug, Default)]
pub struct Code(pub Vec<u8>);

impl Code {
    pub fn op(mut self, opcode: u8) -> Self {
        self.0.push(opcode);
        self
    }

    pub fn push(mut self, value: u64) -> Self {
        let bytes = value.to_be_bytes();
        let bytes = &bytes[value.leading_zeros() as usize / 8..];
        let bytes = if bytes.is_empty() { &[0][..] } else { bytes };
        self.0.push(op::PUSH1 + u8::try_from(bytes.len() - 1).expect("at most 8"));
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn address(mut self, address: Address) -> Self {
        self.0.push(op::PUSH20);
        self.0.extend_from_slice(address.as_slice());
        self
    }

    /// Calls with memory `input` bytes from 0, output to 0.
    pub fn call(self, opcode: u8, to: Address, gas: u64, (input, value): (u64, u64)) -> Self {
        let code = self.push(32).push(0).push(input).push(0);
        let code = match opcode {
            op::CALL | op::CALLCODE => code.push(value),
            _ => code,
        };
        code.address(to).push(gas).op(opcode).op(op::POP)
    }
}

/// One thing that a generated program does; leaves the stack as it found it.
#[derive(Clone, Debug)]
pub enum Piece {
    Arithmetic(u8, u64, u64),
    Store(u64, u64),
    Load(u64),
    Transient(u64, u64),
    Keccak(u64, u64),
    Log(u8, u64),
    Memory(u64),
    Copy(u64, u64),
    Call(u8, Address, u64, u64, u64),
    Create(bool, Vec<u8>, u64),
    Balance(Address),
    Loop(u64),
    Gas,
    Raw(u8),
    End(u8, u64),
}

impl Piece {
    pub fn write(&self, code: Code) -> Code {
        match self {
            Self::Arithmetic(opcode, a, b) => {
                code.push(3).push(*a).push(*b).op(*opcode).op(op::POP).op(op::POP)
            }
            Self::Store(slot, value) => code.push(*value).push(*slot).op(op::SSTORE),
            Self::Load(slot) => code.push(*slot).op(op::SLOAD).op(op::POP),
            Self::Transient(slot, value) => code.push(*value).push(*slot).op(op::TSTORE),
            Self::Keccak(from, len) => {
                code.push(*len).push(*from).op(op::KECCAK256).push(1).op(op::SSTORE)
            }
            Self::Log(topics, len) => {
                let code = (0..*topics).fold(code, |code, topic| code.push(u64::from(topic)));
                code.push(*len).push(0).op(op::LOG0 + topics)
            }
            Self::Memory(at) => code.push(*at).push(*at).op(op::MSTORE),
            Self::Copy(to, len) => code.push(*len).push(0).push(*to).op(op::CODECOPY),
            Self::Call(opcode, to, gas, input, value) => {
                code.call(*opcode, *to, *gas, (*input, *value))
            }
            Self::Create(is_two, init, value) => {
                let mut word = [0; 8];
                word[..init.len().min(8)].copy_from_slice(&init[..init.len().min(8)]);
                let code = code.push(u64::from_be_bytes(word)).push(0).op(op::MSTORE);
                let code = if *is_two { code.push(7) } else { code };
                let code = code.push(8).push(24).push(*value);
                code.op(if *is_two { op::CREATE2 } else { op::CREATE }).op(op::POP)
            }
            Self::Balance(address) => code.address(*address).op(op::BALANCE).op(op::POP),
            Self::Loop(times) => {
                let code = code.push(*times);
                let start = code.0.len() as u64;
                // JUMPDEST; i -= 1; if i != 0 goto JUMPDEST
                let code = code.op(op::JUMPDEST).push(1).op(op::SWAP1).op(op::SUB).op(op::DUP1);
                code.push(start).op(op::JUMPI).op(op::POP)
            }
            Self::Gas => code.op(op::GAS).push(2).op(op::SSTORE),
            Self::Raw(byte) => code.op(*byte),
            Self::End(opcode, len) => match *opcode {
                op::SELFDESTRUCT => code.address(contract(9)).op(op::SELFDESTRUCT),
                opcode => code.push(*len).push(0).op(opcode),
            },
        }
    }
}

pub fn code(pieces: &[Piece]) -> Bytes {
    Bytes::from(pieces.iter().fold(Code::default(), |code, piece| piece.write(code)).0)
}

fn callee() -> impl Strategy<Value = Address> {
    prop_oneof![
        3 => (0_u8..4).prop_map(contract),
        2 => (1_u8..18).prop_map(Address::with_last_byte),
    ]
}

pub fn piece() -> impl Strategy<Value = Piece> {
    let word = || prop_oneof![0_u64..4, any::<u64>()];
    let arithmetic =
        prop::sample::select(vec![op::ADD, op::MUL, op::SUB, op::DIV, op::EXP, op::SAR]);
    let calls =
        prop::sample::select(vec![op::CALL, op::CALLCODE, op::DELEGATECALL, op::STATICCALL]);
    let ends = prop::sample::select(vec![op::RETURN, op::REVERT, op::SELFDESTRUCT]);
    let len = || prop_oneof![0_u64..200, 8_000_u64..9_000, 60_000_u64..80_000];
    prop_oneof![
        3 => (arithmetic, word(), word()).prop_map(|(o, a, b)| Piece::Arithmetic(o, a, b)),
        3 => (0_u64..4, 0_u64..3).prop_map(|(slot, value)| Piece::Store(slot, value)),
        2 => (0_u64..4).prop_map(Piece::Load),
        1 => (0_u64..4, 0_u64..3).prop_map(|(slot, value)| Piece::Transient(slot, value)),
        3 => (0_u64..100, len()).prop_map(|(from, len)| Piece::Keccak(from, len)),
        2 => (0_u8..5, 0_u64..100).prop_map(|(topics, len)| Piece::Log(topics, len)),
        2 => (0_u64..5_000).prop_map(Piece::Memory),
        1 => (0_u64..500, 0_u64..500).prop_map(|(to, len)| Piece::Copy(to, len)),
        5 => (calls, callee(), 0_u64..400_000, 0_u64..300, 0_u64..3)
            .prop_map(|(o, to, gas, input, value)| Piece::Call(o, to, gas, input, value)),
        2 => (any::<bool>(), prop::collection::vec(any::<u8>(), 0..8), 0_u64..2)
            .prop_map(|(is_two, init, value)| Piece::Create(is_two, init, value)),
        1 => callee().prop_map(Piece::Balance),
        2 => (1_u64..60).prop_map(Piece::Loop),
        2 => Just(Piece::Gas),
        1 => any::<u8>().prop_map(Piece::Raw),
        1 => (ends, 0_u64..100).prop_map(|(o, len)| Piece::End(o, len)),
    ]
}

/// A transaction on contracts.
#[derive(Clone, Debug)]
pub struct Scene {
    pub spec: SpecId,
    pub contracts: Vec<Bytes>,
    pub input: Bytes,
    pub gas_limit: u64,
    /// None creates a contract.
    pub to: Option<Address>,
}

pub fn scene() -> impl Strategy<Value = Scene> {
    let program = || prop::collection::vec(piece(), 1..12).prop_map(|pieces| code(&pieces));
    (
        prop::sample::select(SPECS.to_vec()),
        prop::collection::vec(program(), 4),
        program(),
        60_000_u64..900_000,
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(Address::repeat_byte(0x33))),
            1 => callee().prop_map(Some),
            9 => Just(Some(contract(0))),
        ],
    )
        .prop_map(|(spec, contracts, input, gas_limit, to)| Scene {
            spec,
            contracts,
            input,
            gas_limit,
            to,
        })
}

impl Scene {
    pub fn db(&self) -> InMemoryDB {
        let mut db = InMemoryDB::default();
        let account = |balance: u64, code: Bytes| {
            let code = Bytecode::new_legacy(code);
            AccountInfo::new(U256::from(balance), 1, code.hash_slow(), code)
        };
        let rich =
            AccountInfo { balance: U256::from(10).pow(U256::from(20)), ..Default::default() };
        db.insert_account_info(SENDER, rich);
        for (number, code) in self.contracts.iter().enumerate() {
            let number = u8::try_from(number).expect("few contracts");
            db.insert_account_info(contract(number), account(5, code.clone()));
            db.insert_account_storage(contract(number), U256::ONE, U256::from(7))
                .expect("it is in memory");
        }
        db
    }

    pub fn tx(&self) -> TxEnv {
        TxEnv {
            caller: SENDER,
            kind: self.to.map_or(TxKind::Create, TxKind::Call),
            data: self.input.clone(),
            gas_limit: self.gas_limit,
            gas_price: 10,
            value: U256::ONE,
            ..TxEnv::default()
        }
    }

    pub fn setup(&self, heavy_gas: u64) -> Setup {
        let mut cfg = CfgEnv::new_with_spec(self.spec);
        cfg.tx_gas_limit_cap = Some(u64::MAX);
        let block = BlockEnv { beneficiary: Address::repeat_byte(0xbe), ..BlockEnv::default() };
        Setup { cfg, block, heavy_gas, is_net_metered: false, precompiles: None }
    }

    /// revm's own loop.
    pub fn plain(&self) -> Option<(ExecutionResult, EvmState)> {
        use revm::ExecuteEvm;
        let Setup { cfg, block, .. } = self.setup(u64::MAX);
        let context = Context::mainnet().with_db(self.db()).with_cfg(cfg).with_block(block);
        let done = context.build_mainnet().transact(self.tx()).ok()?;
        Some((done.result, done.state))
    }

    pub fn suspended(&self, heavy_gas: u64) -> Suspended<InMemoryDB> {
        Suspended::new(self.setup(heavy_gas), self.db(), ())
    }
}

/// Runs `tx` to its end in slices of `fuel`; returns also how many slices and offloads it took.
pub fn run_sliced(
    evm: &mut Suspended<InMemoryDB>,
    tx: TxEnv,
    fuel: u64,
) -> Result<(ExecutionResult, usize, usize), ExecutionError<InMemoryDB>> {
    if let Some(result) = evm.begin(tx)? {
        return Ok((result, 0, 0));
    }
    let (mut slices, mut offloads) = (0, 0);
    loop {
        slices += 1;
        match evm.resume(&mut fuel.clone())? {
            Slice::More => {}
            Slice::Offload(call) => {
                offloads += 1;
                evm.provide(run_heavy(call));
            }
            Slice::Done(result) => return Ok((result, slices, offloads)),
        }
    }
}

pub fn run_heavy(call: HeavyCall) -> evenkeel_vm::HeavyResult {
    call.run(&|| false)
}
