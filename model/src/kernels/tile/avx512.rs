//! Inner loops for AVX-512 with bf16 pairs and 8-bit quads.
//!
//! A tile's accumulators stay in registers: two vectors of 16 for each row. Weights are loaded once for all rows of the
//! tile, activations are broadcast. Loads go through pointers because the compiler cannot see that the lengths fit;
//! each loop checks them once at its start.

mod floats;
mod integers;
mod nf4;

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm256_loadu_si256,
    _mm512_cvtph_ps, _mm512_loadu_si512, _mm512_storeu_ps,
};

use super::Tile;
use crate::kernels::format::{Format, PANEL, SCALE_BYTES};
use floats::{exact_pairs, halves, pairs, singles};
use integers::{int4, int4_min, int6, int8};
use nf4::nf4;
pub(super) use nf4::nf4_table;

/// How far ahead of its use a weight is fetched: memory's latency times one thread's rate, twice. As found on Zen 4.
const PREFETCH_BYTES: usize = 4096;

/// The same in stages: into the second level of caches, then into the first. Processors with AMX reach the stream only
/// so; a whole panel in one row, share of the stream with either: bf16 0.87 and 1.02, int8 0.89 and 1.04, int4 0.82 and
/// 0.95.
pub(super) const FAR_BYTES: usize = 2048;
pub(super) const NEAR_BYTES: usize = 512;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// See [`super::multiply`].
///
/// - `staged`: whether weights are fetched in stages
pub(super) fn multiply(
    staged: bool,
    format: Format,
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]],
) {
    macro_rules! by_rows {
        ($kernel:ident: $($rows:literal)*) => {
            match sums.len() {
                $(
                    $rows => {
                        let sums = sums.first_chunk_mut::<$rows>().expect("invariant: just matched");
                        // SAFETY: this level is only used on processors that have its features.
                        #[allow(unsafe_code, reason = "compiled for features that were found at run time")]
                        unsafe {
                            if staged {
                                $kernel::<$rows, true>(panel, tile, sums)
                            } else {
                                $kernel::<$rows, false>(panel, tile, sums)
                            }
                        }
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

/// Fetches `lines` cache lines that will be used some time after those at `address`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn prefetch<const STAGED: bool>(address: *const u8, lines: usize) {
    for line in 0..lines {
        let ahead = |bytes: usize| address.wrapping_add(bytes + line * LINE).cast();
        if STAGED {
            _mm_prefetch::<_MM_HINT_T1>(ahead(FAR_BYTES));
            _mm_prefetch::<_MM_HINT_T0>(ahead(NEAR_BYTES));
        } else {
            _mm_prefetch::<_MM_HINT_T0>(ahead(PREFETCH_BYTES));
        }
    }
}

/// Loads 32 words.
///
/// # Safety
/// 128 bytes from `address` must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "vector load")]
pub(super) unsafe fn load_line(address: *const u8) -> [__m512i; 2] {
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
pub(super) unsafe fn load_halves(address: *const u8) -> [__m512; 2] {
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
