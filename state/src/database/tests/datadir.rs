//! Who may open a datadir.

use std::{fs, path::Path};

use crate::{
    ChangeSet, Database, OpenError, Options,
    rows::FORMAT,
    testing::{Folder, execute, spec},
};

fn options(folder: &Folder) -> Options {
    Options { path: Some(folder.path().to_path_buf()), ..Options::default() }
}

/// All files below a folder with their content.
fn files(folder: &Folder) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is a folder") {
            let path = entry.expect("it is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).expect("it is a file");
                files.push((path, content));
            }
        }
    }
    files.sort();
    files
}

/// Goal: a datadir goes on where it stopped; others are refused by name, and not a byte of it
/// changes: locked, of another chain, of a newer or older version.
#[test]
fn only_its_own_chain_opens_a_datadir() {
    let folder = Folder::new();
    let mut database = Database::open(&options(&folder), &spec(1)).expect("it is new");
    let executed = execute(&database.tip(), &ChangeSet::default(), 1);
    database.commit(&[executed]).expect("in order");
    let hash = database.durable().hash;

    let before = files(&folder);
    let error = Database::open(&options(&folder), &spec(1)).err().expect("it is open");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert_eq!(files(&folder), before);
    drop(database);

    let before = files(&folder);
    let error = Database::open(&options(&folder), &spec(2)).err().expect("another chain");
    let (ours, theirs) = (spec(1).hash(), spec(2).hash());
    assert!(
        matches!(error, OpenError::Foreign { found, expected, .. }
            if found == ours && expected == theirs),
        "{error}"
    );
    assert_eq!(files(&folder), before);

    let label = folder.path().join("evenkeel.datadir");
    let text = fs::read_to_string(&label).expect("it has a label");
    let label_of =
        |format: u32| text.replace(&format!("format {FORMAT}"), &format!("format {format}"));
    fs::write(&label, label_of(FORMAT + 1)).expect("it is writable");
    let before = files(&folder);
    let error = Database::open(&options(&folder), &spec(1)).err().expect("a newer version");
    assert!(
        matches!(error, OpenError::Newer { found, known: FORMAT, .. } if found == FORMAT + 1),
        "{error}"
    );
    assert_eq!(files(&folder), before);
    fs::write(&label, label_of(FORMAT - 1)).expect("it is writable");
    let before = files(&folder);
    let error = Database::open(&options(&folder), &spec(1)).err().expect("an older version");
    assert!(
        matches!(error, OpenError::Older { found, known: FORMAT, .. } if found == FORMAT - 1),
        "{error}"
    );
    assert_eq!(files(&folder), before);

    // The label is a courtesy; the rows inside decide.
    fs::remove_file(&label).expect("it is there");
    let error = Database::open(&options(&folder), &spec(2)).err().expect("another chain");
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    fs::remove_file(&label).expect("the try made one");
    let database = Database::open(&options(&folder), &spec(1)).expect("it is ours");
    assert_eq!(database.durable().hash, hash);
}

