//! What the devnet prints when it is up, in anvil's layout.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use alloy_primitives::{Address, B256, U256, hex, utils::format_ether};
use evenkeel_chain::Fork;
use evenkeel_vm::ShadowAim;
use serde_json::json;

/// All that the banner tells.
pub(crate) struct Banner<'a> {
    /// Address, balance at the head in wei, key.
    pub(crate) accounts: Vec<(Address, U256, B256)>,
    /// Address and balance of those whose keys came from files, in wei. Nobody sees their keys.
    pub(crate) keystore: Vec<(Address, U256)>,
    /// The phrase and the derivation path.
    pub(crate) wallet: (&'a str, &'a str),
    pub(crate) chain_id: u64,
    /// What the chain has at its head.
    pub(crate) fork: Fork,
    /// What the canary is to run.
    pub(crate) shadow: Option<ShadowAim>,
    pub(crate) base_fee: Option<u64>,
    pub(crate) gas_limit: u64,
    pub(crate) timestamp: u64,
    pub(crate) number: u64,
    pub(crate) head: u64,
    pub(crate) database: String,
    pub(crate) listening: &'a [SocketAddr],
    pub(crate) ipc: Option<&'a Path>,
}

const LOGO: &str = r"
                           _              _
      _____   _____ _ __  | | _____  ___ | |
     / _ \ \ / / _ \ '_ \ | |/ / _ \/ _ \| |
    |  __/\ V /  __/ | | ||   <  __/  __/| |
     \___| \_/ \___|_| |_||_|\_\___|\___||_|
";

impl Banner<'_> {
    /// The banner as text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::from(LOGO);
        self.write(&mut out).expect("writing to a String cannot fail");
        out
    }

    /// The same as one line of JSON, with keys like those of the log's lines. Wei are text: they
    /// may be more than a JSON number holds.
    pub(crate) fn json(&self) -> String {
        let accounts = self.accounts.iter().map(|(address, balance, key)| {
            json!({ "address": address, "balance": balance.to_string(), "privateKey": key })
        });
        let keystore = self.keystore.iter().map(
            |(address, balance)| json!({ "address": address, "balance": balance.to_string() }),
        );
        let (mnemonic, derivation_path) = self.wallet;
        let line = json!({
            "event": "listening", "addresses": self.listening, "chainId": self.chain_id,
            "hardfork": self.fork.name(), "shadow": self.shadow.map(|aim| aim.to_string()),
            "accounts": accounts.collect::<Vec<_>>(),
            "keystoreAccounts": keystore.collect::<Vec<_>>(),
            "mnemonic": mnemonic, "derivationPath": derivation_path,
            "baseFee": self.base_fee, "gasLimit": self.gas_limit,
            "genesisTimestamp": self.timestamp, "genesisNumber": self.number, "head": self.head,
            "database": self.database, "ipc": self.ipc,
        });
        format!("{line}\n")
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n    {}\n    fair async actors, one scheduler\n",
            env!("CARGO_PKG_VERSION")
        )?;
        writeln!(out, "Available Accounts\n==================\n")?;
        for (index, (address, balance, _)) in self.accounts.iter().enumerate() {
            writeln!(out, "({index}) {address} ({} ETH)", format_ether(*balance))?;
        }
        writeln!(out, "\nPrivate Keys\n==================\n")?;
        for (index, (_, _, key)) in self.accounts.iter().enumerate() {
            writeln!(out, "({index}) 0x{}", hex::encode(key))?;
        }
        if !self.keystore.is_empty() {
            writeln!(out, "\nKeystore Accounts\n==================\n")?;
        }
        // As eth_accounts lists them.
        for (index, (address, balance)) in (self.accounts.len()..).zip(&self.keystore) {
            writeln!(out, "({index}) {address} ({} ETH)", format_ether(*balance))?;
        }
        let (phrase, path) = self.wallet;
        writeln!(out, "\nWallet\n==================")?;
        writeln!(out, "Mnemonic:          {phrase}\nDerivation path:   {path}\n")?;
        let base_fee = self.base_fee.map_or_else(|| "none".to_owned(), |fee| fee.to_string());
        let head = if self.head == self.number {
            self.number.to_string()
        } else {
            format!("{} (head: {})", self.number, self.head)
        };
        let canary = match self.shadow {
            None => "--shadow next executes blocks under the one after it, too".to_owned(),
            Some(aim) => format!("canary: {aim}, see shadow_report"),
        };
        for (title, value) in [
            ("Chain ID", self.chain_id.to_string()),
            ("Hardfork", format!("{} ({canary})", self.fork)),
            ("Base Fee", base_fee),
            ("Gas Limit", self.gas_limit.to_string()),
            ("Genesis Timestamp", self.timestamp.to_string()),
            ("Genesis Number", head),
            ("Database", self.database.clone()),
        ] {
            writeln!(out, "\n{title}\n==================\n\n{value}")?;
        }
        if let Some(path) = self.ipc {
            writeln!(out, "\nIPC path: {}", path.display())?;
        }
        let listening: Vec<_> = self.listening.iter().map(ToString::to_string).collect();
        writeln!(out, "\nListening on {}", listening.join(", "))
    }
}
