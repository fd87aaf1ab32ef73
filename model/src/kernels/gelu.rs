//! The gates of GEGLU and the activations of plain MLPs, branch-free so that they run in vectors.

use super::format::PANEL;
use super::level::Level;
use super::leveled::{leveled, multiply_add};
use super::silu::exp;
use crate::config::Activation;

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

#[inline(always)]
fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn gelu_tanh_body<const FMA: bool>(values: &mut [f32; PANEL]) {
    for value in values {
        *value = gelu_tanh::<FMA>(*value);
    }
}

#[inline(always)]
fn gelu_body<const FMA: bool>(values: &mut [f32; PANEL]) {
    for value in values {
        *value = gelu::<FMA>(*value);
    }
}

#[inline(always)]
fn silu_body<const FMA: bool>(values: &mut [f32; PANEL]) {
    for value in values {
        *value = silu::<FMA>(*value);
    }
}

leveled! {
    fn apply_gelu_tanh(values: &mut [f32; PANEL]) = gelu_tanh_body
}

leveled! {
    fn apply_gelu(values: &mut [f32; PANEL]) = gelu_body
}

leveled! {
    fn apply_silu(values: &mut [f32; PANEL]) = silu_body
}

/// Applies a function to each value.
pub(crate) fn activate(level: Level, activation: Activation, values: &mut [f32; PANEL]) {
    match activation {
        Activation::Silu => apply_silu(level, values),
        Activation::GeluTanh => apply_gelu_tanh(level, values),
        Activation::Gelu => apply_gelu(level, values),
    }
}

#[cfg(test)]
mod tests {
    use super::activate;
    use crate::config::Activation;
    use crate::kernels::format::PANEL;
    use crate::kernels::level::Level;

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
                    let mut found = inputs;
                    activate(level, activation, &mut found);
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
            let mut values = [f32::NAN; PANEL];
            activate(Level::Portable, activation, &mut values);
            assert!(values.iter().all(|value| value.is_nan()), "{activation:?}");
        }
    }
}
