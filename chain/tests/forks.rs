//! What changes with the forks of proof of work, and how genesis files name forks.

use alloy_primitives::{B256, Bytes, U256, b256};
use evenkeel_chain::{
    BodyError, ChainSpec, DAO_REFUND, DevOptions, Fork, GenesisError, Header, HeaderError, Height,
    RecoveredTx, SealedBlock, TypedTransaction, check_header, limits::BLOCK_SIZE_BYTES_MAX,
};

fn genesis(config: &str, more: &str) -> Result<ChainSpec, GenesisError> {
    ChainSpec::from_genesis_json(&format!(
        r#"{{"config":{{"chainId":1{config}}},"gasLimit":"0x1388","difficulty":"0x20000",
        "alloc":{{}}{more}}}"#
    ))
}

fn spec(config: &str) -> ChainSpec {
    genesis(config, "").unwrap_or_else(|error| panic!("{config}: {error}"))
}

const MAINNET: &str = r#","homesteadBlock":1150000,"daoForkBlock":1920000,"daoForkSupport":true,
    "eip150Block":2463000,"eip158Block":2675000,"byzantiumBlock":4370000,
    "constantinopleBlock":7280000,"istanbulBlock":9069000,"muirGlacierBlock":9200000,
    "berlinBlock":12244000,"londonBlock":12965000,"arrowGlacierBlock":13773000,
    "grayGlacierBlock":15050000"#;

/// Hash of an empty list, and of another.
const NO_OMMERS: B256 = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
const OMMERS: B256 = B256::repeat_byte(0xb4);

/// Known answers: block 1 of mainnet, and one of each formula with and without ommers from
/// ethereum/tests (BasicTests/difficultyMainNetwork).
#[test]
fn difficulty_is_that_of_mainnet() {
    let spec = spec(MAINNET);
    for (number, ommers, times, parent, expected) in [
        (1, NO_OMMERS, (0, 1_438_269_988), 17_179_869_184_u64, 17_171_480_576),
        (100_000, OMMERS, (0, 22), 8_357_299_368_397_357_785, 8_353_218_655_815_132_513),
        (2_000_000, NO_OMMERS, (7, 7), 8_467_746_356_839_597_370, 8_471_880_998_615_660_098),
        (2_000_000, OMMERS, (7, 29), 2_007_468_985_274_092_628, 2_006_488_775_808_888_907),
        (4_400_000, NO_OMMERS, (7, 7), 1_954_258_314_122_477_209, 1_955_212_541_814_923_920),
        (4_400_000, OMMERS, (7, 29), 3_536_024_263_705_405_818, 3_536_024_263_705_409_914_u64),
    ] {
        let parent = Header {
            number: number - 1,
            timestamp: times.0,
            difficulty: U256::from(parent),
            ommers_hash: ommers,
            ..Header::default()
        };
        let found = spec.next_difficulty(&parent, times.1);
        assert_eq!(found, U256::from(expected), "block {number}");
    }
}

/// Goal: each fork sets the bomb back by what its EIP says, and no number overflows.
#[test]
fn the_bomb_is_set_back_by_every_glacier() {
    let early = [
        r#","homesteadBlock":0,"eip150Block":0,"eip158Block":0"#,
        r#","byzantiumBlock":0"#,
        r#","constantinopleBlock":0,"istanbulBlock":0"#,
        r#","muirGlacierBlock":0,"berlinBlock":0"#,
        r#","londonBlock":0"#,
        r#","arrowGlacierBlock":0"#,
        r#","grayGlacierBlock":0"#,
    ];
    let delays = [0, 3_000_000, 5_000_000, 9_000_000, 9_700_000, 10_700_000, 11_400_000];
    for (index, delay) in delays.into_iter().enumerate() {
        let spec = spec(&early[..=index].concat());
        let difficulty = |number: u64| {
            let difficulty = U256::from(1_u64 << 40);
            let parent = Header { number: number - 1, difficulty, ..Header::default() };
            spec.next_difficulty(&parent, 10) - difficulty
        };
        let base = difficulty(1);
        assert_eq!(difficulty(delay + 199_999), base, "before the bomb, delay {delay}");
        assert_eq!(difficulty(delay + 200_000), base + U256::ONE, "delay {delay}");
        assert_eq!(difficulty(delay + 500_000), base + U256::from(8), "delay {delay}");
    }
    let last = Header { number: u64::MAX - 1, ..Header::default() };
    assert_eq!(spec("").next_difficulty(&last, 0), U256::MAX);
    // A glacier that is left out is not there, though later forks are.
    let spec = spec(
        r#","homesteadBlock":0,"eip150Block":0,"eip158Block":0,"byzantiumBlock":0,
        "constantinopleBlock":0,"istanbulBlock":0,"berlinBlock":0"#,
    );
    let parent =
        Header { number: 5_199_999, difficulty: U256::from(1_u64 << 40), ..Header::default() };
    assert_eq!(spec.next_difficulty(&parent, 9), parent.difficulty + U256::ONE);
}

