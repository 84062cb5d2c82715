//! The longest steps that cannot be cut, at the default limits: single instructions, and the
//! heaviest precompile calls that still run on a worker.
//!
//! `cargo run --release -p evenkeel-vm --example uncut`
#![allow(clippy::print_stdout, reason = "an example prints")]

use alloy_eips::{
    eip2930::{AccessList, AccessListItem},
    eip7702::{Authorization, RecoveredAuthority, RecoveredAuthorization},
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use evenkeel_vm::{
    Setup, Slice, Suspended,
    limits::{HEAVY_GAS, MEMORY_BYTES_MAX},
};
use revm::{
    bytecode::{Bytecode, opcode as op},
    context::{BlockEnv, CfgEnv, TxEnv, either::Either},
    database::InMemoryDB,
    precompile::Precompiles,
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use rustix::time::{ClockId, clock_gettime};

const CALLER: Address = Address::repeat_byte(0xca);
const TARGET: Address = Address::repeat_byte(0x7a);
const RUNS: usize = 7;

/// Generators of BLS12-381 as the precompiles take them.
const G1: [&str; 2] = [
    "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb",
    "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1",
];
const G2: [&str; 4] = [
    "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8",
    "13e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e",
    "0ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801",
    "0606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be",
];
/// Hash, v, r and s of a valid signature.
const SIGNED: &str = "\
    456e9aea5e197a1f1af7a3e85a3212fa4049a3ba34c2289b4c860fc0b0c64ef3\
    000000000000000000000000000000000000000000000000000000000000001c\
    9242685bf161793cc25603c231bc2f568eb630ea16aa137d2664ac8038825608\
    4f8ae3bd7535248d0bd448298cc2e2071e56992d0774dc340c368ae950852ada";
/// A pair of `alt_bn128` generators.
const BN_PAIR: &str = "\
    0000000000000000000000000000000000000000000000000000000000000001\
    0000000000000000000000000000000000000000000000000000000000000002\
    198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2\
    1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed\
    090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b\
    12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa";

fn millis() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    std::time::Duration::from_nanos(nanos.unsigned_abs()).as_secs_f64() * 1e3
}

fn push(code: &mut Vec<u8>, value: usize) {
    code.push(op::PUSH8);
    code.extend_from_slice(&(value as u64).to_be_bytes());
}

/// Pushes the operands, the last on top, then runs the instruction.
fn instruction(operands: &[usize], opcode: u8) -> Vec<u8> {
    let mut code = vec![];
    for operand in operands {
        push(&mut code, *operand);
    }
    code.push(opcode);
    code
}

/// The longest of all slices of one instruction, and how many there were.
fn longest_slice(code: &[u8], input: &Bytes) -> (f64, u32) {
    let mut db = InMemoryDB::default();
    let balance = U256::from(10).pow(U256::from(30));
    db.insert_account_info(CALLER, AccountInfo { balance, ..AccountInfo::default() });
    let code = Bytecode::new_legacy(Bytes::copy_from_slice(code));
    db.insert_account_info(TARGET, AccountInfo::new(U256::ZERO, 1, code.hash_slow(), code));
    let mut cfg = CfgEnv::new_with_spec(SpecId::OSAKA);
    cfg.tx_gas_limit_cap = Some(u64::MAX);
    cfg.memory_limit = MEMORY_BYTES_MAX as u64;
    let setup = Setup {
        cfg,
        block: BlockEnv::default(),
        heavy_gas: HEAVY_GAS,
        is_net_metered: false,
        precompiles: None,
    };
    let mut evm = Suspended::new(setup, db, ());
    let tx = TxEnv {
        caller: CALLER,
        kind: TxKind::Call(TARGET),
        data: input.clone(),
        gas_limit: 1 << 40,
        ..TxEnv::default()
    };
    let mut worst = 0_f64;
    let mut slices = 0;
    let start = millis();
    assert_eq!(evm.begin(tx), Ok(None));
    worst = worst.max(millis() - start);
    loop {
        let start = millis();
        let slice = evm.resume(&mut 1).expect("memory does not fail");
        worst = worst.max(millis() - start);
        slices += 1;
        match slice {
            Slice::More => {}
            Slice::Offload(call) => evm.provide(call.run(&|| false)),
            Slice::Done(_) => return (worst, slices),
        }
    }
}

/// The start of a transaction with an access list or authorizations that 30 Mgas pay for.
fn begin(tx: &TxEnv) -> f64 {
    let times = (0..RUNS).map(|_| {
        let mut db = InMemoryDB::default();
        let balance = U256::from(10).pow(U256::from(30));
        db.insert_account_info(CALLER, AccountInfo { balance, ..AccountInfo::default() });
        let cfg = CfgEnv::new_with_spec(SpecId::PRAGUE);
        let setup = Setup {
            cfg,
            block: BlockEnv::default(),
            heavy_gas: HEAVY_GAS,
            is_net_metered: false,
            precompiles: None,
        };
        let mut evm = Suspended::new(setup, db, ());
        let start = millis();
        assert_eq!(evm.begin(tx.clone()), Ok(None));
        millis() - start
    });
    times.fold(f64::MAX, f64::min)
}

fn begins() {
    println!("starts of transactions of 30 Mgas: validation, fee, access list, delegations");
    let tx = TxEnv {
        caller: CALLER,
        kind: TxKind::Call(TARGET),
        gas_limit: 30_000_000,
        ..TxEnv::default()
    };
    let item = |n: usize, keys: usize| AccessListItem {
        address: Address::left_padding_from(&n.to_be_bytes()),
        storage_keys: (0..keys).map(|key| B256::from(U256::from(key))).collect(),
    };
    let accounts = AccessList((0..12_400).map(|n| item(n, 0)).collect());
    let slots = AccessList(vec![item(1, 15_700)]);
    for (name, list) in [("12,400 accounts", accounts), ("15,700 slots", slots)] {
        let tx = TxEnv { tx_type: 1, access_list: list, ..tx.clone() };
        println!("{name:18} {:9.3} ms", begin(&tx));
    }
    let authorization_list = (0..1_190_u64).map(|n| {
        let signer = Address::left_padding_from(&(n + 1_000).to_be_bytes());
        let unsigned = Authorization { chain_id: U256::ONE, address: TARGET, nonce: 0 };
        let authority = RecoveredAuthority::Valid(signer);
        Either::Right(RecoveredAuthorization::new_unchecked(unsigned, authority))
    });
    let list = authorization_list.collect();
    let tx = TxEnv { tx_type: 4, authorization_list: list, ..tx };
    println!("{:18} {:9.3} ms", "1,190 delegations", begin(&tx));
}

fn field(text: &str) -> Vec<u8> {
    let mut padded = vec![0; 16];
    padded.extend(hex::decode(text).expect("a constant"));
    padded
}

fn bls(points: &[&str]) -> Vec<u8> {
    points.iter().flat_map(|point| field(point)).collect()
}

fn modexp() -> Vec<u8> {
    // 8 words squared, twice, times 255 bits: 32,640 gas since Osaka.
    const LEN: usize = 64;
    let mut input = vec![];
    for len in [LEN, 32, LEN] {
        input.extend(U256::from(len).to_be_bytes::<32>());
    }
    input.resize(96 + LEN + 32 + LEN, 0xff);
    input
}

fn blake2f() -> Vec<u8> {
    let mut input = vec![7; 213];
    input[..4].copy_from_slice(&40_000_u32.to_be_bytes());
    input[212] = 1;
    input
}

/// The most items of this kind that stay light, and how long they take.
fn heaviest_light(address: u8, item: &[u8], fixed: &[u8]) -> Option<(usize, f64)> {
    let precompiles = Precompiles::osaka();
    let precompile =
        precompiles.get(&Address::with_last_byte(address)).expect("it exists in Osaka");
    let input = |count: usize| [fixed, &item.repeat(count)].concat();
    let is_light = |count: usize| {
        precompile.execute(&input(count), HEAVY_GAS, 0).is_ok_and(|output| output.is_success())
    };
    let (mut low, mut high) = (1, 1 << 16);
    if item.is_empty() {
        high = 2;
    }
    if !is_light(low) {
        return None;
    }
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if is_light(middle) { low = middle } else { high = middle }
    }
    let input = input(low);
    let times = (0..RUNS).map(|_| {
        let start = millis();
        let output = precompile.execute(&input, HEAVY_GAS, 0).expect("it is light");
        assert!(output.is_success());
        millis() - start
    });
    Some((low, times.fold(f64::MAX, f64::min)))
}

