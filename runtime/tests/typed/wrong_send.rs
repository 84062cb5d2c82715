//! A message of another protocol.
include!("protocol.inc");

fn pay(account: &evenkeel_runtime::Address<Deposit>) {
    account.send(Withdraw(1)).unwrap();
}

fn main() {}
