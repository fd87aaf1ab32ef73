//! Quantized blocks against what they stand for.

use half::f16;
use proptest::prelude::*;

use super::{
    NF4_VALUES, activation_block, half_above, half_below, int4_block, int4_min_block, int6_block,
    int8_block, nf4_block,
};

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

    /// Steps are as small as the values and what f16 can hold allow, down to where it has few digits.
    #[test]
    fn integers_with_a_minimum_are_within_half_a_step(
        values in block(32),
        middle in -1000.0f32..1000.0,
        spread in -12i32..=3,
        exponent in -24i32..=0,
    ) {
        let values: [f32; 32] = values.try_into().unwrap();
        let values = values.map(|value| (middle + 2.0f32.powi(spread) * value) * 2.0f32.powi(exponent));
        let range = |values: &[f32]| {
            values.iter().fold(f32::MIN, |a, b| a.max(*b)) - values.iter().fold(f32::MAX, |a, b| a.min(*b))
        };
        let rounding = largest(&values) / 1024.0;
        let is_near = |value: f32, step: f32, integer: i32, minimum: f32| {
            (value - (step * integer as f32 + minimum)).abs() <= 0.5 * step + 1e-3 * rounding
        };
        let mut integers = [0; 32];

        let [scale, minimum] = int4_min_block(&values, &mut integers).map(f16::to_f32);
        prop_assert!(scale <= 1.001 * (range(&values) + rounding) / 15.0 + 1e-7);
        for (value, integer) in values.iter().zip(integers) {
            prop_assert!(integer < 16);
            prop_assert!(is_near(*value, scale, i32::from(integer), minimum), "{value} {integer}");
        }

        let [first, second, minimum] = int6_block(&values, &mut integers).map(f16::to_f32);
        for (place, (value, integer)) in values.iter().zip(integers).enumerate() {
            let scale = if place < 16 { first } else { second };
            prop_assert!(scale <= 1.001 * (range(&values) / 2.0 + rounding) / 31.0 + 1e-7);
            prop_assert!(integer < 64);
            prop_assert!(is_near(*value, scale, i32::from(integer) - 32, minimum), "{value} {integer}");
        }
    }

    #[test]
    fn halves_on_either_side_are_neighbours(
        value in -65504.0f32..=65504.0,
        exponent in -45i32..=0,
    ) {
        let value = value * 2.0f32.powi(exponent);
        let (below, above) = (half_below(value), half_above(value));
        prop_assert!(below.to_f32() <= value && value <= above.to_f32());
        // No third one lies between them.
        let key = |half: f16| {
            let magnitude = i32::from(half.to_bits() & 0x7fff);
            if half.is_sign_negative() { -magnitude } else { magnitude }
        };
        prop_assert_eq!(key(above) - key(below), i32::from(below != above), "{} {}", below, above);
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
    assert_eq!(
        int4_min_block(&[0.0; 32], &mut bytes).map(f16::to_f32),
        [0.0; 2]
    );
    assert_eq!(bytes, [0; 32]);
    assert_eq!(
        int6_block(&[0.0; 32], &mut bytes).map(f16::to_f32),
        [0.0; 3]
    );
    assert_eq!(bytes, [32; 32]);
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
    for huge in [1e30, -1e30, f32::MAX, f32::MIN] {
        let mut values = [1.0; 32];
        values[7] = huge;
        let [four, six] = [&mut [0; 32], &mut [0; 32]];
        let four = int4_min_block(&values, four);
        assert!(four.iter().all(|half| half.is_finite()), "{four:?}");
        let six = int6_block(&values, six);
        assert!(six.iter().all(|half| half.is_finite()), "{six:?}");
    }
}
