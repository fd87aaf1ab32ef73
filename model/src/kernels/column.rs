//! One output's column of a panel: how its weights are written, and read back.

use half::{bf16, f16};

use super::format::{Format, INT_BLOCK, INT6_BLOCK, NF4_BLOCK, PANEL, SCALE_BYTES};
use super::leveled::leveled;
use super::quantize::{
    NF4_VALUES, int4_block, int4_min_block, int6_block, int8_block, nf4_block, stored_half,
};
use super::quantized_row::QuantizedRoom;
use super::rounding::bf16_pair;

leveled! {
    /// Writes one output's weights into its column of a panel.
    pub(super) fn pack_column(format: Format, values: &[f32], column: usize, panel: &mut [u8]) = pack_column_body
}

leveled! {
    /// Writes one output's weights, already quantized, into its column of a panel.
    pub(super) fn pack_quantized_column(
        format: Format,
        row: &QuantizedRoom,
        column: usize,
        panel: &mut [u8],
    ) = pack_quantized_column_body
}

#[inline(always)]
fn pack_column_body<const FMA: bool>(
    format: Format,
    values: &[f32],
    column: usize,
    panel: &mut [u8],
) {
    let block = |number: usize| &values.as_chunks::<INT_BLOCK>().0[number];
    match format {
        Format::F32 => {
            for (group, value) in panel.chunks_exact_mut(PANEL * 4).zip(values) {
                group[column * 4..column * 4 + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        Format::F16 => {
            for (group, value) in panel.chunks_exact_mut(PANEL * 2).zip(values) {
                let value = f16::from_f32(*value).to_le_bytes();
                group[column * 2..column * 2 + 2].copy_from_slice(&value);
            }
        }
        Format::Bf16 | Format::Bf16Exact => {
            let pairs = values.as_chunks::<2>().0;
            for (group, pair) in panel.chunks_exact_mut(PANEL * 4).zip(pairs) {
                let word = bf16_pair(pair[0], pair[1]).to_le_bytes();
                group[column * 4..column * 4 + 4].copy_from_slice(&word);
            }
        }
        Format::Int8 => pack_blocks(column, panel, int8_words, |number, integers| {
            [int8_block(block(number), integers)]
        }),
        Format::Int4 => pack_blocks(column, panel, int4_words, |number, integers| {
            [int4_block(block(number), integers)]
        }),
        Format::Int4Min => pack_blocks(column, panel, int4_words, |number, integers| {
            int4_min_block(block(number), integers)
        }),
        Format::Int6 => pack_blocks(column, panel, int6_words, |number, integers| {
            int6_block(block(number), integers)
        }),
        Format::Nf4 => pack_blocks(column, panel, nf4_words, |number, indices| {
            [nf4_block(&values.as_chunks().0[number], indices)]
        }),
    }
}

#[inline(always)]
fn pack_quantized_column_body<const FMA: bool>(
    format: Format,
    row: &QuantizedRoom,
    column: usize,
    panel: &mut [u8],
) {
    match format {
        Format::Int8 => pack_blocks(column, panel, int8_words, |number, integers| {
            let (scales, _) = row.block(number, [-128, 127], integers);
            [stored_half(scales[0])]
        }),
        Format::Int4 => pack_blocks(column, panel, int4_words, |number, integers| {
            let (scales, _) = row.block(number, [-8, 7], integers);
            [stored_half(scales[0])]
        }),
        Format::Int4Min => pack_blocks(column, panel, int4_words, |number, integers| {
            let (scales, minimum) = row.block(number, [0, 15], integers);
            [scales[0], minimum].map(stored_half)
        }),
        Format::Int6 => pack_blocks(column, panel, int6_words, |number, integers| {
            let (scales, minimum) = row.block(number, [-32, 31], integers);
            [scales[0], scales[1], minimum].map(stored_half)
        }),
        Format::F32 | Format::F16 | Format::Bf16 | Format::Bf16Exact | Format::Nf4 => {
            pack_column_body::<FMA>(format, &row.values(), column, panel);
        }
    }
}

/// Writes an output's blocks: some halves (scales, minimums), then words.
///
/// - `quantize(number, integers)` gives the integers of a block, as they are stored, and its halves
#[inline(always)]
fn pack_blocks<const HALVES: usize, const BLOCK: usize, const WORDS: usize>(
    column: usize,
    panel: &mut [u8],
    words: impl Fn(&[u8; BLOCK]) -> [[u8; 4]; WORDS],
    quantize: impl Fn(usize, &mut [u8; BLOCK]) -> [f16; HALVES],
) {
    let group_bytes = HALVES * SCALE_BYTES + WORDS * PANEL * 4;
    let mut integers = [0; BLOCK];
    for (number, group) in panel.chunks_exact_mut(group_bytes).enumerate() {
        let halves = quantize(number, &mut integers);
        let (scales, lines) = group.split_at_mut(HALVES * SCALE_BYTES);
        for (scales, half) in scales.chunks_exact_mut(SCALE_BYTES).zip(halves) {
            scales[column * 2..column * 2 + 2].copy_from_slice(&half.to_le_bytes());
        }
        for (line, word) in lines.chunks_exact_mut(PANEL * 4).zip(words(&integers)) {
            line[column * 4..column * 4 + 4].copy_from_slice(&word);
        }
    }
}

#[inline(always)]
fn int8_words(integers: &[u8; INT_BLOCK]) -> [[u8; 4]; INT_BLOCK / 4] {
    std::array::from_fn(|quad| std::array::from_fn(|place| integers[4 * quad + place]))
}

#[inline(always)]
fn int4_words(integers: &[u8; INT_BLOCK]) -> [[u8; 4]; INT_BLOCK / 8] {
    std::array::from_fn(|eight| {
        let integers = &integers[8 * eight..8 * eight + 8];
        std::array::from_fn(|place| integers[place] | integers[place + 4] << 4)
    })
}

/// The high bits of three words hold a fourth, so that three quads are had by one mask each.
#[inline(always)]
fn int6_words(integers: &[u8; INT_BLOCK]) -> [[u8; 4]; INT_BLOCK * 3 / 16] {
    std::array::from_fn(|word| {
        let (half, third) = (word / 3, word % 3);
        let integers = &integers[INT6_BLOCK * half..INT6_BLOCK * (half + 1)];
        std::array::from_fn(|place| {
            integers[4 * third + place] | integers[12 + place] << (2 * third + 2) & HIGH_BITS
        })
    })
}

/// Of a byte of `Int6`, what belongs to the last quad of its block.
const HIGH_BITS: u8 = 0xc0;

/// Two 16-bit words; half `h` of both is the pair of inputs `2h` and `2h + 1`.
#[inline(always)]
fn nf4_words(indices: &[u8; NF4_BLOCK]) -> [[u8; 4]; NF4_BLOCK / 8] {
    std::array::from_fn(|eight| {
        let eight = &indices[8 * eight..8 * eight + 8];
        let byte = |pair: usize, odd: usize| eight[2 * pair + odd] | eight[2 * pair + 2 + odd] << 4;
        [byte(0, 0), byte(2, 0), byte(0, 1), byte(2, 1)]
    })
}

/// One weight as it is multiplied.
pub(super) fn weight(format: Format, panel: &[u8], column: usize, input: usize) -> f32 {
    let two = |place: usize| [panel[place], panel[place + 1]];
    let half = |place: usize| f16::from_le_bytes(two(place + column * 2)).to_f32();
    // The block of an input, its place in it, and the byte of a word of the column in a line.
    let block = |bytes: usize| (input / INT_BLOCK * bytes, input % INT_BLOCK);
    let byte = |lines: usize, line: usize, place: usize| {
        panel[lines + (line * PANEL + column) * 4 + place]
    };
    match format {
        Format::F32 => {
            let place = (input * PANEL + column) * 4;
            f32::from_le_bytes([
                panel[place],
                panel[place + 1],
                panel[place + 2],
                panel[place + 3],
            ])
        }
        Format::F16 => half(input * PANEL * 2),
        Format::Bf16 | Format::Bf16Exact => {
            let place = (input / 2 * PANEL + column) * 4 + input % 2 * 2;
            bf16::from_le_bytes(two(place)).to_f32()
        }
        Format::Int8 => {
            let (group, inner) = block(format.panel_bytes(INT_BLOCK));
            let integer = byte(group + SCALE_BYTES, inner / 4, inner % 4);
            half(group) * (f32::from(integer) - 128.0)
        }
        Format::Int4 => {
            let (group, inner) = block(format.panel_bytes(INT_BLOCK));
            let integer = nibble(byte(group + SCALE_BYTES, inner / 8, inner % 4), inner);
            half(group) * (f32::from(integer) - 8.0)
        }
        Format::Int4Min => {
            let (group, inner) = block(format.panel_bytes(INT_BLOCK));
            let integer = nibble(byte(group + 2 * SCALE_BYTES, inner / 8, inner % 4), inner);
            half(group) * f32::from(integer) + half(group + SCALE_BYTES)
        }
        Format::Int6 => {
            let (group, inner) = block(format.panel_bytes(INT_BLOCK));
            let (second, quad) = (inner / INT6_BLOCK, inner % INT6_BLOCK / 4);
            let third = |third| byte(group + 3 * SCALE_BYTES, 3 * second + third, inner % 4);
            let integer = if quad < 3 {
                third(quad) & !HIGH_BITS
            } else {
                (0..3).fold(0, |bits, line| {
                    bits | (third(line) & HIGH_BITS) >> (2 * line + 2)
                })
            };
            let scale = half(group + second * SCALE_BYTES);
            scale * (f32::from(integer) - 32.0) + half(group + 2 * SCALE_BYTES)
        }
        Format::Nf4 => {
            let group = input / NF4_BLOCK * format.panel_bytes(NF4_BLOCK);
            let inner = input % NF4_BLOCK;
            let place = group + SCALE_BYTES + (inner / 8 * PANEL + column) * 4 + inner % 2 * 2;
            let index = u16::from_le_bytes(two(place)) >> (inner % 8 / 2 * 4) & 15;
            // The table is held in bf16, as the product multiplies it.
            half(group) * bf16::from_f32(NF4_VALUES[usize::from(index)]).to_f32()
        }
    }
}

/// The half of a byte that belongs to an input: low for the first four of eight.
fn nibble(byte: u8, input: usize) -> u8 {
    if input % 8 < 4 { byte & 15 } else { byte >> 4 }
}
