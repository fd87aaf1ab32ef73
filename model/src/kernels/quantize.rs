//! From single precision to scaled small integers, and what they stand for.

use half::f16;

use super::format::{INT_BLOCK, INT6_BLOCK, NF4_BLOCK};
use super::rounding::nearest_integer;

/// The values of NF4: quantiles of a normal distribution, scaled to [-1, 1].
///
/// Source: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", appendix E.
pub(crate) const NF4_VALUES: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// A scale as stored, and its inverse: quotients are taken by what will be multiplied back.
#[inline(always)]
fn stored_scale(scale: f32) -> (f16, f32) {
    let stored = stored_half(scale);
    (stored, inverse(stored))
}

#[inline(always)]
fn inverse(scale: f16) -> f32 {
    let wide = scale.to_f32();
    if wide == 0.0 { 0.0 } else { 1.0 / wide }
}

/// A scale or minimum as stored: one above the type's range would make every weight of the block infinite.
#[inline(always)]
pub(crate) fn stored_half(value: f32) -> f16 {
    f16::from_f32(value.clamp(-MAX_SCALE, MAX_SCALE))
}

/// The largest half that is not above `value`, within the type's range.
#[inline(always)]
fn half_below(value: f32) -> f16 {
    let nearest = stored_half(value);
    if nearest.to_f32() > value.max(-MAX_SCALE) {
        // Magnitudes count up from zero on both sides of it.
        let down = if nearest.is_sign_negative() {
            1
        } else {
            u16::MAX
        };
        f16::from_bits(nearest.to_bits().wrapping_add(down))
    } else {
        nearest
    }
}

/// The smallest half that is not below `value`, within the type's range.
#[inline(always)]
fn half_above(value: f32) -> f16 {
    -half_below(-value)
}

/// The largest finite f16.
const MAX_SCALE: f32 = 65504.0;

/// The largest value and the negative of the smallest, in lanes.
#[inline(always)]
fn extremes<const LEN: usize>(values: &[f32; LEN]) -> (f32, f32) {
    let (mut highest, mut lowest) = (*values, values.map(|value| -value));
    let mut width = LEN / 2;
    while width > 0 {
        for lane in 0..width {
            highest[lane] = larger(highest[lane], highest[lane + width]);
            lowest[lane] = larger(lowest[lane], lowest[lane + width]);
        }
        width /= 2;
    }
    (highest[0], lowest[0])
}

#[inline(always)]
fn larger(one: f32, other: f32) -> f32 {
    if one > other { one } else { other }
}

#[inline(always)]
fn largest_magnitude<const LEN: usize>(values: &[f32; LEN]) -> f32 {
    let (highest, lowest) = extremes(values);
    if highest > lowest { highest } else { lowest }
}

/// 8 bits: `value ~ scale * integer` with integers in -127..=127, written plus 128.
#[inline(always)]
pub(crate) fn int8_block(values: &[f32; INT_BLOCK], integers: &mut [u8; INT_BLOCK]) -> f16 {
    let (scale, inverse) = stored_scale(largest_magnitude(values) / 127.0);
    for (integer, value) in integers.iter_mut().zip(values) {
        *integer = (to_integer(value * inverse, -127.0, 127.0) + 128) as u8;
    }
    scale
}

/// 4 bits as in GGUF's Q4_0: integers in -8..=7, written plus 8; the value of largest magnitude becomes -8.
#[inline(always)]
pub(crate) fn int4_block(values: &[f32; INT_BLOCK], integers: &mut [u8; INT_BLOCK]) -> f16 {
    let (highest, lowest) = extremes(values);
    let largest = if highest > lowest { highest } else { -lowest };
    let (scale, inverse) = stored_scale(largest / -8.0);
    for (integer, value) in integers.iter_mut().zip(values) {
        *integer = (to_integer(value * inverse, -8.0, 7.0) + 8) as u8;
    }
    scale
}

