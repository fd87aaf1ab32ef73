//! What the processor can do at best: the measures that benchmarks hold the other kernels against. No server calls this.
#![allow(unsafe_code, reason = "instructions chosen at run time")]

use std::hint::black_box;

#[cfg(target_arch = "x86_64")]
use super::level::Level;

/// Bytes that [`fold`] takes at once; a shorter rest is left out.
pub const LINE: usize = 64;

/// An instruction whose rate bounds a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Fused multiply-add of float32.
    F32,
    /// Products of bf16 pairs added to float32 (`vdpbf16ps`).
    Bf16,
    /// Products of 8-bit quads added to 32-bit integers (`vpdpbusd`).
    Int8,
    /// Matrices of bf16 pairs (`tdpbf16ps`).
    Bf16Matrix,
    /// Matrices of 8-bit quads (`tdpbsud`).
    Int8Matrix,
}

/// The exclusive or of all 64-bit words of `bytes`, up to the last whole [`LINE`]: as fast as memory can be read.
pub fn fold(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has AVX-512F, as just detected.
        return unsafe { x86::fold(bytes) };
    }
    fold_portable(bytes)
}

/// [`fold`] in plain Rust.
fn fold_portable(bytes: &[u8]) -> u64 {
    const WORDS: usize = LINE / size_of::<u64>();
    let mut sums = [0_u64; WORDS];
    for line in bytes.as_chunks::<LINE>().0 {
        for (sum, word) in sums.iter_mut().zip(line.as_chunks().0) {
            *sum ^= u64::from_le_bytes(*word);
        }
    }
    sums.into_iter().fold(0, |all, sum| all ^ sum)
}

/// Keeps `unit` busy in registers alone for `rounds` rounds, and says how many operations that were; a multiply-add is
/// two. `None` if this processor lacks the unit.
pub fn spin(unit: Unit, rounds: usize) -> Option<u64> {
    let per_round = spin_rounds(unit, rounds)?;
    Some(per_round * rounds as u64)
}

/// Runs and gives the operations of one round.
#[cfg(target_arch = "x86_64")]
fn spin_rounds(unit: Unit, rounds: usize) -> Option<u64> {
    let wide = is_x86_feature_detected!("avx512f");
    match unit {
        Unit::F32 if wide => {
            // SAFETY: the processor has AVX-512F, as just detected.
            unsafe { x86::spin_f32(rounds) };
            Some(x86::CHAINS_512 * 16 * 2)
        }
        Unit::F32 if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => {
            // SAFETY: the processor has AVX2 and FMA, as just detected.
            unsafe { x86::spin_f32_avx2(rounds) };
            Some(x86::CHAINS_256 * 8 * 2)
        }
        Unit::Bf16 if wide && is_x86_feature_detected!("avx512bf16") => {
            // SAFETY: the processor has AVX-512F and BF16, as just detected.
            unsafe { x86::spin_bf16(rounds) };
            Some(x86::CHAINS_512 * 32 * 2)
        }
        Unit::Int8 if wide && is_x86_feature_detected!("avx512vnni") => {
            // SAFETY: the processor has AVX-512F and VNNI, as just detected.
            unsafe { x86::spin_int8(rounds) };
            Some(x86::CHAINS_512 * 64 * 2)
        }
        Unit::Bf16Matrix if Level::Amx.check().is_ok() => {
            // SAFETY: the processor has AMX and the system lets this process use it, as just checked.
            unsafe { x86::spin_matrix_bf16(rounds) };
            Some(x86::MATRIX_WORDS * 2 * 2)
        }
        Unit::Int8Matrix if Level::Amx.check().is_ok() => {
            // SAFETY: as above.
            unsafe { x86::spin_matrix_int8(rounds) };
            Some(x86::MATRIX_WORDS * 4 * 2)
        }
        _ => None,
    }
}

