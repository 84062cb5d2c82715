//! `evenkeel test`: what it prints, how it ends, and what it refuses; and chains of others.

mod basic;
mod engine;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

/// A folder of tests, deleted in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("evenkeel-suites-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("below/.meta")).expect("the folder for temporary files");
        Self(path)
    }

    fn write(&self, name: &str, tests: &Value) {
        fs::write(self.0.join(name), tests.to_string()).expect("it was made just now");
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("our own name")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(arguments: &[&str]) -> (Output, Vec<String>) {
    let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .arg("test")
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8(output.stdout.clone()).expect("it prints text");
    (output, text.lines().map(str::to_owned).collect())
}

/// Goal: folders are walked, a failure is one line that says what was expected, the sum is the last
/// line, and the exit code tells.
#[test]
fn failures_are_lines_and_the_sum_is_last() {
    let folder = Folder::new("lines");
    folder.write("good.json", &json!({ "dog": { "in": "dog", "out": "0x83646f67" } }));
    folder.write("note.txt", &json!("no test"));
    folder.write("below/.meta/index.json", &json!("no test"));
    let (output, lines) = run(&["rlp", folder.path()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lines.last().map(String::as_str), Some("1 passed, 0 failed, 0 skipped"));

    folder.write(
        "below/bad.json",
        &json!({
            "cat": { "in": "cat", "out": "0x83646f67" },
            "zeros": { "in": "INVALID", "out": "0x8100" },
            "none": { "in": "INVALID", "out": "0x80" },
        }),
    );
    let (output, lines) = run(&["rlp", folder.path(), "--jobs", "3"]);
    assert_eq!(output.status.code(), Some(1));
    let failures: Vec<_> = lines.iter().filter(|line| line.starts_with("FAIL ")).collect();
    assert_eq!(failures.len(), 2, "{lines:?}");
    let cat = failures.iter().find(|line| line.contains("bad.json cat: "));
    assert!(cat.is_some_and(|line| line.contains("expected String([99, 97, 116])")), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("2 passed, 2 failed, 0 skipped"));

    let (output, lines) = run(&["rlp", folder.path(), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[..2].iter().all(|line| line["reason"].is_string() && line["file"].is_string()));
    assert_eq!((&lines[2]["passed"], &lines[2]["failed"]), (&json!(2), &json!(2)));
}

/// Goal: roots of tries, with and without hashed keys; known answers of ethereum/tests.
#[test]
fn roots_of_tries_are_compared() {
    let folder = Folder::new("tries");
    let dogs = json!({ "doe": "reindeer", "dog": "puppy", "dogglesworth": "cat" });
    let root = "0x8aad789dff2f538bca5d8ea56e8abe10f4c7ba3a5dea95fea4cd6e7c3a1168d3";
    let secure = "0xd4cd937e4a4368d7931a9cf51686b7e10abb3dce38a39000fd7902a092b64585";
    folder.write("any.json", &json!({ "dogs": { "in": dogs, "root": root } }));
    folder.write("any_secureTrie.json", &json!({ "dogs": { "in": dogs, "root": secure } }));
    let changes = json!([
        ["dog", "puppy"],
        ["cow", "moo"],
        ["doe", "reindeer"],
        ["cow", null],
        ["dogglesworth", "cat"]
    ]);
    folder.write("ordered.json", &json!({ "dogs": { "in": changes, "root": root } }));
    folder.write("ordered_secure.json", &json!({ "dogs": { "in": changes, "root": secure } }));
    let (output, lines) = run(&["trie", folder.path()]);
    assert!(output.status.success(), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("4 passed, 0 failed, 0 skipped"));
}

/// Goal: what cannot be run is an error that names it, and never a pass.
#[test]
fn what_cannot_be_run_is_an_error() {
    let folder = Folder::new("errors");
    let (output, _) = run(&["rlp", folder.path()]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("no .json file in"), "{errors}");
    let (output, _) = run(&["rlp", "/nowhere/at/all"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && errors.contains("/nowhere/at/all"), "{errors}");
    let (output, _) = run(&["poetry", folder.path()]);
    assert!(!output.status.success());

    folder.write("empty.json", &json!({}));
    let (output, lines) = run(&["rlp", folder.path()]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(lines.last().map(String::as_str), Some("0 passed, 0 failed, 0 skipped"));
    let expected = format!("no test found under {}: expected `rlp`: Encoded items", folder.path());
    assert!(output.status.code() == Some(1) && errors.contains(&expected), "{errors}");

    folder.write("state.json", &json!({ "odd": 7 }));
    let (output, lines) = run(&["state", folder.path()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(lines[0].contains("cannot be read"), "{lines:?}");
    let expected = "; expected `state`: One transaction on a state: `state_tests`, ";
    assert!(lines[0].contains(expected) && !lines[0].contains("it looks like"), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("0 passed, 1 failed, 0 skipped"));
    folder.write("state.json", &json!({ "odd": { "blocks": [], "lastblockhash": "0x" } }));
    let (_, lines) = run(&["state", folder.path()]);
    assert!(lines[0].contains("; it looks like `block`: Blocks on a genesis"), "{lines:?}");
}

/// Goal: real blocks of many forks: all of a folder, and by fork.
#[test]
#[ignore = "needs the suites: make conformance"]
fn transitions_of_ethereum_tests_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suites/ethereum-tests");
    let tests = root.join("BlockchainTests/TransitionTests");
    let tests = tests.to_str().expect("a UTF-8 path");
    let (output, lines) = run(&["block", tests, "--slice", "100"]);
    assert!(output.status.success(), "{lines:?}");
    let (output, lines) = run(&["block", tests, "--fork", "HomesteadToDaoAt5"]);
    assert!(output.status.success(), "{lines:?}");
    let sum = lines.last().expect("a sum");
    assert!(!sum.starts_with("0 passed") && !sum.ends_with(" 0 skipped"), "{sum}");
}

/// Goal: hive's chains import up to the heads that hive names: one of every fork from Frontier to
/// the last with ommers and proof of work, and one of 3,000 blocks.
#[test]
#[ignore = "needs the suites: make conformance"]
fn chains_of_hive_import() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/suites");
    let folder = Folder::new("hive");
    for (name, chain) in [("apis", "execution-apis/tests"), ("sync", "hive/sync-chain")] {
        let chain = root.join(chain);
        let head = fs::read_to_string(chain.join("headfcu.json")).expect("hive names the head");
        let head: Value = serde_json::from_str(&head).expect("JSON");
        let head = head["params"][0]["headBlockHash"].as_str().expect("a hash").to_owned();
        let output = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .arg("import")
            .arg(chain.join("chain.rlp"))
            .arg("--chain")
            .arg(chain.join("genesis.json"))
            .arg("--datadir")
            .arg(folder.0.join(name))
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{said}");
        assert!(output.status.success() && said.contains(&head), "{output:?}");
    }
}
