//! Inner loops for AVX-512 with bf16 pairs and 8-bit quads.
//!
//! A tile's accumulators stay in registers: two vectors of 16 for each row. Weights are loaded once for all rows of the
//! tile, activations are broadcast. Loads go through pointers because the compiler cannot see that the lengths fit;
//! each loop checks them once at its start.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_si256, _mm512_and_si512,
    _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_dpbf16_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mul_ps,
    _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_slli_epi32, _mm512_srli_epi16, _mm512_storeu_ps,
};

use super::Tile;
use crate::kernels::format::{Format, INT_BLOCK, NF4_BLOCK, PANEL, SCALE_BYTES};
use crate::kernels::quantize::NF4_VALUES;

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

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
fn singles<const ROWS: usize>(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]; ROWS]) {
    let inputs = panel.len() / (PANEL * 4);
    assert!(tile.words.len() == inputs * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut words) = (panel.as_ptr(), tile.words.as_ptr());
    for _ in 0..inputs {
        prefetch(weights, 2);
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
fn halves<const ROWS: usize>(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]; ROWS]) {
    let inputs = panel.len() / (PANEL * 2);
    assert!(tile.words.len() == inputs * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut words) = (panel.as_ptr(), tile.words.as_ptr());
    for _ in 0..inputs {
        prefetch(weights, 1);
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
fn pairs<const ROWS: usize>(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]; ROWS]) {
    let pairs = panel.len() / (PANEL * 4);
    assert!(tile.words.len() == pairs * ROWS);
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut words) = (panel.as_ptr(), tile.words.as_ptr());
    for _ in 0..pairs {
        prefetch(weights, 2);
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
fn exact_pairs<const ROWS: usize>(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]; ROWS]) {
    let pairs = panel.len() / (PANEL * 4);
    assert!(tile.words.len() == 2 * pairs * ROWS);
    let high_half = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    let mut vectors = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut weights, mut words) = (panel.as_ptr(), tile.words.as_ptr());
    for _ in 0..pairs {
        prefetch(weights, 2);
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

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
fn int8<const ROWS: usize>(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]; ROWS]) {
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
fn int4<const ROWS: usize>(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]; ROWS]) {
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

/// The table of NF4 in bf16, twice: a look-up takes five bits of an index of which only four are its own.
#[inline]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code, reason = "vector load")]
fn nf4_table() -> __m512i {
    let table: [u16; 32] =
        std::array::from_fn(|index| half::bf16::from_f32(NF4_VALUES[index % 16]).to_bits());
    // SAFETY: the table has 64 bytes.
    unsafe { _mm512_loadu_si512(table.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
fn nf4<const ROWS: usize>(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]; ROWS]) {
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
            prefetch(group, 1);
            let weight_scales = load_halves(group);
            let mut products = [[_mm512_setzero_ps(); 2]; ROWS];
            for line in 0..PAIRS / 4 {
                prefetch(group.add(SCALE_BYTES + line * PANEL * 4), 2);
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
