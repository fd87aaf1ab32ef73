//! Inner loops for AVX-512 with bf16 pairs and 8-bit quads.
//!
//! A tile's accumulators stay in registers: two vectors of 16 for each row. Weights are loaded once for all rows of the
//! tile, activations are broadcast. Loads go through pointers because the compiler cannot see that the lengths fit;
//! each loop checks them once at its start.

mod floats;
mod integers;
mod nf4;

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_cvtph_ps,
    _mm512_loadu_si512, _mm512_storeu_ps,
};

use super::Tile;
use crate::kernels::format::{Format, PANEL, SCALE_BYTES};
use floats::{exact_pairs, halves, pairs, singles};
use integers::{int4, int4_min, int6, int8};
use nf4::nf4;

/// How far ahead of its use a weight is fetched: memory's latency times one thread's rate, twice.
const PREFETCH_BYTES: usize = 4096;

/// Bytes of a cache line.
const LINE: usize = 64;

/// See [`super::multiply`].
pub(super) fn multiply(format: Format, panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]]) {
    macro_rules! by_rows {
        ($kernel:ident: $($rows:literal)*) => {
            match sums.len() {
                $(
                    $rows => {
                        let sums = sums.first_chunk_mut::<$rows>().expect("invariant: just matched");
                        // SAFETY: this level is only used on processors that have its features.
                        #[allow(unsafe_code, reason = "compiled for features that were found at run time")]
                        unsafe { $kernel::<$rows>(panel, tile, sums) }
                    }
                )*
                rows => unreachable!("invariant: no tile of this format has {rows} rows"),
            }
        };
    }
    match format {
        Format::F32 => by_rows!(singles: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        Format::F16 => by_rows!(halves: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        Format::Bf16 => by_rows!(pairs: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        Format::Bf16Exact => by_rows!(exact_pairs: 1 2 3 4 5 6 7 8 9 10 11 12),
        Format::Int8 => by_rows!(int8: 1 2 3 4 5 6),
        Format::Int4 => by_rows!(int4: 1 2 3 4 5 6),
        Format::Int4Min => by_rows!(int4_min: 1 2 3 4 5 6),
        Format::Int6 => by_rows!(int6: 1 2 3 4 5 6),
        Format::Nf4 => by_rows!(nf4: 1 2 3 4 5 6),
    }
}

/// Two vectors for each row.
type Sums<const ROWS: usize> = [[__m512; 2]; ROWS];

/// Fetches `lines` cache lines that will be used [`PREFETCH_BYTES`] from `address` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch(address: *const u8, lines: usize) {
    for line in 0..lines {
        let ahead = address.wrapping_add(PREFETCH_BYTES + line * LINE);
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
    }
}

/// Loads 32 words.
///
/// # Safety
/// 128 bytes from `address` must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "vector load")]
unsafe fn load_line(address: *const u8) -> [__m512i; 2] {
    // SAFETY: as the caller promises.
    unsafe {
        [
            _mm512_loadu_si512(address.cast()),
            _mm512_loadu_si512(address.add(LINE).cast()),
        ]
    }
}

/// Loads 32 values of half precision: weights, or a block's scales.
///
/// # Safety
/// 64 bytes from `address` must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "vector load")]
unsafe fn load_halves(address: *const u8) -> [__m512; 2] {
    // SAFETY: as the caller promises.
    unsafe {
        [
            _mm512_cvtph_ps(_mm256_loadu_si256(address.cast())),
            _mm512_cvtph_ps(_mm256_loadu_si256(address.add(SCALE_BYTES / 2).cast())),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "the types differ in name only")]
fn bf16_pairs(words: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits, of which every pattern is valid.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(words) }
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "vector store")]
fn store<const ROWS: usize>(vectors: Sums<ROWS>, sums: &mut [[f32; PANEL]; ROWS]) {
    for (sums, [first, second]) in sums.iter_mut().zip(vectors) {
        // SAFETY: each row has 32 values.
        unsafe {
            _mm512_storeu_ps(sums.as_mut_ptr(), first);
            _mm512_storeu_ps(sums.as_mut_ptr().add(PANEL / 2), second);
        }
    }
}
