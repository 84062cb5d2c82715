//! What blocks of Ethereum have that those of a dev chain lack: state roots in receipts, mined
//! blocks and their pay, the DAO fork, contracts that must be there, deposits.

#[path = "common/chain.rs"]
mod chain;

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, b256, hex};
use chain::{account, attributes, build, built, create, database, deploying, finish, legacy, spec};
use evenkeel_chain::{
    ChainSpec, DAO_REFUND, Fork, Header, Height, RecoveredTx, SealedBlock, receipts_root,
};
use evenkeel_state::{ExecutedBlock, Tip};
use evenkeel_vm::{BlockRun, ExecError, Limits};

const ETHER: u64 = 1_000_000_000_000_000_000;

/// A chain of a genesis file, with money for `account(0)`.
fn genesis(config: &str, alloc: &str) -> Arc<ChainSpec> {
    let text = format!(
        r#"{{"config":{{"chainId":1,{config}}},"gasLimit":"0x1000000","difficulty":"0x20000",
        "alloc":{{"{}":{{"balance":"0xde0b6b3a7640000"}}{alloc}}}}}"#,
        account(0)
    );
    Arc::new(ChainSpec::from_genesis_json(&text).unwrap_or_else(|error| panic!("{error}")))
}

fn call(nonce: u64, to: Address, input: Bytes) -> Arc<RecoveredTx> {
    legacy(account(0), nonce, TxKind::Call(to), (200_000, 0), input)
}

fn validated(
    tip: &Tip,
    spec: &Arc<ChainSpec>,
    block: SealedBlock,
) -> Result<Arc<ExecutedBlock>, ExecError> {
    let limits = Limits::consensus();
    let mut run = BlockRun::validate(tip.clone(), Arc::clone(spec), Arc::new(block), &limits)?;
    Ok(finish(&mut run, 5_000)?.expect("a validated block is never empty"))
}

/// EIP-658: before Byzantium a receipt has the root of the state after its transaction, which is
/// that of a block which ends there; cheats and contracts that die are in it. Later it has none.
#[test]
fn receipts_before_byzantium_have_the_state_root() {
    let spec = spec(Fork::SpuriousDragon);
    let mut database = database(&spec);
    let mut cheat = evenkeel_state::ChangeSet::default();
    let rich = evenkeel_state::Account { balance: U256::from(7), ..Default::default() };
    cheat.accounts.insert(Address::repeat_byte(0x33), Some(rich));
    database.commit_diff(&Arc::new(cheat)).expect("memory");
    let tip = database.tip();
    // Sets a slot when it is made, another with every call, and dies when called with data.
    let code = hex!("3660095760014355005b33ff");
    let made = account(0).create(0);
    let txs = vec![
        create(account(0), 0, deploying(&code)),
        call(1, made, Bytes::new()),
        call(2, made, Bytes::from_static(b"die")),
        call(3, made, Bytes::new()),
        call(4, account(3), Bytes::new()),
    ];
    let executed = built(&tip, &spec, txs.clone());
    assert_eq!(executed.receipts.len(), 5);
    for count in 1..=txs.len() {
        let until = built(&tip, &spec, txs[..count].to_vec());
        let receipt = &executed.receipts[count - 1];
        assert_eq!(receipt.post_state, Some(until.block.header.state_root), "after {count}");
    }
    let root = receipts_root(&executed.receipts);
    assert_eq!(executed.block.header.receipts_root, root);
    let block = SealedBlock::clone(&executed.block);
    let again = validated(&tip, &spec, block).expect("ours is valid");
    assert_eq!(again.receipts, executed.receipts);

    let spec = self::spec(Fork::Byzantium);
    let tip = self::database(&spec).tip();
    let executed = built(&tip, &spec, txs);
    assert!(executed.receipts.iter().all(|receipt| receipt.post_state.is_none()));
}

/// Goal: miners and ommers are paid what their fork pays; a block of another difficulty, or that
/// pays otherwise, is refused.
#[test]
fn miners_and_ommers_are_paid() {
    let byzantium = r#""homesteadBlock":0,"eip150Block":0,"eip158Block":0,"byzantiumBlock":3"#;
    let spec = genesis(byzantium, "");
    let first = database(&spec).tip();
    let one = built(&first, &spec, vec![]);
    let tip = first.extend(&one);
    assert_eq!(tip.header.difficulty, spec.next_difficulty(&first.header, tip.header.timestamp));
    let balance = |tip: &Tip, address| {
        tip.view.account(address).expect("memory").map(|account| account.balance)
    };
    let miner = one.block.header.beneficiary;
    assert_eq!(balance(&tip, miner), Some(U256::from(5) * U256::from(ETHER)));

    let mut ommer = Header::clone(&tip.header);
    ommer.beneficiary = account(5);
    let two = built(&tip, &spec, vec![]);
    let mut with_ommer = Header::clone(&two.block.header);
    with_ommer.beneficiary = account(6);
    with_ommer.ommers_hash = evenkeel_chain::ommers_hash(&[ommer.clone()]);
    let wrong = SealedBlock::seal(with_ommer.clone(), vec![], vec![ommer.clone()], None);
    let Err(ExecError::Field { field: "stateRoot", expected, .. }) =
        validated(&tip, &spec, wrong).map(|_| ())
    else {
        panic!("the ommer was not paid")
    };
    with_ommer.state_root = expected.parse().expect("a hash");
    let block = SealedBlock::seal(with_ommer, vec![], vec![ommer], None);
    let tip = tip.extend(&validated(&tip, &spec, block).expect("it pays all"));
    let share =
        |parts: u64, of: u64| Some(U256::from(5 * ETHER) * U256::from(parts) / U256::from(of));
    assert_eq!(balance(&tip, account(5)), share(7, 8));
    assert_eq!(balance(&tip, account(6)), share(33, 32));

    let three = built(&tip, &spec, vec![]);
    let tip = tip.extend(&three);
    assert_eq!(balance(&tip, miner), Some(U256::from(8) * U256::from(ETHER)), "5 and 3");
}

