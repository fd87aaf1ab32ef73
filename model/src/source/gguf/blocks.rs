//! The blocks of quantized tensors, taken apart.
//!
//! `d` and `m` are halves; numbers are little-endian; nibbles and bits count from the lowest.
//!
//! | type   | bytes of a block, in order                                                  | weight                 |
//! |--------|-----------------------------------------------------------------------------|------------------------|
//! | `Q4_0` | `d`, 16 x 2 nibbles: inputs `j` and `j + 16`                                | `d (q - 8)`            |
//! | `Q4_1` | `d`, `m`, nibbles as `Q4_0`                                                 | `d q + m`              |
//! | `Q5_0` | `d`, 32 fifth bits, nibbles as `Q4_0`                                       | `d (q - 16)`           |
//! | `Q5_1` | `d`, `m`, 32 fifth bits, nibbles as `Q4_0`                                  | `d q + m`              |
//! | `Q8_0` | `d`, 32 x i8                                                                | `d q`                  |
//! | `Q4_K` | `d`, `m`, 12 bytes of 8 x 6-bit `s` and 8 x 6-bit `t`, 4 x 32 x 2 nibbles: inputs `64 c + l` and `64 c + l + 32` | `d s q - m t` for 32 inputs |
//! | `Q5_K` | as `Q4_K`, with 32 bytes before the nibbles: bit `i` of byte `l` is the fifth of input `32 i + l` | as `Q4_K` |
//! | `Q6_K` | for each half 64 bytes of nibbles; for each half 32 bytes of 4 x 2 bits; 16 x i8 `s`; `d` | `d s (q - 32)` for 16 inputs |
//!
//! Source: ggml, `ggml-common.h` and `ggml-quants.c`.

use half::f16;

use super::kind::GgufKind;
use crate::kernels::format::Format;
use crate::kernels::quantized_row::QuantizedRow;

/// Values of the largest block.
pub(super) const MAX_BLOCK_VALUES: usize = 256;

impl GgufKind {
    /// The packed format that holds rows as they are; `None` if they have floats.
    pub(super) const fn format(self) -> Option<Format> {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => None,
            Self::Q8_0 => Some(Format::Int8),
            Self::Q4_0 => Some(Format::Int4),
            Self::Q4_1 | Self::Q4K => Some(Format::Int4Min),
            Self::Q5_0 | Self::Q5_1 | Self::Q5K | Self::Q6K => Some(Format::Int6),
        }
    }
}

/// Takes one block apart.
///
/// - `block`: the bytes of one block of `kind`
/// - `row`: of as many inputs as a block has values
pub(super) fn unpack(kind: GgufKind, block: &[u8], row: QuantizedRow<'_>) {
    match kind {
        GgufKind::F32 | GgufKind::F16 | GgufKind::Bf16 => {}
        GgufKind::Q4_0 => small(block, 0, 8, row),
        GgufKind::Q4_1 => small(block, 2, 0, row),
        GgufKind::Q5_0 => small(block, 0, 16, row),
        GgufKind::Q5_1 => small(block, 2, 0, row),
        GgufKind::Q8_0 => {
            let (scale, integers) = (half_at(block, 0), &block[2..]);
            row.scales.fill(scale);
            row.minimums.fill(0.0);
            for (integer, byte) in row.integers.iter_mut().zip(integers) {
                *integer = byte.cast_signed();
            }
        }
        GgufKind::Q4K => super_block(block, false, row),
        GgufKind::Q5K => super_block(block, true, row),
        GgufKind::Q6K => six_bits(block, row),
    }
}

/// `Q4_0` to `Q5_1`: blocks of 32 with a scale, perhaps a minimum, and perhaps a fifth bit.
///
/// - `minimum`: 2 if a minimum follows the scale, else 0
fn small(block: &[u8], minimum: usize, offset: i8, row: QuantizedRow<'_>) {
    row.scales.fill(half_at(block, 0));
    row.minimums.fill(match minimum {
        0 => 0.0,
        place => half_at(block, place),
    });
    let (bits, nibbles) = block[2 + minimum..].split_at(block.len() - 2 - minimum - 16);
    let bits = bits
        .first_chunk()
        .map_or(0, |bits| u32::from_le_bytes(*bits));
    let fifth = |input: usize| ((bits >> input & 1) as u8) << 4;
    let (low, high) = row.integers.split_at_mut(16);
    for (input, byte) in nibbles.iter().enumerate() {
        low[input] = (byte & 15 | fifth(input)).cast_signed() - offset;
        high[input] = (byte >> 4 | fifth(input + 16)).cast_signed() - offset;
    }
}

/// `Q4_K` and `Q5_K`: 8 times 32 inputs, each with a scale and a minimum in 6 bits.
fn super_block(block: &[u8], has_fifth_bits: bool, row: QuantizedRow<'_>) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (factors, rest) = block[4..].split_at(12);
    let (bits, nibbles) = rest.split_at(if has_fifth_bits { 32 } else { 0 });
    for part in 0..8 {
        let (of_scale, of_minimum) = six_bit_factors(factors, part);
        let scales = &mut row.scales[2 * part..2 * part + 2];
        scales.fill(scale * f32::from(of_scale));
        row.minimums[part] = -(minimum * f32::from(of_minimum));
        let bytes = &nibbles[part / 2 * 32..][..32];
        let integers = &mut row.integers[part * 32..][..32];
        for (input, (integer, byte)) in integers.iter_mut().zip(bytes).enumerate() {
            let nibble = if part % 2 == 0 { byte & 15 } else { byte >> 4 };
            let fifth = bits.get(input).map_or(0, |bits| (bits >> part & 1) << 4);
            *integer = (nibble | fifth).cast_signed();
        }
    }
}

/// The factors of the scale and the minimum of one part: four of each lie in the low six bits of 8 bytes, the upper two
/// bits of these complete the nibbles of the last 4 bytes.
fn six_bit_factors(factors: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        (factors[part] & 63, factors[part + 4] & 63)
    } else {
        let (low, nibbles) = (part - 4, factors[part + 4]);
        (
            nibbles & 15 | factors[low] >> 6 << 4,
            nibbles >> 4 | factors[low + 4] >> 6 << 4,
        )
    }
}

/// `Q6_K`: 16 times 16 inputs, each with a scale in 8 bits.
fn six_bits(block: &[u8], row: QuantizedRow<'_>) {
    let (nibbles, rest) = block.split_at(128);
    let (pairs, rest) = rest.split_at(64);
    let (factors, scale) = rest.split_at(16);
    let scale = half_at(scale, 0);
    for (target, factor) in row.scales.iter_mut().zip(factors) {
        *target = scale * f32::from(factor.cast_signed());
    }
    row.minimums.fill(0.0);
    for (part, integers) in row.integers.chunks_mut(32).enumerate() {
        let (half, quarter) = (part / 4, part % 4);
        let nibbles = &nibbles[half * 64 + quarter % 2 * 32..][..32];
        let pairs = &pairs[half * 32..][..32];
        for (integer, (byte, pairs)) in integers.iter_mut().zip(nibbles.iter().zip(pairs)) {
            let nibble = byte >> (quarter / 2 * 4) & 15;
            let pair = pairs >> (2 * quarter) & 3;
            *integer = (nibble | pair << 4).cast_signed() - 32;
        }
    }
}

fn half_at(bytes: &[u8], place: usize) -> f32 {
    f16::from_le_bytes([bytes[place], bytes[place + 1]]).to_f32()
}

#[cfg(test)]
mod tests;
