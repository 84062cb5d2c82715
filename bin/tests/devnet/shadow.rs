//! The canary's flag.

use super::{Devnet, fails, json};

/// Goal: a canary is told a fork or to follow the chain, and the banner says so; else the flag says
/// what was expected.
#[test]
fn a_canary_has_an_aim() {
    for (flag, aim) in [("next", "next"), ("Cancun", "cancun")] {
        let mut node = Devnet::start(&["--shadow", flag]);
        assert_eq!(node.call("shadow_report", &json!([]))["aim"], aim);
        let hardfork = format!("\nosaka (canary: {aim}, see shadow_report)\n");
        assert!(node.banner().contains(&hardfork), "{}", node.banner());
        assert_eq!(node.terminate(), Some(0));
    }
    let expected = "expected next or a hardfork (frontier .. prague, osaka, bpo1, bpo2, latest)";
    fails(&["--shadow", "marmalade"], expected);
}
