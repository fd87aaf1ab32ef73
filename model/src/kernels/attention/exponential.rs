//! The exponential function of the softmax.
//!
//! `2^x` is `2^n * 2^f` with the nearest integer `n`, and `2^f` a polynomial for `f` in `[-1/2, 1/2]` whose constant is
//! exactly 1: so `2^0` is exactly 1, and rescaling by it changes nothing. Its relative error is below 1e-7, plus that
//! of rounding.

use crate::kernels::leveled::multiply_add;
use crate::kernels::rounding::ROUNDER;

/// Coefficients of `f^1` to `f^5`, minimax for the relative error.
#[allow(
    clippy::approx_constant,
    reason = "fitted together; the first is near ln 2, but not the nearest"
)]
pub(super) const COEFFICIENTS: [f32; 5] = [
    0.693_147,
    0.240_222_42,
    0.055_507_337,
    0.009_671_513,
    0.001_326_472_7,
];

/// Exponents below this give 0, well under half of the smallest number above it.
pub(super) const LOWEST: f32 = -200.0;

/// Smallest exponent whose power is a normal number; plain code gives 0 below it.
const LOWEST_NORMAL: f32 = -126.0;

/// `2^x` for `x <= 127`; 0 below -126; NaN for NaN.
#[inline(always)]
pub(super) fn power_of_two<const FMA: bool>(x: f32) -> f32 {
    let rounded = x + ROUNDER;
    let fraction = x - (rounded - ROUNDER);
    let [c1, c2, c3, c4, c5] = COEFFICIENTS;
    let mut power = multiply_add::<FMA>(c5, fraction, c4);
    power = multiply_add::<FMA>(power, fraction, c3);
    power = multiply_add::<FMA>(power, fraction, c2);
    power = multiply_add::<FMA>(power, fraction, c1);
    power = multiply_add::<FMA>(power, fraction, 1.0);
    let exponent = rounded.to_bits() << 23;
    let scaled = power * f32::from_bits(exponent.wrapping_add(1.0_f32.to_bits()));
    if x < LOWEST_NORMAL { 0.0 } else { scaled }
}

#[cfg(test)]
mod tests {
    use super::power_of_two;

    #[test]
    fn it_is_the_exponential() {
        for step in -1_260_000..=100_000 {
            let x = step as f32 * 1e-4;
            let expected = f64::from(x).exp2();
            let error = f64::from(power_of_two::<false>(x)) / expected - 1.0;
            assert!(error.abs() < 4e-7, "2^{x}: {error}");
        }
        assert_eq!(power_of_two::<false>(0.0), 1.0);
        assert_eq!(power_of_two::<false>(f32::NEG_INFINITY), 0.0);
        assert!(power_of_two::<false>(f32::NAN).is_nan());
    }
}
