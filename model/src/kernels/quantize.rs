//! From single precision to scaled small integers, and what they stand for.

use half::f16;

use super::format::{INT_BLOCK, NF4_BLOCK};
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
    // A scale above the type's range would make every weight of the block infinite.
    let stored = f16::from_f32(scale.clamp(-MAX_SCALE, MAX_SCALE));
    let wide = stored.to_f32();
    (stored, if wide == 0.0 { 0.0 } else { 1.0 / wide })
}

/// The largest finite f16.
const MAX_SCALE: f32 = 65504.0;

/// The largest value and the negative of the smallest, in lanes.
#[inline(always)]
fn extremes<const LEN: usize>(values: &[f32; LEN]) -> (f32, f32) {
    let (mut highest, mut lowest) = (*values, values.map(|value| -value));
    let larger = |one: f32, other: f32| if one > other { one } else { other };
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
mod tests {
    use proptest::prelude::*;

    use super::{NF4_VALUES, activation_block, int4_block, int8_block, nf4_block};

    fn block(len: usize) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(-100.0f32..100.0, len)
    }

    fn largest(values: &[f32]) -> f32 {
        values
            .iter()
            .fold(0.0, |largest, value| largest.max(value.abs()))
    }

    proptest! {
        #[test]
        fn integers_are_within_half_a_step(values in block(32)) {
            let mut integers = [0; 32];
            let values: [f32; 32] = values.try_into().unwrap();
            let scale = int8_block(&values, &mut integers).to_f32();
            for (value, integer) in values.iter().zip(integers) {
                let back = scale * (f32::from(integer) - 128.0);
                // Half a step, and what rounding the scale to f16 may cut off at the end of the range.
                prop_assert!((value - back).abs() <= 0.5 * scale + 127.0 * scale / 1024.0);
            }
            let scale = int4_block(&values, &mut integers).to_f32();
            for (value, integer) in values.iter().zip(integers) {
                let back = scale * (f32::from(integer) - 8.0);
                prop_assert!((value - back).abs() <= 1.01 * scale.abs());
            }
        }

        #[test]
        fn nf4_takes_the_nearest_value(values in block(64)) {
            let mut indices = [0; 64];
            let values: [f32; 64] = values.try_into().unwrap();
            let scale = nf4_block(&values, &mut indices).to_f32();
            for (value, index) in values.iter().zip(indices) {
                let distance = |of: f32| (value - scale * of).abs();
                let best = NF4_VALUES.iter().map(|of| distance(*of)).fold(f32::MAX, f32::min);
                prop_assert!(distance(NF4_VALUES[usize::from(index)]) <= best + 1e-4);
            }
        }

        #[test]
        fn activations_are_within_half_a_step(values in block(32)) {
            let mut integers = [0; 32];
            let values: [f32; 32] = values.try_into().unwrap();
            let (scale, sum) = activation_block(&values, &mut integers);
            prop_assert_eq!(sum, integers.iter().map(|integer| i32::from(*integer)).sum::<i32>());
            for (value, integer) in values.iter().zip(integers) {
                prop_assert!((value - scale * f32::from(integer)).abs() <= 0.501 * scale);
            }
            prop_assert!(scale <= largest(&values) / 126.9);
        }
    }

    #[test]
    fn zeros_stay_zeros() {
        let mut bytes = [1; 32];
        assert_eq!(int8_block(&[0.0; 32], &mut bytes).to_f32(), 0.0);
        assert_eq!(bytes, [128; 32]);
        assert_eq!(int4_block(&[0.0; 32], &mut bytes).to_f32(), 0.0);
        let mut indices = [1; 64];
        assert_eq!(nf4_block(&[0.0; 64], &mut indices).to_f32(), 0.0);
        assert_eq!(NF4_VALUES[usize::from(indices[0])], 0.0);
        let mut integers = [1; 32];
        assert_eq!(activation_block(&[0.0; 32], &mut integers), (0.0, 0));
    }

    #[test]
    fn what_is_not_finite_is_seen() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = [1.0; 32];
            values[17] = value;
            assert!(activation_block(&values, &mut [0; 32]).0.is_nan());
        }
    }

    /// A scale so small that its inverse is infinite.
    #[test]
    fn subnormal_activations_stay_finite() {
        for value in [1e-44, 1e-38, 1e-36] {
            let mut integers = [0; 32];
            let (scale, sum) = activation_block(&[value; 32], &mut integers);
            assert!(
                scale.is_finite() && (sum == 0 || sum == 32 * 127),
                "{value}: {sum}"
            );
        }
    }

    #[test]
    fn a_huge_weight_keeps_the_scale_finite() {
        assert!(nf4_block(&[1e30; 64], &mut [0; 64]).is_finite());
        assert!(int8_block(&[1e30; 32], &mut [0; 32]).is_finite());
    }
}
