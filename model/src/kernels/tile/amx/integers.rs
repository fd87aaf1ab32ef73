//! Weights and activations that are small integers, with a scale for each block: what vectors do, in the same order.

use std::arch::x86_64::{
    _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_srli_epi16, _mm512_storeu_ps, _mm512_storeu_si512,
};
use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::avx512::{LINE, load_halves, load_line, prefetch};
use super::products::{LINE_BYTES, Registers};
use super::{PANEL, Tile};
use crate::kernels::activations::{MAX_TILE_ROWS, QUAD_RUN};
use crate::kernels::format::{INT_BLOCK, SCALE_BYTES};

/// Room for a block's weights as bytes: `[quads][PANEL]` words.
#[repr(align(64))]
struct Bytes([u8; QUAD_RUN * LINE_BYTES]);

/// Room for a block's products: `[rows][PANEL]`.
#[repr(align(64))]
struct Products([[i32; PANEL]; MAX_TILE_ROWS]);

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn int8(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]]) {
    blocks::<{ SCALE_BYTES + INT_BLOCK * PANEL }, false>(panel, tile, sums);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn int4(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]]) {
    blocks::<{ SCALE_BYTES + INT_BLOCK * PANEL / 2 }, false>(panel, tile, sums);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn int4_min(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]]) {
    blocks::<{ 2 * SCALE_BYTES + INT_BLOCK * PANEL / 2 }, true>(panel, tile, sums);
}

/// - `GROUP`: bytes of a block; `MINIMUM`: whether minimums follow its scales
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
fn blocks<const GROUP: usize, const MINIMUM: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]],
) {
    let head = if MINIMUM {
        2 * SCALE_BYTES
    } else {
        SCALE_BYTES
    };
    let halved = GROUP - head < INT_BLOCK * PANEL;
    let (rows, blocks) = (sums.len(), panel.len() / GROUP);
    assert!(tile.run == QUAD_RUN && tile.words.len() == blocks * QUAD_RUN * rows);
    let (starts, totals) = if MINIMUM { (0, blocks) } else { (blocks, 0) };
    assert!(tile.scales.len() == blocks * rows);
    assert!(tile.starts.len() == starts * rows && tile.totals.len() == totals * rows);
    let mut bytes = [const { MaybeUninit::<Bytes>::uninit() }; TURN];
    let mut products = [const { MaybeUninit::<Products>::uninit() }; TURN];
    let registers = Registers::new(rows, QUAD_RUN);
    sums.fill([0.0; PANEL]);
    for first in (0..blocks).step_by(TURN) {
        let turn = first..blocks.min(first + TURN);
        for (number, block) in turn.clone().enumerate() {
            // SAFETY: there are `blocks` groups of weights and words, as just checked; `Registers::new` has seen that
            // rows are no more than `products` has.
            unsafe {
                let group = panel.as_ptr().add(block * GROUP);
                prefetch::<true>(group, GROUP / LINE);
                let lines = if halved {
                    let bytes = (&raw mut (*bytes[number].as_mut_ptr()).0).cast();
                    widen(group.add(head), bytes);
                    bytes
                } else {
                    group.add(head)
                };
                let words = tile.words.as_ptr().add(block * QUAD_RUN * rows);
                registers.quads(
                    words,
                    lines,
                    1,
                    (&raw mut (*products[number].as_mut_ptr()).0).cast(),
                );
            }
        }
        let scaling = Scaling::<GROUP, MINIMUM> { panel, tile, turn };
        // SAFETY: there are `blocks` groups of scales, and for each row scales and starts or totals, as just checked. The
        // turn's products were just written.
        unsafe { scaling.add(&products, sums) };
    }
}

/// Blocks that are multiplied one after the other before vectors look at the products: 680 Gop/s with four, 520 with
/// one, 595 with eight (32 rows, one thread).
const TURN: usize = 4;

/// What the products of a turn's blocks are scaled by.
struct Scaling<'a, const GROUP: usize, const MINIMUM: bool> {
    panel: &'a [u8],
    tile: Tile<'a>,
    turn: Range<usize>,
}

impl<const GROUP: usize, const MINIMUM: bool> Scaling<'_, GROUP, MINIMUM> {
    /// Adds up the turn's blocks, in their order.
    ///
    /// # Safety
    /// The panel must have the turn's groups, the tile for each of its blocks and `sums.len()` rows scales, and starts
    /// or, with `MINIMUM`, totals; `products` must be written for all of these.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[allow(unsafe_code, reason = "loads without bounds checks")]
    unsafe fn add(&self, products: &[MaybeUninit<Products>; TURN], sums: &mut [[f32; PANEL]]) {
        let rows = sums.len();
        // SAFETY: as the caller promises.
        unsafe {
            let mut scales = [[_mm512_setzero_ps(); 2]; TURN];
            let mut minimums = scales;
            for (number, block) in self.turn.clone().enumerate() {
                let group = self.panel.as_ptr().add(block * GROUP);
                scales[number] = load_halves(group);
                if MINIMUM {
                    minimums[number] = load_halves(group.add(SCALE_BYTES));
                }
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let halves = [sums.as_mut_ptr(), sums.as_mut_ptr().add(PANEL / 2)];
                let mut vectors = halves.map(|half| _mm512_loadu_ps(half));
                for (number, block) in self.turn.clone().enumerate() {
                    let place = block * rows + row;
                    let products: *const i32 = products[number].as_ptr().cast();
                    let products = products.add(row * PANEL);
                    let scale = _mm512_set1_ps(*self.tile.scales.as_ptr().add(place));
                    for half in 0..2 {
                        let product = products.add(half * PANEL / 2).cast();
                        let mut product = _mm512_loadu_si512(product);
                        if !MINIMUM {
                            let start = *self.tile.starts.as_ptr().add(place);
                            product = _mm512_add_epi32(product, _mm512_set1_epi32(start));
                        }
                        let scaled =
                            _mm512_mul_ps(_mm512_cvtepi32_ps(product), scales[number][half]);
                        vectors[half] = _mm512_fmadd_ps(scaled, scale, vectors[half]);
                        if MINIMUM {
                            let total = _mm512_set1_ps(*self.tile.totals.as_ptr().add(place));
                            vectors[half] =
                                _mm512_fmadd_ps(minimums[number][half], total, vectors[half]);
                        }
                    }
                }
                for (half, vector) in halves.into_iter().zip(vectors) {
                    _mm512_storeu_ps(half, vector);
                }
            }
        }
    }
}

/// Writes a block's 4-bit weights as bytes.
///
/// # Safety
/// `lines` must have [`QUAD_RUN`]` / 2` lines, `bytes` have room for [`QUAD_RUN`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn widen(lines: *const u8, bytes: *mut u8) {
    let low_half = _mm512_set1_epi8(0x0f);
    for pair in 0..QUAD_RUN / 2 {
        // SAFETY: as the caller promises.
        unsafe {
            for (half, both) in load_line(lines.add(pair * LINE_BYTES))
                .into_iter()
                .enumerate()
            {
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low_half);
                let target = bytes.add(2 * pair * LINE_BYTES + half * 64);
                _mm512_storeu_si512(target.cast(), _mm512_and_si512(both, low_half));
                _mm512_storeu_si512(target.add(LINE_BYTES).cast(), high);
            }
        }
    }
}
