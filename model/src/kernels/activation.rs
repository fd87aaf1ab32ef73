//! The non-linear functions of MLPs, branch-free so that they run in vectors.

use super::format::PANEL;
use super::leveled::{leveled, multiply_add};
use super::rounding::ROUNDER;
use crate::config::Activation;

/// Beyond it the exponential leaves what normal numbers of single precision can hold.
const LARGEST_EXPONENT: f32 = 87.0;

/// ln 2 in two parts; products of the first with small integers are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `e^x` within two units of the last place; the argument is cut to +-[`LARGEST_EXPONENT`], NaN stays.
///
/// Cody and Waite's reduction and a polynomial for `[-ln 2 / 2, ln 2 / 2]` (the coefficients of Cephes' `expf`).
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
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

/// `x / (1 + e^-x)`.
#[inline(always)]
fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

/// `2 * sqrt(2 / pi)`.
const TWICE_ROOT_2_OVER_PI: f32 = 1.595_769;

/// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`: the tangent by an exponential of twice its argument.
#[inline(always)]
fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    let cubic = multiply_add::<FMA>(0.044_715 * x * x, x, x);
    x / (1.0 + exp::<FMA>(-TWICE_ROOT_2_OVER_PI * cubic))
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`, the error function within 2e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / multiply_add::<FMA>(0.327_591_1, z, 1.0);
    let mut sum = 1.061_405_4;
    for coefficient in [-1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6] {
        sum = multiply_add::<FMA>(sum, t, coefficient);
    }
    let beyond = sum * t * exp::<FMA>(-z * z);
    let share = if x < 0.0 { beyond } else { 2.0 - beyond };
    0.5 * x * share
}

/// Adds to each value, if there is anything to add.
#[inline(always)]
pub(super) fn add_to(values: &mut [f32], added: &[f32]) {
    values
        .iter_mut()
        .zip(added)
        .for_each(|(value, added)| *value += added);
}

#[inline(always)]
fn activate_in_place<const FMA: bool>(activation: Activation, values: &mut [f32; PANEL]) {
    // A loop for each function: a choice inside would keep it out of the vectors.
    match activation {
        Activation::Silu => values.iter_mut().for_each(|x| *x = silu::<FMA>(*x)),
        Activation::GeluTanh => values.iter_mut().for_each(|x| *x = gelu_tanh::<FMA>(*x)),
        Activation::Gelu => values.iter_mut().for_each(|x| *x = gelu::<FMA>(*x)),
    }
}

#[inline(always)]
fn activate_body<const FMA: bool>(
    activation: Activation,
    values: &[f32; PANEL],
    bias: &[f32],
    out: &mut [f32; PANEL],
) {
    let mut values = *values;
    add_to(&mut values, bias);
    activate_in_place::<FMA>(activation, &mut values);
    *out = values;
}

#[inline(always)]
fn gate_body<const FMA: bool>(
    activation: Activation,
    [gates, ups]: [&[f32; PANEL]; 2],
    [gate_bias, up_bias]: [&[f32]; 2],
    out: &mut [f32; PANEL],
) {
    let (mut gates, mut ups) = (*gates, *ups);
    add_to(&mut gates, gate_bias);
    add_to(&mut ups, up_bias);
    activate_in_place::<FMA>(activation, &mut gates);
    gates.iter_mut().zip(ups).for_each(|(gate, up)| *gate *= up);
    *out = gates;
}

leveled! {
    /// `out = activation(value + bias)`, elementwise; a bias is empty or a panel's.
    pub(crate) fn activate(
        activation: Activation,
        values: &[f32; PANEL],
        bias: &[f32],
        out: &mut [f32; PANEL],
    ) = activate_body
}

leveled! {
    /// `out = activation(gate + bias) * (up + bias)`, elementwise, of `[gates, ups]` and their biases.
    pub(crate) fn gate(
        activation: Activation,
        sums: [&[f32; PANEL]; 2],
        biases: [&[f32]; 2],
        out: &mut [f32; PANEL],
    ) = gate_body
}

#[cfg(test)]
mod tests {
    use super::{activate, exp, gate};
    use crate::config::Activation;
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
            for (gates, ups) in gates.iter().zip(&ups) {
                let mut out = [0.0; PANEL];
                gate(level, Activation::Silu, [gates, ups], [&[], &[]], &mut out);
                for (lane, found) in out.iter().enumerate() {
                    let (gate, up) = (f64::from(gates[lane]), f64::from(ups[lane]));
                    let expected = gate / (1.0 + (-gate).exp()) * up;
                    assert!(
                        (f64::from(*found) - expected).abs() <= 1e-6 * expected.abs().max(1e-3),
                        "{level}"
                    );
                }
            }
        }
    }

    #[test]
    fn biases_are_added_first() {
        let row = |start: f32| std::array::from_fn::<f32, PANEL, _>(|lane| start + lane as f32);
        let (gates, ups, biases) = (row(-9.0), row(3.0), [row(0.5), row(-2.0)]);
        for level in Level::available() {
            let sum = |values: &[f32; PANEL], bias: &[f32; PANEL]| {
                std::array::from_fn::<f32, PANEL, _>(|lane| values[lane] + bias[lane])
            };
            let [mut found, mut expected] = [[0.0; PANEL]; 2];
            let sums = [sum(&gates, &biases[0]), sum(&ups, &biases[1])];
            gate(
                level,
                Activation::Gelu,
                [&gates, &ups],
                [&biases[0], &biases[1]],
                &mut found,
            );
            gate(
                level,
                Activation::Gelu,
                [&sums[0], &sums[1]],
                [&[], &[]],
                &mut expected,
            );
            assert_eq!(found, expected, "{level}");
            activate(level, Activation::Silu, &gates, &biases[0], &mut found);
            activate(level, Activation::Silu, &sums[0], &[], &mut expected);
            assert_eq!(found, expected, "{level}");
        }
    }

    /// The error function by its series, and where that is slow by its limit.
    fn erf(x: f64) -> f64 {
        if x.abs() > 5.0 {
            return x.signum();
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn definition(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        }
    }

    #[test]
    fn every_level_agrees_with_the_definitions() {
        for level in Level::available() {
            for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
                for step in -300..300 {
                    let start = f64::from(step) / 20.0;
                    let inputs: [f32; PANEL] =
                        std::array::from_fn(|lane| (start + lane as f64 / 700.0) as f32);
                    let mut found = [0.0; PANEL];
                    activate(level, activation, &inputs, &[], &mut found);
                    for (input, found) in inputs.iter().zip(found) {
                        let expected = definition(activation, f64::from(*input));
                        let distance = (f64::from(found) - expected).abs();
                        assert!(
                            distance <= 4e-7 * f64::from(input.abs()).max(1.0),
                            "{level} {activation:?} {input}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays() {
        for activation in [Activation::Silu, Activation::GeluTanh, Activation::Gelu] {
            let mut values = [0.0; PANEL];
            activate(
                Level::Portable,
                activation,
                &[f32::NAN; PANEL],
                &[],
                &mut values,
            );
            assert!(values.iter().all(|value| value.is_nan()), "{activation:?}");
        }
    }
}
