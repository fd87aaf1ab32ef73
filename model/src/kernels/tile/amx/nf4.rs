//! Weights that are indices into the table of NF4: looked up once for all rows of a tile.

use std::arch::x86_64::{
    __m512i, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_permutexvar_epi16, _mm512_srli_epi16,
    _mm512_storeu_ps, _mm512_storeu_si512,
};
use std::mem::MaybeUninit;

use super::super::avx512::{LINE, load_halves, load_line, nf4_table, prefetch};
use super::products::{LINE_BYTES, Registers};
use super::{PANEL, Tile};
use crate::kernels::activations::{MAX_TILE_ROWS, PAIR_RUN};
use crate::kernels::format::{NF4_BLOCK, SCALE_BYTES};

/// Words of a block and row of activations.
const PAIRS: usize = NF4_BLOCK / 2;

/// Room for a block's weights in bf16: `[pairs][PANEL]` words.
#[repr(align(64))]
struct Looked([u8; PAIRS * LINE_BYTES]);

/// Room for a block's products: `[rows][PANEL]`.
#[repr(align(64))]
struct Products([[f32; PANEL]; MAX_TILE_ROWS]);

/// Looks up a block, multiplies the one before and adds up the one before that: what one of these writes has left the
/// store buffer when the next reads it, which matrix loads cannot do from there.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
pub(super) fn nf4(panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]]) {
    const GROUP: usize = SCALE_BYTES + NF4_BLOCK * PANEL / 2;
    let (rows, blocks) = (sums.len(), panel.len() / GROUP);
    assert!(tile.run == PAIR_RUN && tile.words.len() == blocks * PAIRS * rows);
    let table = nf4_table();
    // Clearing these for each panel would take a twentieth of the time of one row.
    let mut looked = [const { MaybeUninit::<Looked>::uninit() }; 2];
    let mut products = [const { MaybeUninit::<Products>::uninit() }; 2];
    let registers = Registers::new(rows, PAIR_RUN);
    sums.fill([0.0; PANEL]);
    for turn in 0..blocks + 2 {
        // SAFETY: there are `blocks` groups of weights and words, as just checked; `Registers::new` has seen that rows
        // are no more than `products` has. A block is looked up and multiplied in the turns before it is read.
        unsafe {
            if turn < blocks {
                let group = panel.as_ptr().add(turn * GROUP);
                prefetch::<true>(group, GROUP / LINE);
                let looked = &raw mut (*looked[turn % 2].as_mut_ptr()).0;
                look_up(group.add(SCALE_BYTES), table, looked.cast());
            }
            if (1..=blocks).contains(&turn) {
                let block = turn - 1;
                registers.pairs(
                    tile.words.as_ptr().add(block * PAIRS * rows),
                    looked[block % 2].as_ptr().cast(),
                    PAIRS / PAIR_RUN,
                    (&raw mut (*products[block % 2].as_mut_ptr()).0).cast(),
                );
            }
            if turn >= 2 {
                let block = turn - 2;
                let scales = load_halves(panel.as_ptr().add(block * GROUP));
                let products: *const f32 = products[block % 2].as_ptr().cast();
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (half, scales) in scales.into_iter().enumerate() {
                        let at = half * PANEL / 2;
                        let sums = sums.as_mut_ptr().add(at);
                        let products = _mm512_loadu_ps(products.add(row * PANEL + at));
                        let sum = _mm512_fmadd_ps(products, scales, _mm512_loadu_ps(sums));
                        _mm512_storeu_ps(sums, sum);
                    }
                }
            }
        }
    }
}

/// Writes a block's weights.
///
/// # Safety
/// `lines` must have [`PAIRS`]` / 4` lines, `looked` have room for [`PAIRS`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[allow(unsafe_code, reason = "loads without bounds checks")]
unsafe fn look_up(lines: *const u8, table: __m512i, looked: *mut u8) {
    for line in 0..PAIRS / 4 {
        // SAFETY: as the caller promises.
        unsafe {
            for (half, indices) in load_line(lines.add(line * LINE_BYTES))
                .into_iter()
                .enumerate()
            {
                let shifted = [
                    indices,
                    _mm512_srli_epi16::<4>(indices),
                    _mm512_srli_epi16::<8>(indices),
                    _mm512_srli_epi16::<12>(indices),
                ];
                for (pair, indices) in shifted.into_iter().enumerate() {
                    let target = looked.add((4 * line + pair) * LINE_BYTES + half * 64);
                    _mm512_storeu_si512(target.cast(), _mm512_permutexvar_epi16(indices, table));
                }
            }
        }
    }
}