/// EIP-779: the balances move before the first transaction, in that block only.
#[test]
fn the_dao_is_drained_once() {
    let config = r#""homesteadBlock":0,"daoForkBlock":2,"daoForkSupport":true"#;
    let drained = genesis(config, "").dao_drained(Height::new(2));
    let alloc =
        format!(r#","{}":{{"balance":"0x5"}},"{}":{{"balance":"0x6"}}"#, drained[0], drained[115]);
    let spec = genesis(config, &alloc);
    let mut tip = database(&spec).tip();
    for number in 1..=3 {
        let executed = built(&tip, &spec, vec![call(number - 1, account(1), Bytes::new())]);
        let is_marked = executed.block.header.extra_data.as_ref() == b"dao-hard-fork";
        assert_eq!(is_marked, number >= 2, "block {number}");
        let block = SealedBlock::clone(&executed.block);
        validated(&tip, &spec, block).expect("ours is valid");
        tip = tip.extend(&executed);
        let balance = |address| tip.view.account(address).expect("memory").map(|it| it.balance);
        let moved = (number >= 2).then_some(U256::from(11));
        assert_eq!(balance(DAO_REFUND), moved, "block {number}");
        let kept = if number >= 2 { U256::ZERO } else { U256::from(5) };
        assert_eq!(balance(drained[0]), Some(kept), "block {number}");
    }
}

/// Forks up to Cancun, and Prague at `time`.
fn prague(time: u64, more: &str) -> String {
    format!(
        r#""homesteadBlock":0,"eip150Block":0,"eip158Block":0,"byzantiumBlock":0,
        "constantinopleBlock":0,"istanbulBlock":0,"berlinBlock":0,"londonBlock":0,
        "terminalTotalDifficulty":0,"shanghaiTime":0,"cancunTime":0,"pragueTime":{time}{more}"#
    )
}

/// EIP-7002: without its contract no block is valid. A chain that begins so does without.
#[test]
fn contracts_of_requests_must_be_there() {
    let spec = genesis(&prague(1, ""), "");
    let tip = database(&spec).tip();
    let mut run = build(&tip, &spec, (attributes(&tip), vec![]));
    let error = finish(&mut run, u64::MAX).map(|_| ()).expect_err("there is no contract");
    assert!(matches!(error, ExecError::SystemContract { .. }), "{error}");
    assert!(error.is_offence());

    let spec = genesis(&prague(0, ""), "");
    let tip = database(&spec).tip();
    built(&tip, &spec, vec![]);
}

/// EIP-6110: deposits are read from the logs, and their data must be laid out as the contract does.
#[test]
fn deposits_are_read_from_logs() {
    const TOPIC: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
    let contract = Address::repeat_byte(0xde);
    // Logs its call data under the topic.
    let code = format!("0x36600060003 7 7f{}36 6000 a1 00", hex::encode(TOPIC)).replace(' ', "");
    let more = format!(r#","depositContractAddress":"{contract}""#);
    let alloc = format!(r#","{contract}":{{"balance":"0x0","code":"{code}"}}"#);
    let spec = genesis(&prague(0, &more), &alloc);
    let tip = database(&spec).tip();
    let word = |value: u64| U256::from(value).to_be_bytes::<32>();
    let mut data = [160, 256, 320, 384, 512].map(word).concat();
    for (len, words) in [(48, 2), (32, 1), (8, 1), (96, 3), (8, 1)] {
        data.extend(word(len));
        data.extend(vec![u8::try_from(len).expect("small"); words * 32]);
    }
    let with = |data: &[u8]| {
        let tx = call(0, contract, Bytes::copy_from_slice(data));
        let mut run = build(&tip, &spec, (attributes(&tip), vec![tx]));
        finish(&mut run, u64::MAX).map(|block| block.expect("never empty"))
    };
    let requests = |executed: &ExecutedBlock| executed.block.header.requests_hash;
    let good = with(&data).expect("as the contract lays it out");
    let none = with(&[]).map(|_| ()).expect_err("too short");
    assert_eq!(none, ExecError::DepositLog { len: 0 });
    assert_ne!(requests(&good), requests(&built(&tip, &spec, vec![])));
    for word in [0, 4, 5, 8, 16] {
        let mut bad = data.clone();
        bad[word * 32 + 31] ^= 1;
        let error = with(&bad).map(|_| ()).expect_err("another layout");
        assert_eq!(error, ExecError::DepositLog { len: 576 }, "word {word}");
    }
    // The values themselves may be anything.
    let mut other = data;
    other[6 * 32] ^= 1;
    assert_ne!(requests(&with(&other).expect("as laid out")), requests(&good));
}
