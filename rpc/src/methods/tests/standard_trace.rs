//! Traces in files.

use std::{fs, path::PathBuf, time::Duration};

use evenkeel_runtime::Share;
use serde_json::{Value, json};

use super::{
    traces::{counter, world_with},
    world::World,
};
use crate::{ClientId, Member, RpcConfig};

const METHOD: &str = "debug_standardTraceBlockToFile";

/// The lines of a file, which is removed.
fn lines(path: &Value) -> Vec<Value> {
    let path = path.as_str().expect("a path");
    let text = fs::read_to_string(path).expect("it is there");
    fs::remove_file(path).expect("it is there");
    text.lines().map(|line| line.parse().expect("a line is JSON")).collect()
}

/// A world that writes traces to a folder of its own.
struct Traced {
    world: World,
    folder: PathBuf,
}

impl Traced {
    fn new(seed: u64) -> Self {
        let name = format!("evenkeel-traces-{}-{seed}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let config = RpcConfig { trace_folder: folder.clone(), ..RpcConfig::default() };
        Self { world: world_with(seed, &counter(), config), folder }
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.folder).expect("a folder").count()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).expect("it is there");
    }
}

/// Goal: each transaction has a file, named as geth names it, with a line for each instruction that
/// the struct logger shows and one for each end of a call; one alone if it is asked for.
#[test]
fn each_transaction_has_its_file() {
    let mut traced = Traced::new(73);
    let world = &mut traced.world;
    let block = world.mine(&[vec![], vec![]]);
    let paths = world.ok(METHOD, &json!([block.hash]).to_string());
    let paths = paths.as_array().expect("paths");
    assert_eq!(paths.len(), 2);
    let logs = world.ok("debug_traceBlockByHash", &json!([block.hash]).to_string());
    for (nth, path) in paths.iter().enumerate() {
        let (block, tx) = (block.hash.to_string(), block.txs[nth].hash().to_string());
        let name = format!("block_{}-{nth}-{}-", &block[..10], &tx[..10]);
        assert!(path.as_str().is_some_and(|path| path.contains(&name)), "{path}");
        let lines = lines(path);
        let steps = logs[nth]["result"]["structLogs"].as_array().expect("steps");
        let shown = |line: &Value| (line["pc"].clone(), line["stack"].clone());
        let with_pc = lines.iter().filter(|line| line.get("pc").is_some()).map(shown);
        assert!(with_pc.eq(steps.iter().map(shown)), "{lines:?}");
        let ends = lines.iter().filter(|line| line.get("output").is_some()).count();
        // The transaction's, and that of the call of an account without code.
        assert_eq!(ends, 2);
    }

    let second = block.txs[1].hash();
    for config in [json!({ "txHash": second }), json!({ "TxHash": second, "DisableStack": true })] {
        let paths = world.ok(METHOD, &json!([block.hash, config]).to_string());
        assert_eq!(paths.as_array().map(Vec::len), Some(1));
        assert!(paths[0].as_str().is_some_and(|path| path.contains("-1-")), "{paths}");
        let lines = lines(&paths[0]);
        assert_eq!(lines[0]["stack"].is_null(), config.get("DisableStack").is_some());
    }
}

/// Goal: what cannot be traced is refused in geth's words; of what its client does not wait for no
/// file stays.
#[test]
fn no_file_stays_of_what_fails() {
    let mut traced = Traced::new(74);
    let world = &mut traced.world;
    let block = world.mine(&[vec![], vec![]]);
    let other = format!("0x{:064x}", 1);
    let mut refused = |method: &str, params: Value| world.err(method, &params.to_string()).1;
    assert_eq!(refused(METHOD, json!([other])), format!("block {other} not found"));
    assert_eq!(
        refused(METHOD, json!([block.hash, { "txHash": other }])),
        format!("transaction {other} not found in block")
    );
    let overrides = refused(METHOD, json!([block.hash, { "overrides": {} }]));
    assert!(overrides.contains("expected none"), "{overrides}");
    assert_eq!(
        refused("debug_standardTraceBadBlockToFile", json!([block.hash])),
        format!("bad block {} not found", block.hash)
    );

    let member = Member { share: Share::new(), id: ClientId::default() };
    let params = json!([block.hash]).to_string();
    let mut most = 0;
    for time in (0..100).map(|nth| nth * Duration::from_micros(20)) {
        let task = traced.world.start(&member, None, METHOD, &params);
        traced.world.sim.run_for(time);
        if task.is_finished() {
            break;
        }
        most = most.max(traced.files());
        task.abort();
        traced.world.sim.run_for(Duration::from_secs(1));
        assert_eq!(traced.files(), 0, "after {time:?}");
    }
    assert!(most > 0, "it was never left while it wrote");
}
