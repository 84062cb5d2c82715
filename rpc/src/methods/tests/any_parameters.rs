//! No method panics, hangs or fails as if it were our fault, whatever its parameters.

use super::world::World;
use crate::{METHODS, RpcConfig};
use evenkeel_runtime::Entropy;

/// Fragments that reach deep into the decoders, and nonsense beside them.
const ATOMS: &[&str] = &[
    "null",
    "true",
    "0",
    "-1",
    "1.5",
    "18446744073709551616",
    r#""""#,
    r#""0x""#,
    r#""0x0""#,
    r#""0x1""#,
    r#""0x01""#,
    r#""0xffffffffffffffff""#,
    r#""0x10000000000000000""#,
    r#""0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff""#,
    r#""latest""#,
    r#""pending""#,
    r#""earliest""#,
    r#""newHeads""#,
    r#""\u00300x""#,
    r#""0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266""#,
    r#""0x4242424242424242424242424242424242424242""#,
    r#""0xabababababababababababababababababababababababababababababababab""#,
    r#""0x02f8""#,
];

const KEYS: &[&str] = &[
    "from",
    "to",
    "data",
    "input",
    "value",
    "gas",
    "gasPrice",
    "maxFeePerGas",
    "nonce",
    "type",
    "accessList",
    "authorizationList",
    "blobVersionedHashes",
    "chainId",
    "fromBlock",
    "toBlock",
    "blockHash",
    "blockNumber",
    "address",
    "topics",
    "tracer",
    "tracerConfig",
    "timeout",
    "types",
    "primaryType",
    "domain",
    "message",
    "timestamp",
    "blocks",
    "txIndex",
    "balance",
    "code",
    "0x4242424242424242424242424242424242424242",
];

fn pick<'a>(entropy: &mut Entropy, from: &[&'a str]) -> &'a str {
    let index = usize::try_from(entropy.below(from.len() as u64)).expect("small");
    from[index]
}

fn json(entropy: &mut Entropy, depth: u32) -> String {
    match if depth == 0 { 0 } else { entropy.below(4) } {
        0 | 1 => pick(entropy, ATOMS).to_owned(),
        2 => {
            let items = entropy.below(4);
            let items: Vec<_> = (0..items).map(|_| json(entropy, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => {
            let items = entropy.below(5);
            let field = |entropy: &mut Entropy| {
                format!("\"{}\":{}", pick(entropy, KEYS), json(entropy, depth - 1))
            };
            let items: Vec<_> = (0..items).map(|_| field(entropy)).collect();
            format!("{{{}}}", items.join(","))
        }
    }
}

fn params(entropy: &mut Entropy) -> String {
    if entropy.once_in(20) {
        return json(entropy, 2);
    }
    let count = entropy.below(5);
    let items: Vec<_> = (0..count).map(|_| json(entropy, 3)).collect();
    format!("[{}]", items.join(","))
}

/// Goal: no parameters make a method panic or blame itself.
/// Method: every method of the table, random JSON built from what its decoders know, fixed seeds.
#[test]
fn no_parameters_break_a_method() {
    let mut world = World::new(1, RpcConfig::default());
    world.mine(&[vec![], vec![]]);
    let mut entropy = Entropy::from_seed(7);
    let mut good = 0_u32;
    for round in 0..60 {
        for method in METHODS {
            let params = params(&mut entropy);
            match world.call(method, &params) {
                Ok(_) => good += 1,
                Err(error) => {
                    assert!(
                        !matches!(error.code, -32_603 | -32_700),
                        "round {round}: {method} {params}: {error}"
                    );
                    assert!(
                        !error.message.contains(&format!("the method {method} does not exist")),
                        "{method} is in the table and unknown"
                    );
                }
            }
        }
    }
    assert!(good > 100, "the parameters are too wrong to test much: {good}");
}

/// Goal: names outside the table get geth's answer, and a chain that is not dev hides the cheats.
#[test]
fn unknown_methods() {
    let mut world = World::new(1, RpcConfig::default());
    for name in ["eth_nothing", "nothing", "", "eth_", "anvil_nothing"] {
        let want = format!("the method {name} does not exist/is not available");
        assert_eq!(world.err(name, "[]"), (-32_601, want));
    }
    let mut public = World::new(1, RpcConfig { is_dev: false, ..RpcConfig::default() });
    assert_eq!(public.err("anvil_nodeInfo", "[]").0, -32_601);
    assert_eq!(public.ok("rpc_modules", "[]").get("anvil"), None);
    assert_eq!(world.ok("rpc_modules", "[]")["anvil"], "1.0");
}

/// Goal: the table has each name once.
#[test]
fn names_are_unique() {
    let mut names = METHODS.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), METHODS.len());
}
