//! `BLAKE2b`'s compression function F with a stop flag (EIP-152).
//!
//! Pure. Source: RFC 7693 section 3.2; the precompile's input and price: EIP-152. revm runs all
//! rounds in one go, and 2^32 of them take a minute; here they run in chunks.

use alloy_primitives::Bytes;
use revm::precompile::{EthPrecompileOutput, EthPrecompileResult, PrecompileHalt};

use crate::limits::BLAKE2_ROUNDS_PER_CHUNK;

/// Bytes of input: rounds, h, m, t, f.
const INPUT_BYTES: usize = 4 + 64 + 128 + 16 + 1;

/// The word order of each round (RFC 7693, 2.7); they repeat after ten.
const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// Initial values (RFC 7693, 2.6).
const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// Runs the precompile; None if `should_stop` said so.
pub(crate) fn run(
    input: &[u8],
    gas_limit: u64,
    should_stop: &dyn Fn() -> bool,
) -> Option<EthPrecompileResult> {
    let Ok(input) = <&[u8; INPUT_BYTES]>::try_from(input) else {
        return Some(Err(PrecompileHalt::Blake2WrongLength));
    };
    let rounds = u32::from_be_bytes([input[0], input[1], input[2], input[3]]);
    // A gas per round.
    if u64::from(rounds) > gas_limit {
        return Some(Err(PrecompileHalt::OutOfGas));
    }
    let is_last = match input[INPUT_BYTES - 1] {
        0 => false,
        1 => true,
        _ => return Some(Err(PrecompileHalt::Blake2WrongFinalIndicatorFlag)),
    };
    let word = |at: usize| {
        let bytes = input[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let state: [u64; 8] = std::array::from_fn(|i| word(4 + 8 * i));
    let message: [u64; 16] = std::array::from_fn(|i| word(68 + 8 * i));

    let mut v: [u64; 16] = std::array::from_fn(|i| if i < 8 { state[i] } else { IV[i - 8] });
    v[12] ^= word(196);
    v[13] ^= word(204);
    if is_last {
        v[14] = !v[14];
    }
    let mut done = 0;
    while done < rounds {
        if should_stop() {
            return None;
        }
        let end = done.saturating_add(BLAKE2_ROUNDS_PER_CHUNK).min(rounds);
        compress(&mut v, &message, done..end);
        done = end;
    }
    let output: Vec<u8> = (0..8).flat_map(|i| (state[i] ^ v[i] ^ v[i + 8]).to_le_bytes()).collect();
    Some(Ok(EthPrecompileOutput::new(u64::from(rounds), Bytes::from(output))))
}

/// The rounds with these numbers.
fn compress(v: &mut [u64; 16], message: &[u64; 16], rounds: std::ops::Range<u32>) {
    let mut order = rounds.start as usize % SIGMA.len();
    for _ in rounds {
        let s = &SIGMA[order];
        order = if order + 1 == SIGMA.len() { 0 } else { order + 1 };
        mix(v, [0, 4, 8, 12], message[s[0]], message[s[1]]);
        mix(v, [1, 5, 9, 13], message[s[2]], message[s[3]]);
        mix(v, [2, 6, 10, 14], message[s[4]], message[s[5]]);
        mix(v, [3, 7, 11, 15], message[s[6]], message[s[7]]);
        mix(v, [0, 5, 10, 15], message[s[8]], message[s[9]]);
        mix(v, [1, 6, 11, 12], message[s[10]], message[s[11]]);
        mix(v, [2, 7, 8, 13], message[s[12]], message[s[13]]);
        mix(v, [3, 4, 9, 14], message[s[14]], message[s[15]]);
    }
}

/// The mixing function G (RFC 7693, 3.1).
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "eight calls a round; not inlined it is three times slower"
)]
#[allow(clippy::many_single_char_names, reason = "RFC 7693's names")]
fn mix(v: &mut [u64; 16], [a, b, c, d]: [usize; 4], x: u64, y: u64) {
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
    v[d] = (v[d] ^ v[a]).rotate_right(32);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(24);
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
    v[d] = (v[d] ^ v[a]).rotate_right(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(63);
}
