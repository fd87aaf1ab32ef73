//! Weights that are indices into the table of NF4.

use std::arch::x86_64::{
    __m512i, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_permutexvar_epi16,
    _mm512_set1_epi32, _mm512_setzero_ps, _mm512_srli_epi16,
};

use super::{PANEL, SCALE_BYTES, Sums, Tile, bf16_pairs, load_halves, load_line, prefetch, store};
use crate::kernels::format::NF4_BLOCK;
use crate::kernels::quantize::NF4_VALUES;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn nf4<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    const PAIRS: usize = NF4_BLOCK / 2;
    const GROUP: usize = SCALE_BYTES + NF4_BLOCK * PANEL / 2;
    let blocks = panel.len() / GROUP;
    assert!(tile.words.len() == blocks * PAIRS * ROWS);
    let table = nf4_table();
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    for block in 0..blocks {
        // SAFETY: there are `blocks` groups of weights and words, as just checked.
        unsafe {
            let group = panel.as_ptr().add(block * GROUP);
            prefetch::<STAGED>(group, 1);
            let weight_scales = load_halves(group);
            let mut products = [[_mm512_setzero_ps(); 2]; ROWS];
            for line in 0..PAIRS / 4 {
                prefetch::<STAGED>(group.add(SCALE_BYTES + line * PANEL * 4), 2);
                let [first, second] = load_line(group.add(SCALE_BYTES + line * PANEL * 4));
                let words = tile.words.as_ptr().add((block * PAIRS + 4 * line) * ROWS);
                add_looked_up(&mut products, table, [first, second], words);
                let shifted = [
                    _mm512_srli_epi16::<4>(first),
                    _mm512_srli_epi16::<4>(second),
                ];
                add_looked_up(&mut products, table, shifted, words.add(ROWS));
                let shifted = [
                    _mm512_srli_epi16::<8>(first),
                    _mm512_srli_epi16::<8>(second),
                ];
                add_looked_up(&mut products, table, shifted, words.add(2 * ROWS));
                let shifted = [
                    _mm512_srli_epi16::<12>(first),
                    _mm512_srli_epi16::<12>(second),
                ];
                add_looked_up(&mut products, table, shifted, words.add(3 * ROWS));
            }
            for (vectors, products) in vectors.iter_mut().zip(products) {
                for half in 0..2 {
                    vectors[half] =
                        _mm512_fmadd_ps(products[half], weight_scales[half], vectors[half]);
                }
            }
        }
    }
    store(vectors, sums);
}

/// The table of NF4 in bf16, twice: a look-up takes five bits of an index of which only four are its own.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "vector load")]
pub(in super::super) fn nf4_table() -> __m512i {
    let table: [u16; 32] =
        std::array::from_fn(|index| half::bf16::from_f32(NF4_VALUES[index % 16]).to_bits());
    // SAFETY: the table has 64 bytes.
    unsafe { _mm512_loadu_si512(table.as_ptr().cast()) }
}

/// Adds the products of a pair of inputs whose weights are looked up by the low bits of each 16-bit index.
///
/// # Safety
/// `words` must have `ROWS` values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn add_looked_up<const ROWS: usize>(
    products: &mut Sums<ROWS>,
    table: __m512i,
    indices: [__m512i; 2],
    words: *const u32,
) {
    let weights = indices.map(|indices| bf16_pairs(_mm512_permutexvar_epi16(indices, table)));
    for (row, [left, right]) in products.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        let activations = bf16_pairs(_mm512_set1_epi32(unsafe { *words.add(row) }.cast_signed()));
        *left = _mm512_dpbf16_ps(*left, weights[0], activations);
        *right = _mm512_dpbf16_ps(*right, weights[1], activations);
    }
}