/// Goal: what is gone from a datadir, or broken in it, is named, by a start and by a look alike,
/// and neither makes it anew.
/// Method: each file in turn, and the rows of the log.
#[test]
fn what_is_lost_is_named_and_not_made_anew() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("state", |folder| fs::remove_dir_all(folder.join("state")).expect("it is there")),
        ("CURRENT", |folder| fs::remove_file(folder.join("state/CURRENT")).expect("it is there")),
        ("state", |folder| {
            for entry in fs::read_dir(folder.join("state")).expect("it is a folder") {
                let path = entry.expect("it is readable").path();
                if path.extension().is_some_and(|end| end == "log" || end == "sst") {
                    fs::remove_file(path).expect("it is a file");
                }
            }
        }),
        ("spec.json", |folder| fs::remove_file(folder.join("spec.json")).expect("it is there")),
        ("spec.json", |folder| fs::write(folder.join("spec.json"), "{ ").expect("writable")),
        ("evenkeel.datadir", |folder| {
            fs::write(folder.join("evenkeel.datadir"), [0xff; 9]).expect("writable");
        }),
    ];
    for (name, damage) in damages {
        let folder = Folder::new();
        let mut database = Database::open(&options(&folder), &spec(1)).expect("it is new");
        let executed = execute(&database.tip(), &ChangeSet::default(), 1);
        database.commit(&[executed]).expect("in order");
        drop(database);
        damage(folder.path());
        let before = files(&folder);
        let looked = Database::stored_spec(&options(&folder))
            .and_then(|spec| Database::open_read_only(folder.path(), &spec.expect("it has one")));
        let error = looked.err().expect(name).to_string();
        assert!(error.contains(name), "{name}: {error}");
        assert_eq!(files(&folder), before, "{name}: a look writes nothing");
        let started = Database::stored_spec(&options(&folder))
            .and_then(|spec| Database::open(&options(&folder), &spec.expect("it has one")));
        let error = started.err().expect(name).to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
}

/// Goal: a database that is only looked at is read wholly, and not a byte of it changes.
#[test]
fn a_look_changes_nothing() {
    let folder = Folder::new();
    let mut database = Database::open(&options(&folder), &spec(1)).expect("it is new");
    let executed = execute(&database.tip(), &ChangeSet::default(), 1);
    database.commit(&[executed]).expect("in order");
    let hash = database.durable().hash;
    let error = Database::open_read_only(folder.path(), &spec(1)).err().expect("it is open");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(database);
    let before = files(&folder);
    let mut database = Database::open_read_only(folder.path(), &spec(1)).expect("it is there");
    assert_eq!(database.durable().hash, hash);
    assert_eq!(database.verify(&mut |_| {}).expect("the disk works").faults, []);
    database.mark().expect_err("it writes");
    drop(database);
    assert_eq!(files(&folder), before);
}

/// Goal: a first start that a crash cut off before the store was there is taken up.
#[test]
fn a_first_start_that_was_cut_off_goes_on() {
    let folder = Folder::new();
    drop(Database::open(&options(&folder), &spec(1)).expect("it is new"));
    let label = folder.path().join("evenkeel.datadir");
    let text = fs::read_to_string(&label).expect("it has a label");
    fs::write(&label, text.replace("genesis written\n", "")).expect("writable");
    fs::remove_dir_all(folder.path().join("state")).expect("it is there");
    drop(Database::open(&options(&folder), &spec(1)).expect("as if it were new"));
    assert_eq!(fs::read_to_string(&label).expect("it has a label"), text);
}

/// Goal: a store that somebody holds open without our lock is refused by the same name.
#[test]
fn a_store_that_is_open_is_locked() {
    let folder = Folder::new();
    drop(Database::open(&options(&folder), &spec(1)).expect("it is new"));
    let held = crate::store::Rocks::open(&folder.path().join("state"), 0).expect("nobody has it");
    let error = Database::open(&options(&folder), &spec(1)).err().expect("it is open");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(held);
    drop(Database::open(&options(&folder), &spec(1)).expect("it is free"));
}

/// Goal: what is not ours is left alone.
#[test]
fn what_is_not_a_datadir_is_refused() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join("state")).expect("a temporary folder");
    fs::write(folder.path().join("state").join("photo"), "of a cat").expect("it is writable");
    let before = files(&folder);
    let error = Database::open(&options(&folder), &spec(1)).err().expect("not ours");
    assert!(matches!(error, OpenError::NotDatadir { .. }), "{error}");
    assert_eq!(files(&folder), before);

    let file = folder.path().join("state").join("photo");
    let options = Options { path: Some(file), ..Options::default() };
    let error = Database::open(&options, &spec(1)).err().expect("a file");
    assert!(matches!(error, OpenError::NotDatadir { .. } | OpenError::Unusable { .. }), "{error}");
}
