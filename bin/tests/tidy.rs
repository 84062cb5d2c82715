//! Lints the repository itself: who may import whom, where unsafe code may stand, and the rules of
//! style that no compiler checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who may import whom (docs/ARCHITECTURE.md, "Workspace"). Crates of one layer never meet here.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("chain", &[]),
    ("state", &["runtime", "chain"]),
    ("consensus", &["runtime", "chain"]),
    ("vm", &["runtime", "chain", "state"]),
    ("mempool", &["runtime", "chain", "state"]),
    ("rpc", &["runtime", "chain", "state", "vm", "mempool"]),
    ("node", &["runtime", "chain", "state", "vm", "mempool", "consensus", "rpc"]),
    ("bin", &["runtime", "chain", "state", "vm", "mempool", "consensus", "rpc", "node"]),
    ("benches", &["runtime", "chain", "state", "vm", "mempool", "consensus", "rpc", "node"]),
];

/// External crates that one room owns; the others reach them through that room.
const OWNERS: &[(&str, &[&str])] = &[
    ("tokio", &["runtime", "rpc", "bin"]),
    ("revm", &["vm", "benches"]),
    ("revm-inspectors", &["vm"]),
    ("rocksdb", &["state"]),
    ("rayon", &["runtime"]),
    ("k256", &["chain"]),
    ("secp256k1", &["chain"]),
    ("sha3", &["chain"]),
    ("hyper", &["rpc", "bin"]),
    ("clap", &["bin", "benches"]),
    ("anyhow", &["bin", "benches"]),
    ("ratatui", &["bin"]),
];

/// The only files that may hold unsafe code (style.md, C9).
const UNSAFE_FILES: &[&str] = &[
    "runtime/src/cell.rs",
    "runtime/src/cell/run.rs",
    "runtime/src/cell/task.rs",
    "runtime/src/cell/turn.rs",
    "runtime/src/queue.rs",
    "runtime/src/queue/letter.rs",
    "runtime/src/queue/loom_tests.rs",
    "runtime/src/queue/tests.rs",
    "runtime/src/slab.rs",
    "runtime/src/slab/chunks.rs",
    "runtime/src/slab/loom_tests.rs",
    "runtime/src/park.rs",
    "vm/src/suspended.rs",
];

/// Files whose length has a reason.
const LONG_FILES: &[(&str, &str)] = &[];

const LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 100;
const FOLDERS_BANNED: &[&str] = &["utils", "util", "common", "helpers", "types", "core", "shared"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bin lies in the root").to_path_buf()
}

/// The workspace's Rust files, as paths from the root.
fn sources() -> Vec<(String, String)> {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(listing.status.success(), "git ls-files failed");
    let names = String::from_utf8(listing.stdout).expect("our file names are UTF-8");
    let read = |name: &str| fs::read_to_string(root().join(name)).ok();
    names.lines().filter_map(|name| Some((name.to_owned(), read(name)?))).collect()
}

/// Goal: the layers of the architecture hold, and each heavy crate has one owner.
/// Method: compare every dependency that `cargo metadata` lists with the tables above.
#[test]
fn crates_import_only_what_the_architecture_allows() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let packages = metadata["packages"].as_array().expect("packages are listed");

    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let owners: BTreeMap<_, _> = OWNERS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        let Some(folder) = name.strip_prefix("evenkeel-") else {
            wrong.push(format!("package {name}: its name shall be evenkeel-<folder>"));
            continue;
        };
        let Some(may) = allowed.get(folder) else {
            wrong.push(format!("crate {folder} is not in the table of layers"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies are listed") {
            let on = dependency["name"].as_str().expect("a dependency has a name");
            let is_dev = dependency["kind"] == "dev";
            if let Some(on) = on.strip_prefix("evenkeel-") {
                // Tests of a room may stand on any room below it; they never ship.
                if !may.contains(&on) && !is_dev {
                    wrong.push(format!("{folder} may not import {on}"));
                }
            } else if let Some(owners) = owners.get(on)
                && !owners.contains(&folder)
                && !is_dev
            {
                wrong.push(format!("{folder} may not import {on}: {owners:?} own it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(packages.len(), MAY_IMPORT.len(), "a crate of the table is missing");
}

/// Goal: unsafe code stays in the few files that are proven by stress tests.
#[test]
fn unsafe_code_stands_only_where_style_allows() {
    let keyword = concat!("un", "safe");
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if UNSAFE_FILES.contains(&name.as_str()) {
            let blocks = text.matches(&format!("{keyword} {{")).count();
            let reasons = text.matches("SAFETY:").count();
            if reasons < blocks.div_ceil(4) {
                wrong.push(format!("{name}: {blocks} blocks, only {reasons} SAFETY: comments"));
            }
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_use = [" {", " impl", " fn"]
                .iter()
                .any(|after| code.contains(&format!("{keyword}{after}")));
            if is_use {
                wrong.push(format!("{name}:{}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "not a place for it:\n{}", wrong.join("\n"));
}

/// Goal: files are small, have a header, and carry no leftovers.
#[test]
fn files_keep_the_house_style() {
    let leftovers =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("HA", "CK"), concat!("XX", "X")];
    let long: BTreeMap<_, _> = LONG_FILES.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if !text.starts_with("//!") && !text.starts_with("#!") {
            wrong.push(format!("{name}: no `//!` header"));
        }
        let is_test = name.contains("/tests");
        let lines = text.lines().count();
        if lines > LINES_MAX && !is_test && !long.contains_key(name.as_str()) {
            wrong
                .push(format!("{name}: {lines} lines, more than {LINES_MAX}, and no reason given"));
        }
        for (number, line) in text.lines().enumerate() {
            let at = format!("{name}:{}", number + 1);
            // rustfmt keeps code within the columns; a string that it cannot break is data.
            if line.chars().count() > COLUMNS_MAX && !line.contains('"') {
                wrong.push(format!("{at}: more than {COLUMNS_MAX} columns"));
            }
            let words = || line.split(|c: char| !c.is_ascii_alphanumeric());
            if words().any(|word| leftovers.contains(&word)) {
                wrong.push(format!("{at}: a leftover; file an issue instead"));
            }
        }
        for banned in FOLDERS_BANNED {
            let is_named = |part: &str| part == *banned || part == format!("{banned}.rs");
            if !is_test && name.split('/').any(is_named) {
                wrong.push(format!("{name}: {banned} says nothing; name the thing"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Goal: whoever opens a room finds out what it is for.
#[test]
fn every_room_has_a_readme_and_every_crate_a_line_in_the_map() {
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the map is there");
    let missing: BTreeSet<_> = MAY_IMPORT
        .iter()
        .map(|(folder, _)| *folder)
        .filter(|folder| {
            !root().join(folder).join("README.md").exists() || !map.contains(&format!("`{folder}`"))
        })
        .collect();
    assert!(missing.is_empty(), "no README.md or no line in docs/ARCHITECTURE.md: {missing:?}");
}
