//! The exponential and the gate of SwiGLU, branch-free so that they run in vectors.

use super::format::PANEL;
use super::leveled::{leveled, multiply_add};
use super::rounding::ROUNDER;

/// Beyond it the exponential leaves what normal numbers of single precision can hold.
const LARGEST_EXPONENT: f32 = 87.0;

/// ln 2 in two parts; products of the first with small integers are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `e^x` within two units of the last place; the argument is cut to +-[`LARGEST_EXPONENT`], NaN stays.
///
/// Cody and Waite's reduction and a polynomial for `[-ln 2 / 2, ln 2 / 2]` (the coefficients of Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // Not `clamp`: comparisons that are false for NaN let it pass.
    let x = if x > LARGEST_EXPONENT {
        LARGEST_EXPONENT
    } else {
        x
    };
    let x = if x < -LARGEST_EXPONENT {
        -LARGEST_EXPONENT
    } else {
        x
    };
    let shifted = multiply_add::<FMA>(x, std::f32::consts::LOG2_E, ROUNDER);
    let whole = shifted - ROUNDER;
    let rest = multiply_add::<FMA>(whole, -LN_2_HIGH, x);
    let rest = multiply_add::<FMA>(whole, -LN_2_LOW, rest);
    let mut sum = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_65,
        0.5,
    ] {
        sum = multiply_add::<FMA>(sum, rest, coefficient);
    }
    let near_one = multiply_add::<FMA>(sum * rest, rest, rest) + 1.0;
    let power = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()) << 23;
    near_one * f32::from_bits(power.wrapping_add(1.0f32.to_bits()))
}

/// `silu(gate) * up` for one tile: `rows` of [`PANEL`] values each.
#[inline(always)]
fn gate_body<const FMA: bool>(
    gate: &[[f32; PANEL]],
    up: &[[f32; PANEL]],
    out: &mut [[f32; PANEL]],
) {
    for ((gate, up), out) in gate.iter().zip(up).zip(out) {
        for lane in 0..PANEL {
            out[lane] = gate[lane] / (1.0 + exp::<FMA>(-gate[lane])) * up[lane];
        }
    }
}

leveled! {
    /// `out = silu(gate) * up`, elementwise.
    pub(crate) fn gate(gate: &[[f32; PANEL]], up: &[[f32; PANEL]], out: &mut [[f32; PANEL]]) = gate_body
}

#[cfg(test)]
mod tests {
    use super::{exp, gate};
    use crate::kernels::format::PANEL;
    use crate::kernels::level::Level;

    #[test]
    fn the_exponential_is_exact_to_two_units() {
        for step in -87_000..=87_000 {
            let x = step as f32 / 1000.0;
            let expected = f64::from(x).exp();
            for found in [exp::<true>(x), exp::<false>(x)] {
                assert!(
                    (f64::from(found) / expected - 1.0).abs() < 2.4e-7,
                    "{x}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn the_ends_are_finite_and_nan_stays() {
        assert!(exp::<true>(f32::INFINITY).is_finite());
        assert!(exp::<true>(f32::NEG_INFINITY) < 1e-37);
        assert!(exp::<false>(f32::NAN).is_nan());
    }

    #[test]
    fn every_level_gates_alike() {
        let value = |i: usize| (i as f32 - 40.0) / 3.0;
        let row =
            |offset: usize| std::array::from_fn::<f32, PANEL, _>(|lane| value(lane * 3 + offset));
        let (gates, ups) = ([row(0), row(1)], [row(2), row(3)]);
        for level in Level::available() {
            let mut out = [[0.0; PANEL]; 2];
            gate(level, &gates, &ups, &mut out);
            for (row, out) in out.iter().enumerate() {
                for (lane, found) in out.iter().enumerate() {
                    let (gate, up) = (f64::from(gates[row][lane]), f64::from(ups[row][lane]));
                    let expected = gate / (1.0 + (-gate).exp()) * up;
                    assert!(
                        (f64::from(*found) - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
                        "{level}"
                    );
                }
            }
        }
    }
}
