//! Weights that are floats.

use std::arch::x86_64::{
    _mm512_and_si512, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_slli_epi32,
};

use super::{PANEL, Tile, bf16_pairs, load_halves, load_line, prefetch, store};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn singles<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    let inputs = panel.len() / (PANEL * 4);
    assert!(tile.words.len() == inputs * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut words) = (panel.as_ptr(), tile.words.as_ptr());
    for _ in 0..inputs {
        prefetch::<STAGED>(weights, 2);
        // SAFETY: there are `inputs` lines of weights and `inputs` groups of `ROWS` words, as just checked.
        unsafe {
            let [first, second] = load_line(weights).map(|words| _mm512_castsi512_ps(words));
            for (row, [left, right]) in vectors.iter_mut().enumerate() {
                let activation = _mm512_set1_ps(f32::from_bits(*words.add(row)));
                *left = _mm512_fmadd_ps(first, activation, *left);
                *right = _mm512_fmadd_ps(second, activation, *right);
            }
            weights = weights.add(PANEL * 4);
            words = words.add(ROWS);
        }
    }
    store(vectors, sums);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn halves<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    let inputs = panel.len() / (PANEL * 2);
    assert!(tile.words.len() == inputs * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut words) = (panel.as_ptr(), tile.words.as_ptr());
    for _ in 0..inputs {
        prefetch::<STAGED>(weights, 1);
        // SAFETY: there are `inputs` lines of weights and `inputs` groups of `ROWS` words, as just checked.
        unsafe {
            let [first, second] = load_halves(weights);
            for (row, [left, right]) in vectors.iter_mut().enumerate() {
                let activation = _mm512_set1_ps(f32::from_bits(*words.add(row)));
                *left = _mm512_fmadd_ps(first, activation, *left);
                *right = _mm512_fmadd_ps(second, activation, *right);
            }
            weights = weights.add(PANEL * 2);
            words = words.add(ROWS);
        }
    }
    store(vectors, sums);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn pairs<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    let pairs = panel.len() / (PANEL * 4);
    assert!(tile.words.len() == pairs * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut words) = (panel.as_ptr(), tile.words.as_ptr());
    for _ in 0..pairs {
        prefetch::<STAGED>(weights, 2);
        // SAFETY: there are `pairs` lines of weights and `pairs` groups of `ROWS` words, as just checked.
        unsafe {
            let [first, second] = load_line(weights).map(|words| bf16_pairs(words));
            for (row, [left, right]) in vectors.iter_mut().enumerate() {
                let activations = bf16_pairs(_mm512_set1_epi32((*words.add(row)).cast_signed()));
                *left = _mm512_dpbf16_ps(*left, first, activations);
                *right = _mm512_dpbf16_ps(*right, second, activations);
            }
            weights = weights.add(PANEL * 4);
            words = words.add(ROWS);
        }
    }
    store(vectors, sums);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn exact_pairs<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    let pairs = panel.len() / (PANEL * 4);
    assert!(tile.words.len() == 2 * pairs * ROWS);
    let high_half = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut words) = (panel.as_ptr(), tile.words.as_ptr());
    for _ in 0..pairs {
        prefetch::<STAGED>(weights, 2);
        // SAFETY: there are `pairs` lines of weights and two groups of `ROWS` words for each, as just checked.
        unsafe {
            let [first, second] = load_line(weights);
            let low =
                [first, second].map(|words| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)));
            let high = [first, second]
                .map(|words| _mm512_castsi512_ps(_mm512_and_si512(words, high_half)));
            for (row, [left, right]) in vectors.iter_mut().enumerate() {
                let activation = _mm512_set1_ps(f32::from_bits(*words.add(row)));
                *left = _mm512_fmadd_ps(low[0], activation, *left);
                *right = _mm512_fmadd_ps(low[1], activation, *right);
            }
            for (row, [left, right]) in vectors.iter_mut().enumerate() {
                let activation = _mm512_set1_ps(f32::from_bits(*words.add(ROWS + row)));
                *left = _mm512_fmadd_ps(high[0], activation, *left);
                *right = _mm512_fmadd_ps(high[1], activation, *right);
            }
            weights = weights.add(PANEL * 4);
            words = words.add(2 * ROWS);
        }
    }
    store(vectors, sums);
}
