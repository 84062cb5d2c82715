//! Genesis files and dev chains: known hashes, fork order, and header rules of every fork.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, U256, address, b256, keccak256};
use alloy_trie::root::state_root_unhashed;
use evenkeel_chain::{
    BlobParams, CREATE2_FACTORY, ChainSpec, DERIVATION_PATH, DevAccounts, DevOptions, Fork,
    GenesisError, Header, HeaderError, Height, MNEMONIC, Timestamps, check_header,
};
use proptest::prelude::*;

fn state_root(spec: &ChainSpec) -> B256 {
    state_root_unhashed(
        spec.genesis_alloc().iter().map(|(a, account)| (*a, account.clone().into_trie_account())),
    )
}

fn parse(config: &str) -> Result<ChainSpec, GenesisError> {
    ChainSpec::from_genesis_json(&format!(
        r#"{{"config":{{"chainId":7,{config}}},"gasLimit":"0x1c9c380","difficulty":"0x0","alloc":{{}}}}"#
    ))
}

/// All blocks up to London, and Paris from the start.
const MERGED: &str = r#""homesteadBlock":0,"eip150Block":0,"eip155Block":0,"eip158Block":0,
    "byzantiumBlock":0,"constantinopleBlock":0,"petersburgBlock":0,"istanbulBlock":0,
    "berlinBlock":0,"londonBlock":0,"terminalTotalDifficulty":0"#;

/// Known answer: the genesis block of a public network (file of the `alloy-genesis` crate).
#[test]
fn sepolia_has_its_hash_and_forks() {
    let text = include_str!("data/sepolia.json");
    let spec = ChainSpec::from_genesis_json(text).expect("a network's own genesis");
    assert_eq!(
        spec.genesis_header(state_root(&spec)).hash_slow(),
        b256!("25a5cc106eea7138acab33231d7160d69cb777ee0c2c553fcddf5138993e6dd9")
    );
    let at = |height, time| spec.fork_at(Height::new(height), time);
    assert_eq!(at(0, 0), Fork::London);
    assert_eq!(at(1_735_371, 1_600_000_000), Fork::Paris);
    assert_eq!(at(2_000_000, 1_677_557_088), Fork::Shanghai);
    assert_eq!(spec.timestamps, Timestamps::Strict);
}

