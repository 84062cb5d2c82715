//! State files against what anvil writes, and against what is none.

use std::convert::Infallible;

use alloy_primitives::{Address, B256, U256, address, b256};

use super::*;

/// What anvil 1.7.1 wrote (`--dump-state`) after it had mined a transfer and a contract that sets a
/// slot and logs, and one from an impersonated account.
const BY_ANVIL: &str = include_str!("../../tests/data/anvil-state.json");

/// Keeps everything.
#[derive(Default)]
struct All {
    env: Option<FileEnv>,
    accounts: Vec<(Address, FileAccount)>,
    slots: Vec<(Address, U256, U256)>,
    best: Option<u64>,
    blocks: Vec<FileBlock>,
    receipts: Vec<FileReceipt>,
    left_out: Vec<String>,
}

impl Contents for All {
    type Error = Infallible;

    fn env(&mut self, env: FileEnv) -> Result<(), Infallible> {
        self.env = Some(env);
        Ok(())
    }
    fn slot(&mut self, address: Address, slot: U256, value: U256) -> Result<(), Infallible> {
        self.slots.push((address, slot, value));
        Ok(())
    }
    fn account(&mut self, address: Address, account: FileAccount) -> Result<(), Infallible> {
        self.accounts.push((address, account));
        Ok(())
    }
    fn best_block(&mut self, number: u64) -> Result<(), Infallible> {
        self.best = Some(number);
        Ok(())
    }
    fn block(&mut self, block: FileBlock) -> Result<(), Infallible> {
        self.blocks.push(block);
        Ok(())
    }
    fn receipt(&mut self, receipt: FileReceipt) -> Result<(), Infallible> {
        self.receipts.push(receipt);
        Ok(())
    }
    fn left_out(&mut self, field: &str) {
        self.left_out.push(field.to_owned());
    }
}

fn taken(text: &[u8]) -> Result<All, String> {
    let mut all = All::default();
    let text = open(text).map_err(|error| error.to_string())?;
    match read(text, &mut all) {
        Ok(()) => Ok(all),
        Err(ReadError::Format(error)) => Err(error.to_string()),
    }
}

/// Goal: what is wrong is named with its place: no JSON, a wrong or a missing field, a cut file.
#[test]
fn what_is_no_state_file_is_named() {
    let account = r#"{"accounts":{"0x0000000000000000000000000000000000000001":"#;
    let at = "accounts.0x0000000000000000000000000000000000000001";
    let with = |rest: &str| format!("{account}{rest}");
    for (text, expected) in [
        (String::new(), "the file is cut off: it ends at line 1, column 0".to_owned()),
        ("hello".to_owned(), "not JSON: expected value at line 1 column 1".to_owned()),
        ("[]".to_owned(), "expected an object with the accounts of a state".to_owned()),
        ("{}".to_owned(), "not a state file of anvil's: missing field `accounts`".to_owned()),
        (
            r#"{"accounts":{"0x12":{}}}"#.to_owned(),
            "not a state file of anvil's: accounts: ".to_owned(),
        ),
        (
            with(r#"{"nonce":1}}}"#),
            format!("not a state file of anvil's: {at}: missing field `balance`"),
        ),
        (
            with(r#"{"nonce":"x"}}}"#),
            format!("not a state file of anvil's: {at}.nonce: invalid value"),
        ),
        (
            with(r#"{"storage":{"0x1":"0xzz"}}}}"#),
            format!("not a state file of anvil's: {at}.storage: "),
        ),
        (
            with(r#"{"code":"0x0"#),
            format!("the file is cut off within {at}.code: it ends at line 1"),
        ),
        (r#"{"accounts":{}} x"#.to_owned(), "not JSON: trailing characters".to_owned()),
        (
            r#"{"accounts":{},"blocks":[{"header":{}}]}"#.to_owned(),
            "not a state file of anvil's: blocks[0]: missing field".to_owned(),
        ),
        (
            r#"{"accounts":{},"best_block_number":"0xffffffffffffffff"}"#.to_owned(),
            "best_block_number: block number 18446744073709551615 is above".to_owned(),
        ),
    ] {
        let error = taken(text.as_bytes()).err().unwrap_or_else(|| panic!("{text} is no file"));
        assert!(error.contains(&expected), "{text}: {error}");
    }
}

/// Goal: gzip is read as well, and one that is cut off is not taken for a whole file.
#[test]
fn gzip_is_read() {
    let mut compressor = Compressor::default();
    let mut packed = Vec::new();
    for piece in BY_ANVIL.as_bytes().chunks(100) {
        compressor.push(piece);
        packed.extend(compressor.take());
    }
    packed.extend(compressor.finish());
    assert!(packed.len() < BY_ANVIL.len() / 2);
    assert_eq!(
        taken(&packed).expect("gzip").accounts,
        taken(BY_ANVIL.as_bytes()).expect("JSON").accounts
    );
    let error = taken(&packed[..packed.len() / 2]).err().expect("half of it");
    assert!(error.contains("the file is cut off within "), "{error}");
}

/// Goal: every field of a file that anvil wrote is read as anvil showed it by request.
#[test]
fn anvils_file_is_read() {
    let all = taken(BY_ANVIL.as_bytes()).expect("anvil's file");
    let env = all.env.expect("an environment");
    assert_eq!((env.number, env.base_fee, env.gas_limit), (3, 766_336_545, 30_000_000));
    assert_eq!((all.best, env.timestamp), (Some(3), 0x6b08_53ce));
    assert_eq!(all.left_out, Vec::<String>::new());
    let account = |address| all.accounts.iter().find(|(one, _)| *one == address).map(|(_, a)| a);
    let sender = account(address!("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")).expect("the sender");
    let left: U256 = "0x21e19e020f25bacffbf".parse().expect("hex");
    assert_eq!((sender.nonce, sender.balance, sender.has_slots), (2, left, false));
    let contract = address!("e7f1725e7734ce288f8367e1bb143e90bb3f0512");
    assert_eq!(account(contract).expect("the contract").code.as_ref(), [0]);
    assert!(all.slots.contains(&(contract, U256::ZERO, U256::from(7))));

    // anvil keeps blocks and receipts in no order.
    let mut blocks = all.blocks;
    blocks.sort_by_key(|block| block.header.number);
    assert_eq!(blocks.len(), 4);
    for pair in blocks.windows(2) {
        assert_eq!(pair[1].header.parent_hash, pair[0].header.hash_slow());
    }
    let made = b256!("063b5825d43829d952db09620ca938501659a95b50d7197e572d730d62f545c5");
    assert_eq!(*blocks[2].txs[0].hash(), made);
    let impersonated = &blocks[3].txs[0];
    assert_eq!(impersonated.sender(), address!("00000000000000000000000000000000000000ee"));
    assert!(impersonated.is_impersonated());
    let receipt = all.receipts.iter().find(|receipt| receipt.hash == made).expect("its receipt");
    assert_eq!((receipt.block_number, receipt.index), (2, 0));
    let log = &receipt.receipt.logs[0];
    assert_eq!((log.address, log.data.topics()), (contract, &[B256::with_last_byte(1)][..]));
    assert_eq!(receipt.receipt.cumulative_gas_used, 76_568);
}