/// Without instructions of its own there is only what the compiler makes of plain float32.
#[cfg(not(target_arch = "x86_64"))]
fn spin_rounds(unit: Unit, rounds: usize) -> Option<u64> {
    const CHAINS: usize = 64;
    if unit != Unit::F32 {
        return None;
    }
    let (factor, term) = (black_box([0.5_f32; CHAINS]), black_box([1.0_f32; CHAINS]));
    let mut sums = black_box([0.0_f32; CHAINS]);
    for _ in 0..rounds {
        for lane in 0..CHAINS {
            sums[lane] = sums[lane] * factor[lane] + term[lane];
        }
    }
    black_box(sums);
    Some(CHAINS as u64 * 2)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::{LINE, black_box};
    use crate::kernels::tile::Registers;

    /// Independent chains of additions: more than any unit's latency times its width, fewer than there are registers.
    pub(super) const CHAINS_512: u64 = 24;
    pub(super) const CHAINS_256: u64 = 12;

    /// Products of words in one round of matrices: four of 16 rows, 16 outputs and 16 words.
    pub(super) const MATRIX_WORDS: u64 = 4 * 16 * 16 * 16;

    /// Loads in flight at once.
    const LANES: usize = 8;

    #[target_feature(enable = "avx512f")]
    pub(super) fn fold(bytes: &[u8]) -> u64 {
        let lines = bytes.as_chunks::<LINE>().0;
        let (groups, rest) = lines.as_chunks::<LANES>();
        let load = |line: &[u8; LINE]| {
            // SAFETY: `line` is 64 readable bytes, and the load needs no alignment.
            unsafe { _mm512_loadu_si512(line.as_ptr().cast()) }
        };
        let mut sums = [_mm512_setzero_si512(); LANES];
        for group in groups {
            for (sum, line) in sums.iter_mut().zip(group) {
                *sum = _mm512_xor_si512(*sum, load(line));
            }
        }
        for line in rest {
            sums[0] = _mm512_xor_si512(sums[0], load(line));
        }
        let mut all = sums[0];
        for sum in &sums[1..] {
            all = _mm512_xor_si512(all, *sum);
        }
        let mut words = [0_u64; LINE / size_of::<u64>()];
        // SAFETY: `words` is 64 writable bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), all) };
        words.into_iter().fold(0, |all, word| all ^ word)
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn spin_f32(rounds: usize) {
        let (a, b) = black_box((_mm512_set1_ps(0.5), _mm512_set1_ps(0.25)));
        let mut sums = [_mm512_setzero_ps(); CHAINS_512 as usize];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn spin_f32_avx2(rounds: usize) {
        let (a, b) = black_box((_mm256_set1_ps(0.5), _mm256_set1_ps(0.25)));
        let mut sums = [_mm256_setzero_ps(); CHAINS_256 as usize];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn spin_bf16(rounds: usize) {
        let half = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5), _mm512_set1_ps(0.5));
        let (a, b) = black_box((half, half));
        let mut sums = [_mm512_setzero_ps(); CHAINS_512 as usize];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    macro_rules! spin_matrix {
        ($name:ident, $multiply:literal) => {
            #[target_feature(enable = "avx512f")]
            pub(super) fn $name(rounds: usize) {
                if rounds == 0 {
                    return;
                }
                let _registers = Registers::new(32, 16);
                // SAFETY: `Registers` has given all eight their shapes; nothing but them is touched.
                unsafe {
                    asm!(
                        "tilezero tmm4",
                        "tilezero tmm5",
                        "tilezero tmm6",
                        "tilezero tmm7",
                        "2:",
                        concat!($multiply, " tmm0, tmm4, tmm6"),
                        concat!($multiply, " tmm1, tmm4, tmm7"),
                        concat!($multiply, " tmm2, tmm5, tmm6"),
                        concat!($multiply, " tmm3, tmm5, tmm7"),
                        "dec {rounds}",
                        "jnz 2b",
                        rounds = inout(reg) rounds => _,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack, nomem),
                    );
                }
            }
        };
    }

    spin_matrix!(spin_matrix_bf16, "tdpbf16ps");
    spin_matrix!(spin_matrix_int8, "tdpbsud");

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn spin_int8(rounds: usize) {
        let (a, b) = black_box((_mm512_set1_epi8(1), _mm512_set1_epi8(-1)));
        let mut sums = [_mm512_setzero_si512(); CHAINS_512 as usize];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        black_box(sums);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_fold_is_the_plain_one(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(fold(&bytes), fold_portable(&bytes));
        }
    }

    #[test]
    fn a_unit_does_work_in_proportion_to_the_rounds_or_is_missing() {
        for unit in [
            Unit::F32,
            Unit::Bf16,
            Unit::Int8,
            Unit::Bf16Matrix,
            Unit::Int8Matrix,
        ] {
            if let (Some(one), Some(ten)) = (spin(unit, 1), spin(unit, 10)) {
                assert!(one > 0);
                assert_eq!(ten, 10 * one);
            }
        }
    }
}
