//! Weights and activations that are small integers, with a scale for each block.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps,
    _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_srli_epi16,
};

use super::{LINE, PANEL, SCALE_BYTES, Sums, Tile, load_halves, load_line, prefetch, store};
use crate::kernels::format::{INT_BLOCK, INT6_BLOCK};

/// Words of a block and row of activations.
const QUADS: usize = INT_BLOCK / 4;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn int8<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    const GROUP: usize = SCALE_BYTES + INT_BLOCK * PANEL;
    let blocks = panel.len() / GROUP;
    assert!(tile.words.len() == blocks * QUADS * ROWS);
    assert!(tile.scales.len() == blocks * ROWS && tile.starts.len() == blocks * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    for block in 0..blocks {
        // SAFETY: there are `blocks` groups of weights, words, scales and starts, as just checked.
        unsafe {
            let group = panel.as_ptr().add(block * GROUP);
            prefetch::<STAGED>(group, 1);
            let weight_scales = load_halves(group);
            let mut products = block_starts::<ROWS>(tile.starts.as_ptr().add(block * ROWS));
            for quad in 0..QUADS {
                prefetch::<STAGED>(group.add(SCALE_BYTES + quad * PANEL * 4), 2);
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
pub(super) fn int4<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    const GROUP: usize = SCALE_BYTES + INT_BLOCK * PANEL / 2;
    let blocks = panel.len() / GROUP;
    assert!(tile.words.len() == blocks * QUADS * ROWS);
    assert!(tile.scales.len() == blocks * ROWS && tile.starts.len() == blocks * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    for block in 0..blocks {
        // SAFETY: there are `blocks` groups of weights, words, scales and starts, as just checked.
        unsafe {
            let group = panel.as_ptr().add(block * GROUP);
            prefetch::<STAGED>(group, 1);
            let weight_scales = load_halves(group);
            let mut products = block_starts::<ROWS>(tile.starts.as_ptr().add(block * ROWS));
            let words = tile.words.as_ptr().add(block * QUADS * ROWS);
            add_nibbles::<ROWS, STAGED>(&mut products, group.add(SCALE_BYTES), words);
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
pub(super) fn int4_min<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    const GROUP: usize = 2 * SCALE_BYTES + INT_BLOCK * PANEL / 2;
    let blocks = panel.len() / GROUP;
    assert!(tile.words.len() == blocks * QUADS * ROWS);
    assert!(tile.scales.len() == blocks * ROWS && tile.totals.len() == blocks * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    for block in 0..blocks {
        // SAFETY: there are `blocks` groups of weights, words, scales and totals, as just checked.
        unsafe {
            let group = panel.as_ptr().add(block * GROUP);
            prefetch::<STAGED>(group, 2);
            let weight_scales = load_halves(group);
            let minimums = load_halves(group.add(SCALE_BYTES));
            let mut products = [[_mm512_setzero_si512(); 2]; ROWS];
            let words = tile.words.as_ptr().add(block * QUADS * ROWS);
            add_nibbles::<ROWS, STAGED>(&mut products, group.add(2 * SCALE_BYTES), words);
            let scales = tile.scales.as_ptr().add(block * ROWS);
            add_block(&mut vectors, products, weight_scales, scales);
            let totals = tile.totals.as_ptr().add(block * ROWS);
            add_minimums(&mut vectors, minimums, totals);
        }
    }
    store(vectors, sums);
}

/// Fetches nothing ahead unless in stages: one row reads 0.85 of the stream on Zen 4 as the processor itself fetches,
/// 0.72 otherwise.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn int6<const ROWS: usize, const STAGED: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]; ROWS],
) {
    const LINES: usize = INT6_BLOCK * PANEL * 3 / 4;
    const GROUP: usize = 3 * SCALE_BYTES + 2 * LINES;
    let blocks = panel.len() / GROUP;
    assert!(tile.words.len() == blocks * QUADS * ROWS && tile.starts.len() == 2 * blocks * ROWS);
    assert!(tile.scales.len() == blocks * ROWS && tile.totals.len() == blocks * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    for block in 0..blocks {
        // SAFETY: there are `blocks` groups of weights, words, scales and totals and twice as many starts, as just
        // checked.
        unsafe {
            let group = panel.as_ptr().add(block * GROUP);
            if STAGED {
                prefetch::<STAGED>(group, GROUP / LINE);
            }
            let scales = tile.scales.as_ptr().add(block * ROWS);
            for half in 0..2 {
                let number = 2 * block + half;
                let mut products = block_starts(tile.starts.as_ptr().add(number * ROWS));
                let lines = group.add(3 * SCALE_BYTES + half * LINES);
                let words = tile.words.as_ptr().add(number * QUADS / 2 * ROWS);
                add_six_bits(&mut products, lines, words);
                let weight_scales = load_halves(group.add(half * SCALE_BYTES));
                add_block(&mut vectors, products, weight_scales, scales);
            }
            let minimums = load_halves(group.add(2 * SCALE_BYTES));
            add_minimums(
                &mut vectors,
                minimums,
                tile.totals.as_ptr().add(block * ROWS),
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

/// Adds the minimums' part of a block.
///
/// # Safety
/// `totals` must have `ROWS` values.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn add_minimums<const ROWS: usize>(
    vectors: &mut Sums<ROWS>,
    minimums: [__m512; 2],
    totals: *const f32,
) {
    for (row, vectors) in vectors.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        let total = _mm512_set1_ps(unsafe { *totals.add(row) });
        for half in 0..2 {
            vectors[half] = _mm512_fmadd_ps(minimums[half], total, vectors[half]);
        }
    }
}

/// Adds the products of a block of 4-bit weights.
///
/// # Safety
/// `lines` must have [`QUADS`]` / 2` lines, `words` [`QUADS`] times `ROWS` values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn add_nibbles<const ROWS: usize, const STAGED: bool>(
    products: &mut [[__m512i; 2]; ROWS],
    lines: *const u8,
    words: *const u32,
) {
    let low_half = _mm512_set1_epi8(0x0f);
    for pair in 0..QUADS / 2 {
        // SAFETY: as the caller promises.
        unsafe {
            let line = lines.add(pair * PANEL * 4);
            prefetch::<STAGED>(line, 2);
            let both = load_line(line);
            let words = words.add(2 * pair * ROWS);
            let low = both.map(|words| _mm512_and_si512(words, low_half));
            add_quads(products, low, words);
            let high = both.map(|words| _mm512_and_si512(_mm512_srli_epi16::<4>(words), low_half));
            add_quads(products, high, words.add(ROWS));
        }
    }
}

/// Adds the products of half a block of 6-bit weights: a quad in the low bits of each of three lines, and one in the
/// high bits of all.
///
/// # Safety
/// `lines` must have three lines, `words` four times `ROWS` values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn add_six_bits<const ROWS: usize>(
    products: &mut [[__m512i; 2]; ROWS],
    lines: *const u8,
    words: *const u32,
) {
    let mut last = [_mm512_setzero_si512(); 2];
    for third in 0..3 {
        // SAFETY: as the caller promises.
        unsafe {
            let line = load_line(lines.add(third * PANEL * 4));
            let low = line.map(|words| _mm512_and_si512(words, _mm512_set1_epi8(0x3f)));
            add_quads(products, low, words.add(third * ROWS));
            for (last, words) in last.iter_mut().zip(line) {
                let bits = match third {
                    0 => _mm512_and_si512(_mm512_srli_epi16::<2>(words), _mm512_set1_epi8(0x30)),
                    1 => _mm512_and_si512(_mm512_srli_epi16::<4>(words), _mm512_set1_epi8(0x0c)),
                    _ => _mm512_and_si512(_mm512_srli_epi16::<6>(words), _mm512_set1_epi8(0x03)),
                };
                *last = _mm512_or_si512(*last, bits);
            }
        }
    }
    // SAFETY: as the caller promises.
    unsafe { add_quads(products, last, words.add(3 * ROWS)) };
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
