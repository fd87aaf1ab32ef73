//! Weights and activations that are small integers, with a scale for each block.
//!
//! The loops over blocks are alike and stay apart: shared, with what they add as an argument, the compiler makes single
//! lanes of 4-bit weights, with AVX2 three to four times as slow.

use super::{LINE_BYTES, PANEL, SCALE_BYTES, Tile, add, half_values, multiply_add};
use crate::kernels::format::INT_BLOCK;

/// Words of a block and row of activations.
const QUADS: usize = INT_BLOCK / 4;

/// The same bits in each byte of a word.
const fn every_byte(bits: u8) -> u32 {
    u32::from_le_bytes([bits; 4])
}

#[inline(always)]
pub(super) fn int8<const FMA: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    [row, rows]: [usize; 2],
) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    let groups = panel.chunks_exact(SCALE_BYTES + INT_BLOCK * PANEL);
    for (block, (group, words)) in groups
        .zip(tile.words.chunks_exact(QUADS * rows))
        .enumerate()
    {
        let (scale_bytes, lines) = group.split_at(SCALE_BYTES);
        let mut products = [tile.starts[block * rows + row]; PANEL];
        for (line, words) in lines
            .as_chunks::<LINE_BYTES>()
            .0
            .iter()
            .zip(words.chunks_exact(rows))
        {
            add_quads(&mut products, |lane| word(line, lane), words[row]);
        }
        let scale = tile.scales[block * rows + row];
        add_block::<FMA>(&mut sums, products, half_values(scale_bytes), scale);
    }
    sums
}

#[inline(always)]
pub(super) fn int4<const FMA: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    [row, rows]: [usize; 2],
) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    let groups = panel.chunks_exact(SCALE_BYTES + INT_BLOCK * PANEL / 2);
    for (block, (group, words)) in groups
        .zip(tile.words.chunks_exact(QUADS * rows))
        .enumerate()
    {
        let (scale_bytes, lines) = group.split_at(SCALE_BYTES);
        let mut products = [tile.starts[block * rows + row]; PANEL];
        add_nibbles(&mut products, lines, words, [row, rows]);
        let scale = tile.scales[block * rows + row];
        add_block::<FMA>(&mut sums, products, half_values(scale_bytes), scale);
    }
    sums
}

#[inline(always)]
pub(super) fn int4_min<const FMA: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    [row, rows]: [usize; 2],
) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    let groups = panel.chunks_exact(2 * SCALE_BYTES + INT_BLOCK * PANEL / 2);
    for (block, (group, words)) in groups
        .zip(tile.words.chunks_exact(QUADS * rows))
        .enumerate()
    {
        let (scale_bytes, rest) = group.split_at(SCALE_BYTES);
        let (minimum_bytes, lines) = rest.split_at(SCALE_BYTES);
        let mut products = [0; PANEL];
        add_nibbles(&mut products, lines, words, [row, rows]);
        let place = block * rows + row;
        let scale = tile.scales[place];
        add_block::<FMA>(&mut sums, products, half_values(scale_bytes), scale);
        let minimums = half_values(minimum_bytes);
        add::<FMA>(&mut sums, minimums, tile.totals[place]);
    }
    sums
}

#[inline(always)]
pub(super) fn int6<const FMA: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    [row, rows]: [usize; 2],
) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    let groups = panel.chunks_exact(3 * SCALE_BYTES + INT_BLOCK * PANEL * 3 / 4);
    for (block, (group, words)) in groups
        .zip(tile.words.chunks_exact(QUADS * rows))
        .enumerate()
    {
        let (scale_bytes, rest) = group.split_at(2 * SCALE_BYTES);
        let (minimum_bytes, lines) = rest.split_at(SCALE_BYTES);
        let place = block * rows + row;
        let halves = scale_bytes
            .chunks_exact(SCALE_BYTES)
            .zip(lines.as_chunks::<LINE_BYTES>().0.as_chunks::<3>().0)
            .zip(words.chunks_exact(QUADS / 2 * rows));
        for (half, ((scale_bytes, lines), words)) in halves.enumerate() {
            let mut products = [tile.starts[(2 * block + half) * rows + row]; PANEL];
            add_six_bits(&mut products, lines, words, [row, rows]);
            let scale = tile.scales[place];
            add_block::<FMA>(&mut sums, products, half_values(scale_bytes), scale);
        }
        let minimums = half_values(minimum_bytes);
        add::<FMA>(&mut sums, minimums, tile.totals[place]);
    }
    sums
}

/// Adds the products of four unsigned weights in each lane's word and four signed activations in one.
///
/// The lanes are the outer loop: around a body of this size the compiler makes vectors of them; with the bytes outside
/// it unrolls everything into single lanes, five times as slow.
#[inline(always)]
fn add_quads(sums: &mut [i32; PANEL], weights: impl Fn(usize) -> u32, activations: u32) {
    let activations = activations.to_le_bytes().map(u8::cast_signed);
    for (lane, sum) in sums.iter_mut().enumerate() {
        let weights = weights(lane);
        for (byte, activation) in activations.into_iter().enumerate() {
            *sum += (weights >> (8 * byte) & 255) as i32 * i32::from(activation);
        }
    }
}

#[inline(always)]
fn word(line: &[u8; LINE_BYTES], lane: usize) -> u32 {
    u32::from_le_bytes(line.as_chunks().0[lane])
}

/// Adds the products of a block of 4-bit weights.
#[inline(always)]
fn add_nibbles(products: &mut [i32; PANEL], lines: &[u8], words: &[u32], [row, rows]: [usize; 2]) {
    const HALVES: u32 = every_byte(0x0f);
    for (line, words) in lines
        .as_chunks::<LINE_BYTES>()
        .0
        .iter()
        .zip(words.chunks_exact(2 * rows))
    {
        add_quads(products, |lane| word(line, lane) & HALVES, words[row]);
        let high = |lane| word(line, lane) >> 4 & HALVES;
        add_quads(products, high, words[rows + row]);
    }
}

/// Adds the products of half a block of 6-bit weights: a quad in the low bits of each of three lines, and one in the
/// high bits of all.
#[inline(always)]
fn add_six_bits(
    products: &mut [i32; PANEL],
    lines: &[[u8; LINE_BYTES]; 3],
    words: &[u32],
    [row, rows]: [usize; 2],
) {
    const LOW_BITS: u32 = every_byte(0x3f);
    for (line, words) in lines.iter().zip(words.chunks_exact(rows)) {
        add_quads(products, |lane| word(line, lane) & LOW_BITS, words[row]);
    }
    let last = |lane| {
        let high = |third: usize| (word(&lines[third], lane) & !LOW_BITS) >> (2 * third + 2);
        high(0) | high(1) | high(2)
    };
    add_quads(products, last, words[3 * rows + row]);
}

/// Adds a block's products, scaled by its weights' and its activations' scales.
#[inline(always)]
fn add_block<const FMA: bool>(
    sums: &mut [f32; PANEL],
    block: [i32; PANEL],
    weights: [f32; PANEL],
    activation: f32,
) {
    for lane in 0..PANEL {
        sums[lane] =
            multiply_add::<FMA>(block[lane] as f32 * weights[lane], activation, sums[lane]);
    }
}
