//! Rounding to integers and to bf16, and widening f16, in plain code that compilers vectorise.

/// Adding and taking away `1.5 * 2^23` rounds to an integer, ties to even; the sum's low bits hold it.
pub(crate) const ROUNDER: f32 = 12_582_912.0;

/// The nearest integer, ties to even, of a value below `2^22` in magnitude.
#[inline(always)]
pub(crate) fn nearest_integer(value: f32) -> i32 {
    let bits = (value + ROUNDER).to_bits();
    bits.wrapping_sub(ROUNDER.to_bits()).cast_signed()
}

/// The nearest bf16, ties to even, in the low half of the answer; a NaN stays one.
#[inline(always)]
pub(crate) fn bf16_bits(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if value.is_nan() {
        (bits >> 16) | 0x40
    } else {
        rounded
    }
}

/// Two numbers as one word of bf16, the first in the low half.
#[inline(always)]
pub(crate) fn bf16_pair(low: f32, high: f32) -> u32 {
    bf16_bits(low) | (bf16_bits(high) << 16)
}

/// The first number of a pair.
#[inline(always)]
pub(crate) fn low_half(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

/// The second number of a pair.
#[inline(always)]
pub(crate) fn high_half(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

/// An f16 in single precision. The `half` crate's asks each time what the processor can do.
#[inline(always)]
pub(crate) fn half_value(bits: u16) -> f32 {
    /// Widens the exponent's bias from 15 to 127; subnormals become normal.
    const SCALE: f32 = f32::from_bits((127 + 127 - 15) << 23);
    let magnitude = u32::from(bits & 0x7fff) << 13;
    let finite = f32::from_bits(magnitude) * SCALE;
    // The largest exponent stays the largest: infinity, or not a number.
    let is_finite = magnitude < 0x7c00 << 13;
    let special = if is_finite { 0 } else { 0x7f80_0000 };
    f32::from_bits(finite.to_bits() | special | u32::from(bits & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use proptest::prelude::*;

    use super::{bf16_bits, half_value, nearest_integer};

    #[test]
    fn widening_is_that_of_half() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (half_value(bits), f16::from_bits(bits).to_f32());
            let is_same = found.to_bits() == expected.to_bits();
            assert!(is_same || found.is_nan() && expected.is_nan(), "{bits:#x}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_that_of_half(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            let expected = bf16::from_f32(value);
            let got = bf16::from_bits(bf16_bits(value) as u16);
            prop_assert!(got == expected || (got.is_nan() && expected.is_nan()));
        }
    }

    proptest! {
        #[test]
        fn integers_are_nearest_with_ties_to_even(halves in -8_000_000i32..8_000_000) {
            let value = halves as f32 / 2.0;
            prop_assert_eq!(nearest_integer(value), value.round_ties_even() as i32);
        }
    }
}