/// Known answers: the fork ids that public clients of the same network use.
#[test]
fn eras_have_their_fork_ids() {
    let text = include_str!("data/sepolia.json");
    let later = r#""cancunTime":1706655072,"pragueTime":1741159776,"osakaTime":1760427360,
        "bpo1Time":1761017184,"bpo2Time":1761607008,"shanghaiTime""#;
    let text = text.replacen(r#""shanghaiTime""#, later, 1);
    let spec = ChainSpec::from_genesis_json(&text).expect("a network's own genesis");
    let eras = spec.eras(spec.genesis_header(state_root(&spec)).hash_slow());
    let found: Vec<_> = eras.iter().map(|era| (era.activation_time, era.fork_hash.0)).collect();
    let expected = [
        (0, 0xb96c_bd13_u32),
        (1_677_557_088, 0xf7f9_bc08),
        (1_706_655_072, 0x88cf_81d9),
        (1_741_159_776, 0xed88_b5fd),
        (1_760_427_360, 0xe2ae_4999),
        (1_761_017_184, 0x5607_8a1e),
        (1_761_607_008, 0x2689_56b6),
    ];
    assert_eq!(found, expected.map(|(time, hash)| (time, hash.to_be_bytes())));
    let forks: Vec<_> = eras.iter().map(|era| era.fork).collect();
    assert_eq!(forks[..3], [Fork::Paris, Fork::Shanghai, Fork::Cancun]);
    assert_eq!(forks[3..], [Fork::Prague, Fork::Osaka, Fork::Bpo1, Fork::Bpo2]);
    let most: Vec<_> = eras.iter().map(|era| era.blobs.map(|blobs| blobs.max_blob_count)).collect();
    assert_eq!(most, [None, None, Some(6), Some(9), Some(9), Some(15), Some(21)]);

    // All from the start: one era, whose id is that of the genesis alone.
    let dev = ChainSpec::dev(&DevOptions { timestamp: 9, ..DevOptions::default() });
    let [era] = dev.eras(B256::ZERO)[..] else { panic!("one era") };
    // CRC-32 of 32 zero bytes.
    assert_eq!((era.activation_time, era.fork_hash.0), (0, 0x190a_55ad_u32.to_be_bytes()));
}

/// Known answers: the first dev account, and the proxy's code as it stands on mainnet.
#[test]
fn dev_chain_has_the_accounts_and_contracts_tools_expect() {
    let accounts =
        DevAccounts::from_mnemonic(MNEMONIC, DERIVATION_PATH, 10).expect("the default accounts");
    let first = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    assert_eq!(accounts.addresses()[0], first);
    assert_eq!(accounts.addresses()[9], address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720"));
    assert!(!format!("{accounts:?}").contains("junk"));

    let balance = U256::from(10_000) * U256::from(10).pow(U256::from(18));
    let options = DevOptions { accounts: vec![(first, balance)], ..DevOptions::default() };
    let spec = ChainSpec::dev(&options);
    let alloc = spec.genesis_alloc();
    assert_eq!(alloc[&first].balance, balance);
    assert_eq!(alloc.len(), 6);
    assert_eq!(
        alloc[&CREATE2_FACTORY].code_hash(),
        Some(b256!("2fa86add0aed31f33a762c9d88e807c475bd51d0f52bd0955754b2608f7e4989"))
    );

    let cancun = ChainSpec::dev(&DevOptions { fork: Fork::Cancun, ..options.clone() });
    assert_eq!(cancun.genesis_alloc().len(), 3);
    assert_eq!(cancun.genesis_header(B256::ZERO).requests_hash, None);
    assert_ne!(cancun.hash(), spec.hash());
    assert_eq!(spec.hash(), ChainSpec::dev(&options).hash());
    let other = DevOptions { accounts: vec![(first, balance + U256::ONE)], ..options };
    assert_ne!(ChainSpec::dev(&other).hash(), spec.hash());
}

/// Goal: the file that is written of a chain's genesis is that chain's, whoever made it.
#[test]
fn a_genesis_written_is_the_genesis_read() {
    let text = include_str!("data/sepolia.json");
    let later = r#""cancunTime":1706655072,"pragueTime":1741159776,"bpo4Time":1761017184,
        "osakaTime":1741159776,"blobSchedule":{"bpo4":{"target":3,"max":7,
        "baseFeeUpdateFraction":9}},"shanghaiTime""#;
    let files = [
        text.to_owned(),
        text.replacen(r#""shanghaiTime""#, later, 1),
        text.replace(r#""mergeNetsplitBlock":1735371,"#, "")
            .replace("Passed\":true", "Passed\":false"),
    ];
    let read = |text: &str| ChainSpec::from_genesis_json(text);
    let mut specs = files.map(|text| read(&text).expect("a genesis")).to_vec();
    assert!(specs[2].terminal_total_difficulty().is_some());
    // Constantinople without Petersburg is none in geth's format.
    for fork in Fork::ALL.into_iter().filter(|fork| *fork != Fork::Constantinople) {
        let accounts = vec![(Address::repeat_byte(7), U256::MAX)];
        let options = DevOptions { fork, accounts, number: 3, timestamp: 9, ..Default::default() };
        specs.push(ChainSpec::dev(&options));
    }
    for spec in specs {
        let again = read(&spec.to_genesis_json()).expect("we wrote it");
        assert_eq!(spec.difference(&again), None);
        assert_eq!(spec.hash(), again.hash());
    }
    let text = r#""evenkeel":{"timestamps":"Loose"},"shanghaiTime":0"#;
    let error = parse(&format!("{MERGED},{text}")).expect_err("no such rule").to_string();
    assert!(error.contains("evenkeel") && error.contains("Loose"), "{error}");
}

/// Goal: a random mnemonic is a function of its entropy, and derives again from its phrase.
#[test]
fn random_accounts_come_back_from_their_phrase() {
    let random = |byte| DevAccounts::random(&[byte; 16], "m/44'/60'/0'/0", 3).expect("a good path");
    let accounts = random(1);
    let again = DevAccounts::from_mnemonic(accounts.mnemonic(), DERIVATION_PATH, 3);
    assert_eq!(again.expect("its own phrase").addresses(), accounts.addresses());
    assert_ne!(random(2).addresses(), accounts.addresses());
    assert!(DevAccounts::from_mnemonic("test test", DERIVATION_PATH, 1).is_err());
    assert!(DevAccounts::from_mnemonic(MNEMONIC, "m/44'/x/", 1).is_err());
    assert!(DevAccounts::from_mnemonic(MNEMONIC, DERIVATION_PATH, usize::MAX).is_err());
}

/// Goal: every fork of a dev chain is what it was asked to be, by each of its names.
#[test]
fn every_fork_has_its_name() {
    for fork in Fork::ALL {
        let spec = ChainSpec::dev(&DevOptions { fork, ..DevOptions::default() });
        assert_eq!(spec.fork_at(Height::new(5), 77), fork);
        assert_eq!(fork.to_string().to_uppercase().parse::<Fork>(), Ok(fork));
    }
    assert!(Fork::ALL.is_sorted());
    assert_eq!("spurious_dragon".parse::<Fork>(), Ok(Fork::SpuriousDragon));
    assert!("shanghi".parse::<Fork>().is_err());
}

/// Goal: forks switch where the file says, blob parameters with them (EIP-7892).
#[test]
fn forks_and_blob_schedule_follow_the_file() {
    let spec = parse(&format!(
        r#"{MERGED},"shanghaiTime":0,"cancunTime":10,"pragueTime":20,"osakaTime":30,"bpo1Time":40,
        "bpo3Time":50,"blobSchedule":{{
            "cancun":{{"target":1,"max":2,"baseFeeUpdateFraction":100}},
            "bpo3":{{"target":20,"max":40,"baseFeeUpdateFraction":300}}}}"#
    ))
    .expect("a genesis as hive writes it");
    let at = |time| spec.fork_at(Height::new(1), time);
    assert_eq!(
        [0, 9, 10, 20, 30, 40, 99].map(at),
        [
            Fork::Shanghai,
            Fork::Shanghai,
            Fork::Cancun,
            Fork::Prague,
            Fork::Osaka,
            Fork::Bpo1,
            Fork::Bpo1
        ]
    );
    let blobs = |time| {
        let params = spec.blob_params(time);
        (params.target_blob_count, params.max_blob_count, params.max_blobs_per_tx)
    };
    assert_eq!(blobs(10), (1, 2, 2));
    assert_eq!(blobs(20), (6, 9, 9));
    assert_eq!(blobs(30), (6, 9, 6));
    assert_eq!(blobs(40), (10, 15, 6));
    assert_eq!(blobs(50), (20, 40, 6));
    assert_eq!(spec.blob_params(40), BlobParams::bpo1());
}

/// Goal: a genesis that makes no chain is refused by the name of what is wrong.
#[test]
fn bad_genesis_is_refused_by_name() {
    let text = |config: &str| parse(config).expect_err(config).to_string();
    let with = |more: &str| text(&format!("{MERGED},{more}"));

    assert!(with(r#""pragueTime":5"#).contains("shanghai not enabled, but prague"));
    assert!(
        with(r#""shanghaiTime":9,"cancunTime":8"#).contains("shanghai enabled at 9, but cancun")
    );
    assert!(text(r#""homesteadBlock":0,"berlinBlock":3"#).contains("tangerine not enabled"));
    assert!(text(r#""terminalTotalDifficulty":5"#).contains("set mergeNetsplitBlock"));
    assert!(with(r#""amsterdamTime":5"#).contains("amsterdamTime"));
    assert!(with(r#""verkleTime":5"#).contains("verkleTime"));
    let times = r#""shanghaiTime":0,"cancunTime":0,"pragueTime":0,"osakaTime":0"#;
    assert!(with(&format!(r#"{times},"bpo4Time":9"#)).contains("\"bpo4\" in blobSchedule"));
    let entry = r#"{"target":3,"max":6,"baseFeeUpdateFraction":9}"#;
    let later = format!(r#""blobSchedule":{{"bpo3":{entry},"bpo4":{entry},"bpo5":{entry}}}"#);
    for (out_of_order, expected) in [
        (r#""bpo1Time":9,"bpo3Time":8"#, "bpo1 enabled at 9, but bpo3 enabled at 8"),
        (r#""bpo2Time":9,"bpo1Time":10"#, "bpo1 enabled at 10, but bpo2 enabled at 9"),
        (r#""bpo5Time":9,"bpo4Time":10"#, "bpo4 enabled at 10, but bpo5 enabled at 9"),
    ] {
        assert!(with(&format!("{times},{out_of_order},{later}")).contains(expected));
    }
    let alone = format!(r#""shanghaiTime":0,"cancunTime":0,"bpo3Time":9,{later}"#);
    assert!(with(&alone).contains("osaka not enabled, but bpo3 enabled at 9"));
    let zero = r#""blobSchedule":{"cancun":{"target":3,"max":6,"baseFeeUpdateFraction":0}}"#;
    assert!(with(&format!("{times},{zero}")).contains("baseFeeUpdateFraction 0"));

    let refused = |text| ChainSpec::from_genesis_json(text).expect_err(text).to_string();
    assert!(refused("{").contains("not valid JSON"));
    assert!(refused("[]").contains("expected an object with config, gasLimit"));
    assert!(refused(r#"{"config":7}"#).contains("expected an object with chainId"));
    assert!(refused(r#"{"gasLimit":"0x1","alloc":{}}"#).contains("'config'"));
    let no_alloc = r#"{"config":{"chainId":1},"gasLimit":"0x1c9c380","difficulty":"0x0"}"#;
    assert!(refused(no_alloc).contains("'alloc'"));
    let low = r#"{"config":{"chainId":1},"gasLimit":"0x1","difficulty":"0x0","alloc":{}}"#;
    assert!(refused(low).contains("gasLimit 1 is not within 5000"));
    for (field, value) in [
        ("number", "0xffffffffffffffff"),
        ("timestamp", "0xffffffffffffffff"),
        ("baseFeePerGas", "0x1ffffffffffffffff"),
    ] {
        let text = format!(
            r#"{{"config":{{"chainId":1}},"gasLimit":"0x1c9c380","difficulty":"0x0",
            "{field}":"{value}","alloc":{{}}}}"#
        );
        let found = ChainSpec::from_genesis_json(&text).expect_err(field).to_string();
        assert!(found.starts_with(&format!("genesis: {field} ")), "{found}");
    }
}

/// The child that follows every rule.
fn child(spec: &ChainSpec, parent: &Header) -> Header {
    let timestamp = parent.timestamp + 1;
    Header {
        parent_hash: parent.hash_slow(),
        number: parent.number + 1,
        timestamp,
        base_fee_per_gas: spec.next_base_fee(parent),
        excess_blob_gas: spec.next_excess_blob_gas(parent, timestamp),
        extra_data: Bytes::new(),
        gas_used: 0,
        ..parent.clone()
    }
}

fn any_fork() -> impl Strategy<Value = Fork> {
    (0..Fork::ALL.len()).prop_map(|index| Fork::ALL[index])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Goal: the right child passes at every fork; one change of any kind is refused.
    #[test]
    fn one_wrong_field_is_enough(
        fork in any_fork(), gas_limit in 10_000_u64..1 << 40, gas_share in 0_u64..=100,
        base_fee in any::<u64>(), excess in 0_u64..1 << 40, blobs in 0_u64..=6, change in 0_u8..17,
    ) {
        let mut spec = ChainSpec::dev(&DevOptions { fork, ..DevOptions::default() });
        spec.timestamps = Timestamps::Strict;
        let mut parent = spec.genesis_header(B256::repeat_byte(1));
        parent.gas_limit = gas_limit;
        parent.gas_used = gas_limit / 100 * gas_share;
        parent.base_fee_per_gas = parent.base_fee_per_gas.map(|_| base_fee);
        parent.excess_blob_gas = parent.excess_blob_gas.map(|_| excess);
        parent.blob_gas_used = parent.blob_gas_used.map(|_| blobs << 17);
        let mut header = child(&spec, &parent);
        prop_assert_eq!(check_header(&spec, &parent, &header), Ok(()));

        let is_merged = fork >= Fork::Paris;
        let flip = |field: &mut Option<u64>| *field = field.map_or(Some(1), |_| None);
        let flip_root =
            |field: &mut Option<B256>| *field = field.map_or(Some(B256::ZERO), |_| None);
        match change {
            0 => header.parent_hash = B256::ZERO,
            1 => header.number += 1,
            2 => header.timestamp = parent.timestamp,
            3 => header.extra_data = vec![0; 33].into(),
            4 => header.gas_limit += header.gas_limit / 1024,
            5 => header.gas_limit -= header.gas_limit / 1024,
            6 => header.gas_limit = 4_999,
            7 => header.gas_used = header.gas_limit + 1,
            8 => flip(&mut header.base_fee_per_gas),
            9 => flip_root(&mut header.withdrawals_root),
            10 => flip(&mut header.blob_gas_used),
            11 => flip(&mut header.excess_blob_gas),
            12 => flip_root(&mut header.parent_beacon_block_root),
            13 => flip_root(&mut header.requests_hash),
            14 if fork >= Fork::London => {
                header.base_fee_per_gas = header.base_fee_per_gas.map(|fee| fee ^ 1);
            }
            15 if fork >= Fork::Cancun => {
                header.excess_blob_gas = header.excess_blob_gas.map(|gas| gas ^ 1);
            }
            _ if is_merged => header.difficulty = U256::ONE,
            _ => header.slot_number = Some(1),
        }
        prop_assert!(check_header(&spec, &parent, &header).is_err(), "change {}", change);
    }

    /// Goal: base fee and excess blob gas are alloy's (the oracle) where alloy does not overflow,
    /// and numbers from a hostile header never panic.
    #[test]
    fn derived_fields_are_those_of_the_oracle(
        fork in any_fork(), gas_limit in any::<u64>(), gas_used in any::<u64>(),
        base_fee in any::<u64>(), excess in any::<u64>(), blob_gas in any::<u64>(),
        small in any::<bool>(),
    ) {
        let spec = ChainSpec::dev(&DevOptions { fork, ..DevOptions::default() });
        let mut parent = spec.genesis_header(B256::ZERO);
        let shift = if small { 24 } else { 0 };
        (parent.gas_limit, parent.gas_used) = (gas_limit >> shift, gas_used >> shift);
        parent.base_fee_per_gas = parent.base_fee_per_gas.map(|_| base_fee >> shift);
        parent.excess_blob_gas = parent.excess_blob_gas.map(|_| excess >> shift);
        parent.blob_gas_used = parent.blob_gas_used.map(|_| blob_gas >> shift);
        let next = (spec.next_base_fee(&parent), spec.next_excess_blob_gas(&parent, 9));
        prop_assert_eq!(next.0.is_some(), fork >= Fork::London);
        prop_assert_eq!(next.1.is_some(), fork >= Fork::Cancun);
        if small && parent.gas_used <= parent.gas_limit {
            let params = alloy_eips::eip1559::BaseFeeParams::ethereum();
            prop_assert_eq!(next.0, parent.next_block_base_fee(params));
        }
        if small {
            prop_assert_eq!(next.1, parent.next_block_excess_blob_gas(spec.blob_params(9)));
        }
    }
}

/// Goal: a monotone chain takes equal seconds, a strict one does not; neither goes back.
#[test]
fn timestamps_are_strict_or_monotone() {
    let mut spec = ChainSpec::dev(&DevOptions { timestamp: 50, ..DevOptions::default() });
    let parent = spec.genesis_header(B256::ZERO);
    let mut header = child(&spec, &parent);
    header.timestamp = 50;
    assert_eq!(check_header(&spec, &parent, &header), Ok(()));
    spec.timestamps = Timestamps::Strict;
    let error = HeaderError::Timestamp { found: 50, parent: 50 };
    assert_eq!(check_header(&spec, &parent, &header), Err(error));
    spec.timestamps = Timestamps::Monotone;
    header.timestamp = 49;
    assert!(check_header(&spec, &parent, &header).is_err());
}

/// Goal: the alloc of a file is the state it says, whatever the notation of its addresses.
#[test]
fn alloc_is_read_as_written() {
    let text = r#"{"config":{"chainId":5},"gasLimit":"0x1c9c380","difficulty":"0x0","alloc":{
        "0x00000000000000000000000000000000000000aa":{"balance":"0x10","nonce":"0x2","code":"0x6001",
            "storage":{"0x01":"0x02"}},
        "00000000000000000000000000000000000000bb":{"balance":"7"}}}"#;
    let spec = ChainSpec::from_genesis_json(text).expect("geth's format");
    let alloc: &BTreeMap<Address, _> = spec.genesis_alloc();
    let account = &alloc[&Address::with_last_byte(0xaa)];
    assert_eq!(account.nonce, Some(2));
    assert_eq!(account.code_hash(), Some(keccak256([0x60, 1])));
    let slots: Vec<_> = account.storage_slots().collect();
    assert_eq!(slots, [(B256::with_last_byte(1), U256::from(2))]);
    assert_eq!(alloc[&Address::with_last_byte(0xbb)].balance, U256::from(7));
}
