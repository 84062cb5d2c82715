//! The canary over RPC: what its report says, and how it is moved.

use evenkeel_chain::Fork;
use evenkeel_vm::ShadowAim;
use serde_json::{Value, json};

use super::world::{Event, Setup, World, sender};
use crate::RpcConfig;

fn world(aim: ShadowAim) -> World {
    World::with(81, Setup { shadow: Some(aim), ..Setup::default() })
}

fn report(world: &mut World) -> Value {
    world.sim.run_until_idle();
    world.ok("shadow_report", "[]")
}

/// Goal: a canary that follows the chain says what it runs and why, counts, and shows what came out
/// differently, the newest first; its aim can be changed to a fork and back, each time with a new
/// report that still says what was before, of all moves; to the aim it has, nothing changes; the
/// chain's own fork is not executed, and the report says so.
/// Method: the chain is at Osaka, its blocks are hand-made: they say they emit or fail, which no
/// rules have them do.
#[test]
fn the_report_says_what_came_out_differently() {
    let mut world = world(ShadowAim::Next);
    let idle = "waits for a block, which says what rules are next";
    let nothing = json!({
        "aim": "next", "active": null, "idle": idle, "fork": null, "height": null, "blocks": 0,
        "transactions": 0, "diverged": 0, "skipped": 0, "failed": 0, "newest": [],
    });
    assert_eq!(report(&mut world), nothing);

    let event = Event { address: sender(), topics: Vec::new() };
    let logs = world.mine(&[vec![], vec![event]]);
    let status = world.mine_failing();
    let lines = json!([
        {
            "blockNumber": "0x2", "transactionIndex": "0x0",
            "transactionHash": status.txs[0].hash(), "what": "status",
            "live": "failure", "shadow": "success",
        },
        {
            "blockNumber": "0x1", "transactionIndex": "0x1",
            "transactionHash": logs.txs[1].hash(), "what": "logs", "live": null, "shadow": null,
        },
    ]);
    let counts = json!({
        "fork": "bpo1", "height": "0x2", "blocks": 2, "transactions": 3, "diverged": 2,
        "skipped": 0, "failed": 0,
    });
    let mut expected = counts.clone();
    expected["aim"] = json!("next");
    expected["active"] = json!("osaka");
    expected["newest"] = lines;
    assert_eq!(report(&mut world), expected);

    assert_eq!(world.ok("shadow_upgrade", r#"["next"]"#), "next");
    assert_eq!(report(&mut world), expected);
    let own = json!("nothing to compare: osaka is what the chain itself runs");
    for (aim, idle) in [("Osaka", own.clone()), ("Prague", Value::Null)] {
        assert_eq!(world.ok("shadow_upgrade", &json!([aim]).to_string()), aim.to_lowercase());
        let moved = report(&mut world);
        let named = json!(aim.to_lowercase());
        assert_eq!((&moved["aim"], &moved["fork"], &moved["idle"]), (&named, &named, &idle));
        assert_eq!((&moved["blocks"], &moved["newest"]), (&json!(0), &json!([])));
        assert_eq!((&moved["before"], &moved["height"]), (&json!([counts]), &json!("0x2")));
    }
    world.mine(&[vec![]]);
    let prague = report(&mut world);
    assert_eq!((&prague["active"], &prague["blocks"]), (&json!("osaka"), &json!(1)));
    for aim in ["prague", "osaka"] {
        world.ok("shadow_upgrade", &json!([aim]).to_string());
    }
    world.mine(&[vec![]]);
    let osaka = report(&mut world);
    let seen = (&osaka["idle"], &osaka["height"], &osaka["blocks"], &osaka["failed"]);
    assert_eq!(seen, (&own, &json!("0x4"), &json!(0), &json!(0)));
    let before = &osaka["before"];
    assert_eq!((&before[0]["fork"], &before[0]["blocks"]), (&json!("prague"), &json!(1)));
    assert_eq!((&before[1], &before[2]), (&counts, &Value::Null));
    world.ok("shadow_upgrade", r#"["next"]"#);
    let waits = report(&mut world);
    assert_eq!((&waits["idle"], &waits["active"]), (&json!(idle), &Value::Null));
}

/// Goal: at the last fork the report says that there is nothing to run.
#[test]
fn the_report_says_why_nothing_runs() {
    let (fork, shadow) = (Fork::LATEST, Some(ShadowAim::Next));
    let mut world = World::with(83, Setup { fork, shadow, ..Setup::default() });
    world.mine(&[vec![]]);
    let last = report(&mut world);
    assert_eq!(last["idle"], "nothing to run: bpo2 is the last fork that this node knows");
    assert_eq!((&last["active"], &last["fork"]), (&json!("bpo2"), &Value::Null));
    assert_eq!((&last["height"], &last["blocks"]), (&json!("0x1"), &json!(0)));
    assert_eq!(world.ok("shadow_upgrade", r#"["next"]"#), "next");
    assert_eq!(report(&mut world), last);
}

/// Goal: what names no rules is refused with what was expected, and changes nothing; a node without
/// a canary says how to have one.
#[test]
fn bad_aims_are_refused() {
    let mut world = world(ShadowAim::Next);
    let before = report(&mut world);
    let bad = "expected next or a hardfork (frontier .. prague, osaka, bpo1, bpo2, latest), found";
    for (params, text) in [
        ("[]", "missing value for required argument 0"),
        (r#"["marmalade"]"#, &format!("invalid argument 0: {bad} 'marmalade'")),
        (r#"[""]"#, &format!("invalid argument 0: {bad} ''")),
        (r#"["next", 1]"#, "too many arguments, want at most 1"),
    ] {
        assert_eq!(world.err("shadow_upgrade", params), (-32_602, text.to_owned()));
    }
    assert_eq!(world.err("shadow_upgrade", "[7]").0, -32_602);
    assert_eq!(world.err("shadow_report", "[7]").0, -32_602);
    assert_eq!(report(&mut world), before);

    let mut without = World::new(82, RpcConfig::default());
    let none = "this node has no canary: start it with --shadow next or --shadow FORK";
    for (method, params) in [("shadow_report", "[]"), ("shadow_upgrade", r#"["next"]"#)] {
        assert_eq!(without.err(method, params), (-32_001, none.to_owned()));
    }
}