/// 4 bits without sign: `value ~ scale * integer + minimum` with integers in 0..=15; returns scale and minimum.
///
/// The minimum is rounded down and the scale up, so that no value lies outside what the integers reach.
#[inline(always)]
pub(crate) fn int4_min_block(
    values: &[f32; INT_BLOCK],
    integers: &mut [u8; INT_BLOCK],
) -> [f16; 2] {
    let (highest, lowest) = extremes(values);
    let minimum = half_below(-lowest);
    let scale = half_above((highest - minimum.to_f32()) / 15.0);
    for (integer, value) in integers.iter_mut().zip(values) {
        let steps = (value - minimum.to_f32()) * inverse(scale);
        *integer = to_integer(steps, 0.0, 15.0) as u8;
    }
    [scale, minimum]
}

/// 6 bits: `value ~ scale * integer + minimum` with integers in -32..=31, written plus 32; returns the scales of both
/// halves and the minimum, which is the middle of all values here.
///
/// The scales are rounded up, so that no value lies outside what the integers reach.
#[inline(always)]
pub(crate) fn int6_block(values: &[f32; INT_BLOCK], integers: &mut [u8; INT_BLOCK]) -> [f16; 3] {
    let (highest, lowest) = extremes(values);
    let minimum = stored_half(f32::midpoint(highest, -lowest));
    let middle = minimum.to_f32();
    let mut scales = [f16::ZERO; 2];
    let halves = values.as_chunks::<INT6_BLOCK>().0.iter();
    let targets = integers.as_chunks_mut::<INT6_BLOCK>().0;
    for ((values, integers), stored) in halves.zip(targets).zip(&mut scales) {
        let (highest, lowest) = extremes(values);
        let scale = half_above(larger((highest - middle) / 31.0, (lowest + middle) / 32.0));
        for (integer, value) in integers.iter_mut().zip(values) {
            let steps = (value - middle) * inverse(scale);
            *integer = (to_integer(steps, -32.0, 31.0) + 32) as u8;
        }
        *stored = scale;
    }
    [scales[0], scales[1], minimum]
}

/// NF4: `value ~ scale * NF4_VALUES[index]`, the scale being the largest magnitude.
#[inline(always)]
pub(crate) fn nf4_block(values: &[f32; NF4_BLOCK], indices: &mut [u8; NF4_BLOCK]) -> f16 {
    let (scale, inverse) = stored_scale(largest_magnitude(values));
    let mut counts = [0u32; NF4_BLOCK];
    for pair in NF4_VALUES.windows(2) {
        let border = f32::midpoint(pair[0], pair[1]);
        for (count, value) in counts.iter_mut().zip(values) {
            *count += u32::from(value * inverse > border);
        }
    }
    for (index, count) in indices.iter_mut().zip(counts) {
        *index = count as u8;
    }
    scale
}

/// The nearest integer, ties to even, within bounds that single precision counts exactly.
#[inline(always)]
fn to_integer(value: f32, least: f32, most: f32) -> i32 {
    let value = if value > most { most } else { value };
    let value = if value > least { value } else { least };
    nearest_integer(value)
}

/// Activations of one block in 8 bits: `value ~ scale * integer`, integers in -127..=127; returns scale and sum of the
/// integers. Without branches, so that it runs in vectors.
///
/// A value that is not finite makes the scale not a number, and so every product of the row: it is seen, not replaced.
#[inline(always)]
pub(crate) fn activation_block(
    values: &[f32; INT_BLOCK],
    integers: &mut [i8; INT_BLOCK],
) -> (f32, i32) {
    let mut magnitudes = values.map(f32::abs);
    // Zero, or NaN if anything is not finite.
    let mut poison = values.map(|value| value * 0.0);
    let mut width = INT_BLOCK / 2;
    while width > 0 {
        for lane in 0..width {
            let (one, other) = (magnitudes[lane], magnitudes[lane + width]);
            magnitudes[lane] = if one > other { one } else { other };
            poison[lane] += poison[lane + width];
        }
        width /= 2;
    }
    let scale = magnitudes[0] / 127.0;
    // Below the smallest normal number its inverse would be infinite, and the activations are as good as zero.
    let inverse = if scale >= f32::MIN_POSITIVE {
        1.0 / scale
    } else {
        0.0
    };
    let mut sum = 0;
    for lane in 0..INT_BLOCK {
        let rounded = nearest_integer(values[lane] * inverse);
        integers[lane] = rounded as i8;
        sum += i32::from(rounded as i8);
    }
    (scale + poison[0], sum)
}

#[cfg(test)]
mod tests;
