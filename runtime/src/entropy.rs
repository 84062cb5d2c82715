//! The entropy door: seeded streams of random numbers.

use std::{fs::File, io, io::Read};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// What all streams of one system are derived from.
#[derive(Clone, Copy)]
pub(crate) struct Seed([u8; 32]);

impl Seed {
    pub(crate) fn from_number(number: u64) -> Self {
        let mut seed = [0; 32];
        ChaCha8Rng::seed_from_u64(number).fill_bytes(&mut seed);
        Self(seed)
    }

    /// A seed nobody can guess. The kernel's pool is read here and nowhere else.
    pub(crate) fn from_machine() -> io::Result<Self> {
        let mut seed = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut seed)?;
        Ok(Self(seed))
    }

    /// The seed of a system within this one.
    pub(crate) fn derive(&self, label: &str, number: u64) -> Self {
        let mut seed = [0; 32];
        self.stream(label, number).fill_bytes(&mut seed);
        Self(seed)
    }

    /// The stream of `number` in the family `label`; independent of all others.
    pub(crate) fn stream(&self, label: &str, number: u64) -> Entropy {
        // FNV-1a of the label picks the ChaCha stream; the number is mixed into the key, so two
        // streams differ in one or the other.
        let stream = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut key = self.0;
        for (byte, other) in key.iter_mut().zip(number.to_le_bytes()) {
            *byte ^= other;
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(stream);
        Entropy(rng)
    }
}

/// Seeded `ChaCha8` stream.
#[derive(Clone, Debug)]
pub struct Entropy(ChaCha8Rng);

impl Entropy {
    /// The stream of one number, for tests and tools that have no system.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `bound`, each as likely to within 2^-64 * `bound`.
    ///
    /// # Panics
    ///
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below zero");
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `times` times on average.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

impl RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}
