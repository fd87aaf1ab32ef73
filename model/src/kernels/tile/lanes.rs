//! Inner loops in plain Rust on arrays of lanes, which the compiler turns into vectors of the level.
//!
//! They are the scalar twins of the AVX-512 loops: the same sums in the same order.

mod integers;

use super::Tile;
use crate::kernels::format::{Format, NF4_BLOCK, PANEL, SCALE_BYTES};
use crate::kernels::leveled::{leveled, multiply_add};
use crate::kernels::quantize::NF4_VALUES;
use crate::kernels::rounding::{half_value, high_half, low_half};
use integers::{int4, int4_min, int6, int8};

leveled! {
    /// See [`super::multiply`].
    pub(super) fn multiply(format: Format, panel: &[u8], tile: Tile<'_>, sums: &mut [[f32; PANEL]]) = multiply_body
}

#[inline(always)]
fn multiply_body<const FMA: bool>(
    format: Format,
    panel: &[u8],
    tile: Tile<'_>,
    sums: &mut [[f32; PANEL]],
) {
    let rows = sums.len();
    for (row, sums) in sums.iter_mut().enumerate() {
        *sums = match format {
            Format::F32 => singles::<FMA>(panel, tile, [row, rows]),
            Format::F16 => halves::<FMA>(panel, tile, [row, rows]),
            Format::Bf16 => pairs::<FMA>(panel, tile, [row, rows]),
            Format::Bf16Exact => exact_pairs::<FMA>(panel, tile, [row, rows]),
            Format::Int8 => int8::<FMA>(panel, tile, [row, rows]),
            Format::Int4 => int4::<FMA>(panel, tile, [row, rows]),
            Format::Int4Min => int4_min::<FMA>(panel, tile, [row, rows]),
            Format::Int6 => int6::<FMA>(panel, tile, [row, rows]),
            Format::Nf4 => nf4::<FMA>(panel, tile, [row, rows]),
        };
    }
}

/// A line of 32-bit words, one for each output of the panel.
const LINE_BYTES: usize = PANEL * 4;

#[inline(always)]
fn line_words(line: &[u8; LINE_BYTES]) -> [u32; PANEL] {
    let words = line.as_chunks::<4>().0;
    std::array::from_fn(|lane| u32::from_le_bytes(words[lane]))
}

#[inline(always)]
fn add<const FMA: bool>(sums: &mut [f32; PANEL], weights: [f32; PANEL], activation: f32) {
    for lane in 0..PANEL {
        sums[lane] = multiply_add::<FMA>(weights[lane], activation, sums[lane]);
    }
}

#[inline(always)]
fn singles<const FMA: bool>(panel: &[u8], tile: Tile<'_>, [row, rows]: [usize; 2]) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    for (line, words) in panel
        .as_chunks::<LINE_BYTES>()
        .0
        .iter()
        .zip(tile.words.chunks_exact(rows))
    {
        add::<FMA>(
            &mut sums,
            line_words(line).map(f32::from_bits),
            f32::from_bits(words[row]),
        );
    }
    sums
}

#[inline(always)]
fn halves<const FMA: bool>(panel: &[u8], tile: Tile<'_>, [row, rows]: [usize; 2]) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    let lines = panel.chunks_exact(PANEL * 2);
    for (line, words) in lines.zip(tile.words.chunks_exact(rows)) {
        add::<FMA>(&mut sums, half_values(line), f32::from_bits(words[row]));
    }
    sums
}

#[inline(always)]
fn pairs<const FMA: bool>(panel: &[u8], tile: Tile<'_>, [row, rows]: [usize; 2]) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    for (line, words) in panel
        .as_chunks::<LINE_BYTES>()
        .0
        .iter()
        .zip(tile.words.chunks_exact(rows))
    {
        let weights = line_words(line);
        add::<FMA>(&mut sums, weights.map(high_half), high_half(words[row]));
        add::<FMA>(&mut sums, weights.map(low_half), low_half(words[row]));
    }
    sums
}

#[inline(always)]
fn exact_pairs<const FMA: bool>(
    panel: &[u8],
    tile: Tile<'_>,
    [row, rows]: [usize; 2],
) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    for (line, words) in panel
        .as_chunks::<LINE_BYTES>()
        .0
        .iter()
        .zip(tile.words.chunks_exact(2 * rows))
    {
        let weights = line_words(line);
        add::<FMA>(&mut sums, weights.map(low_half), f32::from_bits(words[row]));
        add::<FMA>(
            &mut sums,
            weights.map(high_half),
            f32::from_bits(words[rows + row]),
        );
    }
    sums
}

#[inline(always)]
fn half_values(bytes: &[u8]) -> [f32; PANEL] {
    let values = bytes.as_chunks::<2>().0;
    std::array::from_fn(|lane| half_value(u16::from_le_bytes(values[lane])))
}

#[inline(always)]
fn nf4<const FMA: bool>(panel: &[u8], tile: Tile<'_>, [row, rows]: [usize; 2]) -> [f32; PANEL] {
    let table = NF4_VALUES.map(|value| half::bf16::from_f32(value).to_f32());
    let mut sums = [0.0; PANEL];
    let groups = panel.chunks_exact(SCALE_BYTES + NF4_BLOCK * PANEL / 2);
    for (group, words) in groups.zip(tile.words.chunks_exact(NF4_BLOCK / 2 * rows)) {
        let (scale_bytes, lines) = group.split_at(SCALE_BYTES);
        let mut products = [0.0; PANEL];
        for (line, words) in lines
            .as_chunks::<LINE_BYTES>()
            .0
            .iter()
            .zip(words.chunks_exact(4 * rows))
        {
            let indices = line_words(line);
            for half in 0..4 {
                let activations = words[half * rows + row];
                let low = indices.map(|word| table[(word >> (4 * half) & 15) as usize]);
                let high = indices.map(|word| table[(word >> (16 + 4 * half) & 15) as usize]);
                add::<FMA>(&mut products, high, high_half(activations));
                add::<FMA>(&mut products, low, low_half(activations));
            }
        }
        let scales = half_values(scale_bytes);
        for lane in 0..PANEL {
            sums[lane] = multiply_add::<FMA>(products[lane], scales[lane], sums[lane]);
        }
    }
    sums
}
