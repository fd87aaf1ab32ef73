//! From a page's 8-bit integers to bf16, in 512-bit vectors; see `round` for the same in plain code.

#![allow(
    unsafe_code,
    reason = "vector instructions chosen at run time, on operands whose sizes are checked once"
)]

use std::arch::x86_64::{
    __m512bh, __m512i, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtne2ps_pbh, _mm512_storeu_si512,
};
use std::mem::transmute;

use super::layout::LANES;

/// As [`TileKernel::widen`], which has checked the lengths.
pub(super) fn widen(integers: &[u32], words: &mut [u32]) {
    // SAFETY: `TileKernel::new` has seen that the processor has these instructions.
    unsafe { widen_words(integers, words) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn widen_words(integers: &[u32], words: &mut [u32]) {
    let whole = words.as_chunks_mut::<LANES>().0;
    for (integers, words) in integers.as_chunks::<{ LANES / 2 }>().0.iter().zip(whole) {
        // SAFETY: 32 bytes are there.
        let bytes = unsafe { _mm256_loadu_si256(integers.as_ptr().cast()) };
        let low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(bytes)));
        let high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256::<1>(bytes)));
        // SAFETY: both are 512 bits, and `words` has as many.
        unsafe {
            _mm512_storeu_si512(
                words.as_mut_ptr().cast(),
                transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)),
            )
        };
    }
}