/// The child that is mined ten seconds after `parent`.
fn mined(spec: &ChainSpec, parent: &Header, extra_data: &'static [u8]) -> Header {
    let timestamp = parent.timestamp + 10;
    Header {
        parent_hash: parent.hash_slow(),
        number: parent.number + 1,
        timestamp,
        difficulty: spec.next_difficulty(parent, timestamp),
        extra_data: Bytes::from_static(extra_data),
        ..parent.clone()
    }
}

/// Goal: on either side of the DAO fork ten blocks must, or must not, say so; one moves balances.
#[test]
fn the_dao_fork_marks_ten_blocks() {
    const MARK: &[u8] = b"dao-hard-fork";
    for is_supported in [true, false] {
        let config =
            format!(r#","homesteadBlock":0,"daoForkBlock":5,"daoForkSupport":{is_supported}"#);
        let spec = spec(&config);
        let mut parent = spec.genesis_header(B256::ZERO);
        for number in 1..=16 {
            let check = |header: &Header| check_header(&spec, &parent, header);
            let (with, without) = (mined(&spec, &parent, MARK), mined(&spec, &parent, b""));
            let in_range = (5..15).contains(&number);
            assert_eq!(check(&with).is_ok(), is_supported || !in_range, "block {number} with");
            assert_eq!(check(&without).is_ok(), !is_supported || !in_range, "block {number}");
            let height = Height::new(number);
            let prescribed = spec.prescribed_extra_data(height).is_some();
            assert_eq!(prescribed, is_supported && in_range);
            let drained = spec.dao_drained(height);
            let count = if is_supported && number == 5 { 116 } else { 0 };
            assert_eq!(drained.len(), count, "block {number}");
            assert!(!drained.contains(&DAO_REFUND));
            parent = if prescribed { with } else { without };
        }
    }
}

/// Goal: a mined block has the difficulty that follows; a chain that begins without has none.
#[test]
fn difficulty_is_checked_where_blocks_are_mined() {
    let spec = spec(r#","homesteadBlock":0"#);
    let parent = spec.genesis_header(B256::ZERO);
    let mut header = mined(&spec, &parent, b"");
    assert_eq!(check_header(&spec, &parent, &header), Ok(()));
    let expected = header.difficulty;
    header.difficulty -= U256::ONE;
    let found = header.difficulty;
    let error = HeaderError::NextDifficulty { found, expected };
    assert_eq!(check_header(&spec, &parent, &header), Err(error));
}

/// Goal: where Paris comes by total difficulty, a header says by its own which side it is on.
#[test]
fn paris_may_come_by_total_difficulty() {
    const LONDON: &str = r#","homesteadBlock":0,"eip150Block":0,"eip158Block":0,"byzantiumBlock":0,
        "constantinopleBlock":0,"istanbulBlock":0,"berlinBlock":0,"londonBlock":2"#;
    let spec = spec(&format!(r#"{LONDON},"terminalTotalDifficulty":393216,"shanghaiTime":100"#));
    assert_eq!(spec.terminal_total_difficulty(), Some(U256::from(393_216)));
    let fork = |number, timestamp, difficulty| {
        let difficulty = U256::from(difficulty);
        spec.fork_of(&Header { number, timestamp, difficulty, ..Header::default() })
    };
    assert_eq!(fork(1, 200, 7), Fork::Berlin);
    assert_eq!(fork(1, 200, 0), Fork::Berlin, "not before London");
    assert_eq!(fork(5, 50, 7), Fork::London);
    assert_eq!(fork(5, 50, 0), Fork::Paris);
    assert_eq!(fork(5, 200, 7), Fork::London, "a mined block has no fork by time");
    assert_eq!(fork(5, 200, 0), Fork::Shanghai);
    assert_ne!(spec.hash(), self::spec(LONDON).hash());
    let read = ChainSpec::from_json(&spec.to_json()).expect("we wrote it");
    assert_eq!(read, spec);

    let passed = self::spec(&format!(r#"{LONDON},"terminalTotalDifficulty":131072"#));
    assert_eq!(passed.fork_at(Height::new(2), 0), Fork::Paris);
    let height = format!(r#"{LONDON},"terminalTotalDifficulty":393216,"mergeNetsplitBlock":9"#);
    let height = self::spec(&height);
    assert_eq!(height.fork_at(Height::new(8), 0), Fork::London);
    assert_eq!(height.fork_at(Height::new(9), 0), Fork::Paris);
}

/// Goal: after a block's rules come those of the schedule's next activation, however many forks
/// begin or are left out there; without one, the next fork; after the last, none.
#[test]
fn the_next_fork_is_that_of_the_schedule() {
    const LONDON: &str = r#","homesteadBlock":0,"eip150Block":0,"eip158Block":0,"byzantiumBlock":0,
        "constantinopleBlock":7,"petersburgBlock":7,"istanbulBlock":8,"berlinBlock":8,
        "londonBlock":9"#;
    let after = |config: &str, number, timestamp, difficulty| {
        let difficulty = U256::from(difficulty);
        let header = Header { number, timestamp, difficulty, ..Header::default() };
        spec(config).fork_after(&header)
    };
    let by_height = |number| after(LONDON, number, 0, 1);
    assert_eq!(by_height(6), Some(Fork::Petersburg));
    assert_eq!(by_height(7), Some(Fork::Berlin));
    assert_eq!(by_height(8), Some(Fork::London));
    assert_eq!(by_height(9), Some(Fork::ArrowGlacier), "not in the schedule");

    let total = format!(r#"{LONDON},"terminalTotalDifficulty":393216,"shanghaiTime":100"#);
    assert_eq!(after(&total, 9, 50, 1), Some(Fork::Paris));
    assert_eq!(after(&total, 9, 50, 0), Some(Fork::Shanghai));
    assert_eq!(after(&total, 9, 100, 0), Some(Fork::Cancun), "not in the schedule");

    // A time that is past does not count before the merge.
    let early = total.replace(r#""shanghaiTime":100"#, r#""shanghaiTime":0"#);
    assert_eq!(after(&early, 8, 50, 1), Some(Fork::London));

    // Besu's may leave out forks.
    let timed = r#","londonBlock":0,"cancunTime":50,"osakaTime":60,"bpo1Time":60,"qbft":{}"#;
    assert_eq!(after(timed, 1, 49, 0), Some(Fork::Cancun));
    assert_eq!(after(timed, 1, 59, 0), Some(Fork::Bpo1));
    assert_eq!(after(timed, 1, 60, 0), Some(Fork::Bpo2), "not in the schedule");
    let last = ChainSpec::dev(&DevOptions { fork: Fork::LATEST, ..DevOptions::default() });
    assert_eq!(last.fork_after(&Header::default()), None);
}

/// Goal: a chain under another fork has the blob parameters of its own schedule for it, and the
/// fork's own where the schedule does not say.
#[test]
fn a_chain_under_another_fork_keeps_its_blob_schedule() {
    let chain = spec(
        r#","londonBlock":0,"qbft":{},"cancunTime":0,"pragueTime":50,"osakaTime":60,"bpo1Time":60,
        "blobSchedule":{"prague":{"target":3,"max":7,"baseFeeUpdateFraction":9},
        "bpo1":{"target":4,"max":8,"baseFeeUpdateFraction":9}}"#,
    );
    let max = |fork| {
        let under = chain.under(fork);
        assert_eq!(under.fork_at(Height::new(0), 0), fork);
        under.blob_params(0).max_blob_count
    };
    assert_eq!((max(Fork::Cancun), max(Fork::Prague), max(Fork::Bpo1)), (6, 7, 8));
    // At the time of Osaka the chain has Bpo1.
    assert_eq!((max(Fork::Osaka), max(Fork::Bpo2)), (9, 21));
}

/// Goal: a genesis as Besu's documentation has them: forks left out, other names, an engine.
#[test]
fn genesis_files_of_besu_are_read() {
    let qbft = r#","berlinBlock":3,"contractSizeLimit":2147483647,
        "qbft":{"blockperiodseconds":2,"epochlength":30000,"requesttimeoutseconds":4}"#;
    let alloc = r#","nonce":"0x0","mixHash":
        "0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365","timestamp":"0x58ee40ba""#;
    let berlin = genesis(qbft, alloc).expect("Besu's");
    assert_eq!(berlin.fork_at(Height::new(2), 0), Fork::Frontier);
    assert_eq!(berlin.fork_at(Height::new(3), 0), Fork::Berlin);

    let cancun = spec(r#","londonBlock":0,"cancunTime":50,"zeroBaseFee":true,"discovery":{}"#);
    assert_eq!(cancun.fork_at(Height::new(0), 49), Fork::Paris);
    assert_eq!(cancun.fork_at(Height::new(0), 50), Fork::Cancun);

    let fix = spec(
        r#","homesteadBlock":0,"eip150Block":0,"eip158Block":0,"byzantiumBlock":0,
        "constantinopleBlock":0,"constantinopleFixBlock":7"#,
    );
    assert_eq!(fix.fork_at(Height::new(6), 0), Fork::Constantinople);
    assert_eq!(fix.fork_at(Height::new(7), 0), Fork::Petersburg);
    let error = genesis(r#","constantinopleFixBlock":"soon""#, "").expect_err("no number");
    assert_eq!(error.to_string(), "genesis: 'constantinopleFixBlock' is not a block number");
}

/// Goal: of a genesis of Besu that leaves out forks with blobs the same chain is written, with
/// those forks and the parameters of each.
#[test]
fn forks_that_besu_leaves_out_are_written() {
    let later = r#","shanghaiTime":5,"osakaTime":40,"bpo3Time":50,"blobSchedule":{"bpo3":
        {"target":3,"max":7,"baseFeeUpdateFraction":9}}"#;
    for config in [r#","pragueTime":0"#, r#","cancunTime":7,"bpo2Time":9"#, later, ""] {
        let spec = spec(&format!(r#","londonBlock":0,"qbft":{{}}{config}"#));
        let text = spec.to_genesis_json();
        let again = ChainSpec::from_genesis_json(&text).expect("we wrote it");
        assert_eq!((spec.difference(&again), &again), (None, &spec), "{config}");
    }
    let text = spec(r#","pragueTime":0,"qbft":{}"#).to_genesis_json();
    let written: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let max = |fork: &str| written["config"]["blobSchedule"][fork]["max"].as_u64();
    assert_eq!((max("cancun"), max("prague"), max("osaka")), (Some(6), Some(9), None), "{text}");
}

/// EIP-7934: since Osaka a block has at most 8 MiB; before, gas alone bounds it.
#[test]
fn blocks_are_bounded_since_osaka() {
    let block = |len: usize| {
        let tx = alloy_consensus::TxLegacy { input: vec![1; len].into(), ..Default::default() };
        let tx = RecoveredTx::impersonated(TypedTransaction::Legacy(tx), DAO_REFUND);
        SealedBlock::seal(Header::default(), vec![tx], Vec::new(), None)
    };
    let frame = block(BLOCK_SIZE_BYTES_MAX).encode_rlp().len() - BLOCK_SIZE_BYTES_MAX;
    let (most, more) =
        (block(BLOCK_SIZE_BYTES_MAX - frame), block(BLOCK_SIZE_BYTES_MAX - frame + 1));
    assert_eq!(most.encode_rlp().len(), BLOCK_SIZE_BYTES_MAX);
    assert_eq!(most.check_size(Fork::Osaka), Ok(()));
    assert_eq!(more.check_size(Fork::Prague), Ok(()));
    let error = BodyError::Size { found: BLOCK_SIZE_BYTES_MAX + 1, limit: BLOCK_SIZE_BYTES_MAX };
    assert_eq!(more.check_size(Fork::Osaka), Err(error));
    // It is still decoded: of which fork it is, only its header says.
    let decoded = SealedBlock::decode_rlp(&more.encode_rlp()).expect("a block of Prague may be so");
    assert_eq!(decoded.hash, more.hash);
}
