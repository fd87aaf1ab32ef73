//! Weights and activations that are small integers, with a scale for each block.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_srli_epi16,
};

use super::{PANEL, SCALE_BYTES, Sums, Tile, load_halves, load_line, prefetch, store};
use crate::kernels::format::INT_BLOCK;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn int8<const ROWS: usize>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    const QUADS: usize = INT_BLOCK / 4;
    const GROUP: usize = SCALE_BYTES + INT_BLOCK * PANEL;
    let blocks = panel.len() / GROUP;
    assert!(tile.words.len() == blocks * QUADS * ROWS);
    assert!(tile.scales.len() == blocks * ROWS && tile.starts.len() == blocks * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    for block in 0..blocks {
        // SAFETY: there are `blocks` groups of weights, words, scales and starts, as just checked.
        unsafe {
            let group = panel.as_ptr().add(block * GROUP);
            prefetch(group, 1);
            let weight_scales = load_halves(group);
            let mut products = block_starts::<ROWS>(tile.starts.as_ptr().add(block * ROWS));
            for quad in 0..QUADS {
                prefetch(group.add(SCALE_BYTES + quad * PANEL * 4), 2);
                let weights = load_line(group.add(SCALE_BYTES + quad * PANEL * 4));
                let words = tile.words.as_ptr().add((block * QUADS + quad) * ROWS);
                add_quads(&mut products, weights, words);
            }
            add_block(
                &mut vectors,
                products,
                weight_scales,
                tile.scales.as_ptr().add(block * ROWS),
            );
        }
    }
    store(vectors, sums);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn int4<const ROWS: usize>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    const QUADS: usize = INT_BLOCK / 4;
    const GROUP: usize = SCALE_BYTES + INT_BLOCK * PANEL / 2;
    let blocks = panel.len() / GROUP;
    assert!(tile.words.len() == blocks * QUADS * ROWS);
    assert!(tile.scales.len() == blocks * ROWS && tile.starts.len() == blocks * ROWS);
    let low_half = _mm512_set1_epi32(0x0f0f_0f0f);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    for block in 0..blocks {
        // SAFETY: there are `blocks` groups of weights, words, scales and starts, as just checked.
        unsafe {
            let group = panel.as_ptr().add(block * GROUP);
            prefetch(group, 1);
            let weight_scales = load_halves(group);
            let mut products = block_starts::<ROWS>(tile.starts.as_ptr().add(block * ROWS));
            for pair in 0..QUADS / 2 {
                prefetch(group.add(SCALE_BYTES + pair * PANEL * 4), 2);
                let both = load_line(group.add(SCALE_BYTES + pair * PANEL * 4));
                let words = tile.words.as_ptr().add((block * QUADS + 2 * pair) * ROWS);
                let low = both.map(|words| _mm512_and_si512(words, low_half));
                add_quads(&mut products, low, words);
                let high =
                    both.map(|words| _mm512_and_si512(_mm512_srli_epi16::<4>(words), low_half));
                add_quads(&mut products, high, words.add(ROWS));
            }
            add_block(
                &mut vectors,
                products,
                weight_scales,
                tile.scales.as_ptr().add(block * ROWS),
            );
        }
    }
    store(vectors, sums);
}

/// Adds a block's products, scaled by its weights' and its activations' scales.
///
/// # Safety
/// `scales` must have `ROWS` values.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn add_block<const ROWS: usize>(
    vectors: &mut Sums<ROWS>,
    products: [[__m512i; 2]; ROWS],
    weight_scales: [__m512; 2],
    scales: *const f32,
) {
    for (row, (vectors, products)) in vectors.iter_mut().zip(products).enumerate() {
        // SAFETY: as the caller promises.
        let scale = _mm512_set1_ps(unsafe { *scales.add(row) });
        for half in 0..2 {
            let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(products[half]), weight_scales[half]);
            vectors[half] = _mm512_fmadd_ps(scaled, scale, vectors[half]);
        }
    }
}

/// What a block's sums begin with.
///
/// # Safety
/// `starts` must have `ROWS` values.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn block_starts<const ROWS: usize>(starts: *const i32) -> [[__m512i; 2]; ROWS] {
    let mut products = [[_mm512_set1_epi32(0); 2]; ROWS];
    for (row, products) in products.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        *products = [_mm512_set1_epi32(unsafe { *starts.add(row) }); 2];
    }
    products
}

/// Adds the products of four unsigned weights and four signed activations in each word.
///
/// # Safety
/// `words` must have `ROWS` values.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn add_quads<const ROWS: usize>(
    products: &mut [[__m512i; 2]; ROWS],
    weights: [__m512i; 2],
    words: *const u32,
) {
    for (row, [left, right]) in products.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        let activations = _mm512_set1_epi32(unsafe { *words.add(row) }.cast_signed());
        *left = _mm512_dpbusd_epi32(*left, weights[0], activations);
        *right = _mm512_dpbusd_epi32(*right, weights[1], activations);
    }
}