/// Sets as many fresh transient slots as 30 Mgas pay for (100 gas each, 147 with the loop), then
/// reverts, which undoes them all in one step.
fn reverting() -> Vec<u8> {
    // PUSH1 0; loop: JUMPDEST PUSH1 1 ADD DUP1 DUP1 TSTORE DUP1 PUSH3 n GT PUSH1 loop JUMPI
    let mut code = hex!("60005b6001018080").to_vec();
    code.extend([op::TSTORE, op::DUP1, op::PUSH3]);
    code.extend_from_slice(&200_000_u32.to_be_bytes()[1..]);
    code.extend([op::GT, op::PUSH1, 2, op::JUMPI, op::PUSH1, 0, op::DUP1, op::REVERT]);
    code
}

fn main() {
    println!("instructions at {MEMORY_BYTES_MAX} bytes of memory: longest slice at fuel 1");
    let memory = MEMORY_BYTES_MAX;
    let half = memory / 2;
    let mut call_data = vec![];
    call_data.resize(1 << 20, 1);
    let initcode = 49_152;
    let table: [(&str, Vec<u8>, Bytes); 10] = [
        ("MSTORE (growth)", instruction(&[1, memory - 32], op::MSTORE), Bytes::new()),
        ("MCOPY", instruction(&[half, 0, half], op::MCOPY), Bytes::new()),
        ("CALLDATACOPY", instruction(&[memory, 0, 0], op::CALLDATACOPY), call_data.into()),
        ("CODECOPY", instruction(&[memory, 0, 0], op::CODECOPY), Bytes::new()),
        ("KECCAK256", instruction(&[memory, 0], op::KECCAK256), Bytes::new()),
        ("LOG0", instruction(&[memory, 0], op::LOG0), Bytes::new()),
        ("RETURN", instruction(&[memory, 0], op::RETURN), Bytes::new()),
        ("CREATE", instruction(&[initcode, 0, 0], op::CREATE), Bytes::new()),
        ("REVERT of 200,000", reverting(), Bytes::new()),
        ("EXP", instruction(&[usize::MAX, usize::MAX], op::EXP), Bytes::new()),
    ];
    for (name, code, input) in table {
        // The middle: in the best run the allocator has the pages of the run before at hand.
        let mut runs: Vec<_> = (0..RUNS).map(|_| longest_slice(&code, &input)).collect();
        runs.sort_by(|left, right| left.0.total_cmp(&right.0));
        let (worst, slices) = runs[RUNS / 2];
        println!("{name:18} {worst:9.3} ms   {slices:6} slices");
    }
    begins();
    println!("precompiles at {HEAVY_GAS} gas: the heaviest call that runs on a worker");
    let g1_msm = [bls(&G1), vec![0xab; 32]].concat();
    let g2_msm = [bls(&G2), vec![0xab; 32]].concat();
    let bls_pair = [bls(&G1), bls(&G2)].concat();
    let bn_pair = hex::decode(BN_PAIR).expect("a constant");
    let table: [(&str, u8, Vec<u8>, Vec<u8>); 12] = [
        ("ECRECOVER", 1, vec![], hex::decode(SIGNED).expect("a constant")),
        ("SHA256", 2, vec![1; 32], vec![]),
        ("RIPEMD160", 3, vec![1; 32], vec![]),
        ("IDENTITY", 4, vec![1; 32], vec![]),
        ("MODEXP", 5, vec![], modexp()),
        ("BN254_MUL", 7, vec![], [&bn_pair[..64], &[0xab; 32]].concat()),
        ("BN254_PAIRING", 8, bn_pair, vec![]),
        ("BLAKE2F", 9, vec![], blake2f()),
        ("BLS12_G1MSM", 0x0c, g1_msm, vec![]),
        ("BLS12_G2MSM", 0x0e, g2_msm, vec![]),
        ("BLS12_PAIRING", 0x0f, bls_pair, vec![]),
        ("BLS12_MAP_G2", 0x11, vec![], [field(G1[0]), field(G1[1])].concat()),
    ];
    for (name, address, item, fixed) in table {
        match heaviest_light(address, &item, &fixed) {
            Some((count, worst)) => println!("{name:18} {worst:9.3} ms   {count:6} items"),
            None => println!("{name:18} always heavy"),
        }
    }
}
