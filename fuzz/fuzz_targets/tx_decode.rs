//! No bytes make the transaction decoder panic, and what it takes encodes to the same bytes.

#![no_main]

use evenkeel_chain::RecoveredTx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let Ok(unrecovered) = RecoveredTx::decode(raw) else { return };
    let hash = *unrecovered.hash();
    if let Ok(tx) = unrecovered.recover() {
        assert_eq!(&tx.encoded()[..], raw);
        assert_eq!(*tx.hash(), hash);
    }
});
