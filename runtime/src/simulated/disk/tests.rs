//! The disk against a model that knows what the rules allow.

use super::*;

const FILE: &str = "log";
const SECTOR: usize = DISK_SECTOR_BYTES;

/// What the disk may hold, told without its code: the content at the last sync, and the changes
/// since.
#[derive(Default)]
struct Model {
    synced: Vec<u8>,
    changes: Vec<Change>,
    cached: Vec<u8>,
}

impl Model {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.changes.push(change);
    }

    fn synced(&mut self) {
        self.synced.clone_from(&self.cached);
        self.changes.clear();
    }

    /// One sector, zeros where there is nothing, after the changes that `kept` has bits for.
    fn sector(&self, start: usize, kept: u32) -> Vec<u8> {
        let mut sector: Vec<u8> = self.synced.iter().skip(start).take(SECTOR).copied().collect();
        sector.resize(SECTOR, 0);
        for (index, change) in self.changes.iter().enumerate() {
            if kept & (1 << index) == 0 {
                continue;
            }
            for (place, byte) in sector.iter_mut().enumerate() {
                match change {
                    Change::Truncate { length } if start + place >= *length => *byte = 0,
                    Change::Write { offset, bytes } if start + place >= *offset => {
                        *byte = *bytes.get(start + place - offset).unwrap_or(byte);
                    }
                    Change::Truncate { .. } | Change::Write { .. } => {}
                }
            }
        }
        sector
    }

    /// True if some of the truncations, and for each sector alone some of the writes, give this.
    fn allows(&self, content: &[u8]) -> bool {
        let is_cut = self.changes.iter().any(|change| matches!(change, Change::Truncate { .. }));
        if !is_cut && content.len() < self.synced.len() {
            return false;
        }
        let cuts = |kept: u32| {
            let is_cut = |index: &usize| matches!(self.changes[*index], Change::Truncate { .. });
            let indices = (0..self.changes.len()).filter(is_cut);
            indices.fold(0, |cuts, index| cuts | (kept & (1 << index)))
        };
        let subsets = 1_u32 << self.changes.len();
        let end = content.len().max(self.synced.len()).max(self.cached.len());
        (0..subsets).filter(|&kept| cuts(kept) == kept).any(|chosen| {
            (0..end).step_by(SECTOR).all(|start| {
                let mut actual: Vec<u8> =
                    content.iter().skip(start).take(SECTOR).copied().collect();
                actual.resize(SECTOR, 0);
                let mut kept = (0..subsets).filter(|&kept| cuts(kept) == chosen);
                kept.any(|kept| self.sector(start, kept) == actual)
            })
        })
    }
}

/// One operation on both, drawn by the seed. True if the disk has to be given up.
fn operate(image: &mut Image, model: &mut Model, entropy: &mut Entropy, fill: u8) -> bool {
    let below = |entropy: &mut Entropy, most: usize| {
        usize::try_from(entropy.below(most as u64)).expect("below a usize")
    };
    let length = model.cached.len();
    match entropy.below(8) {
        0 => match image.sync(FILE) {
            Ok(()) => model.synced(),
            Err(DiskError::NotFound) => assert_eq!(length, 0),
            Err(error) => {
                assert_eq!(error, DiskError::Sync);
                return true;
            }
        },
        1 if length > 0 => {
            let length = below(entropy, length);
            if image.truncate(FILE, length).is_ok() {
                model.change(Change::Truncate { length });
            }
        }
        2 if length > 0 => match image.read(FILE) {
            Ok(content) => assert_eq!(content, model.cached, "reads see what was written"),
            Err(error) => assert_eq!(error, DiskError::Read),
        },
        kind => {
            let at = if kind < 5 { length } else { below(entropy, length + 100) };
            let bytes = vec![fill; 1 + below(entropy, 2 * SECTOR)];
            let mut before = model.cached.clone();
            let is_done = image.write(FILE, at, &bytes).is_ok();
            let after = &image.files[FILE].cached;
            // A write that failed has written a part.
            let is_at = |written: &usize| {
                before.clone_from(&model.cached);
                write(&mut before, at, &bytes[..*written]);
                before == *after
            };
            let lengths = if is_done { bytes.len()..=bytes.len() } else { 0..=bytes.len() };
            let written = lengths.into_iter().find(is_at).expect("a prefix was written");
            model.change(Change::Write { offset: at, bytes: bytes[..written].to_vec() });
        }
    }
    false
}

/// Goal: D1, D2: after a crash the content is one that the rules allow, whatever was done before;
/// a disk that does not tear is back at the last sync.
/// Method: seeded operations with all faults against the model; at most six changes between syncs,
/// so that every choice of what survives can be tried.
#[test]
fn a_crash_leaves_what_the_rules_allow() {
    let mut partly = 0;
    for seed in 0..40 {
        let is_torn = seed % 3 != 0;
        let faults = DiskFaults { is_torn, write_error_in: 9, sync_error_in: 7, read_error_in: 5 };
        let mut image = Image::new(Entropy::from_seed(seed), faults);
        let mut entropy = Entropy::from_seed(!seed);
        let mut model = Model::default();
        for step in 0..120_u8 {
            let is_failed = operate(&mut image, &mut model, &mut entropy, step + 1);
            let is_full = model.changes.len() == 6;
            if !is_failed && !is_full && !entropy.once_in(12) {
                continue;
            }
            let is_lost_at_sync = is_failed;
            image.crash();
            let content = image.files.get(FILE).map_or(&[][..], |file| &file.cached);
            if is_torn || is_lost_at_sync {
                assert!(model.allows(content), "seed {seed}, step {step}");
                partly += u32::from(content != model.synced && content != model.cached);
            } else {
                assert_eq!(content, model.synced, "seed {seed}, step {step}");
            }
            model = Model { synced: content.to_vec(), cached: content.to_vec(), changes: vec![] };
        }
    }
    assert!(partly > 30, "only {partly} crashes tore anything");
}

/// Goal: D3: what a failed sync was to save may be lost though a later one succeeds.
#[test]
fn a_sync_after_a_failed_one_does_not_bring_it_back() {
    let is_lost = |seed| {
        let faults = DiskFaults { sync_error_in: 2, ..DiskFaults::none() };
        let mut image = Image::new(Entropy::from_seed(seed), faults);
        image.write(FILE, 0, b"value").expect("writes do not fail");
        if image.sync(FILE).is_ok() || image.sync(FILE).is_err() {
            return false;
        }
        assert_eq!(image.read(FILE).expect("it is in the cache"), b"value");
        image.crash();
        image.read(FILE) == Err(DiskError::NotFound)
    };
    assert!((0..50).any(is_lost));
}

/// Goal: the disk's bounds: a write beyond its size is refused, and of a file that is never synced
/// all but the last bytes are durable.
#[test]
fn a_disk_is_bounded() {
    let mut image = Image::new(Entropy::from_seed(1), DiskFaults::none());
    assert_eq!(image.write(FILE, DISK_BYTES_MAX, &[1]), Err(DiskError::Full));
    assert_eq!(image.write(FILE, usize::MAX, &[1]), Err(DiskError::Full));
    let chunk = DISK_UNSYNCED_MAX / 16;
    for index in 0..20 {
        image.write(FILE, index * chunk, &vec![1; chunk]).expect("there is room");
    }
    image.crash();
    assert_eq!(image.length(FILE), 4 * chunk);
}
