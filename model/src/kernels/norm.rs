//! Norms over the last dimension.

use super::leveled::{leveled, multiply_add};

/// Partial sums that run side by side: enough to hide the latency of an addition.
const LANES: usize = 32;

/// The sum over a row of what `add` makes of a sum so far and a value.
#[inline(always)]
fn sum_of(row: &[f32], add: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (lines, rest) = row.as_chunks::<LANES>();
    for line in lines {
        for lane in 0..LANES {
            sums[lane] = add(sums[lane], line[lane]);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum = add(*sum, *value);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// `out = row / rms(row) * weight`, where `rms` is over the row.
///
/// - `row`, `weight`, `out`: `[hidden]`
#[inline(always)]
fn rms_norm_body<const FMA: bool>(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let squares = sum_of(row, |sum, value| multiply_add::<FMA>(value, value, sum));
    let inverse = 1.0 / (squares / row.len() as f32 + eps).sqrt();
    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * inverse * weight;
    }
}

/// `out = (row - mean(row)) / deviation(row) * weight + bias`.
///
/// - `row`, `weight`, `bias`, `out`: `[hidden]`
#[inline(always)]
fn layer_norm_body<const FMA: bool>(
    row: &[f32],
    [weight, bias]: [&[f32]; 2],
    eps: f32,
    out: &mut [f32],
) {
    let mean = sum_of(row, |sum, value| sum + value) / row.len() as f32;
    let squares = sum_of(row, |sum, value| {
        let distance = value - mean;
        multiply_add::<FMA>(distance, distance, sum)
    });
    let inverse = 1.0 / (squares / row.len() as f32 + eps).sqrt();
    for (((out, value), weight), bias) in out.iter_mut().zip(row).zip(weight).zip(bias) {
        *out = multiply_add::<FMA>((value - mean) * inverse, *weight, *bias);
    }
}

leveled! {
    /// `out = (row - mean(row)) / sqrt(variance(row) + eps) * weight + bias`; weight and bias, and all of one length.
    pub(crate) fn layer_norm(row: &[f32], vectors: [&[f32]; 2], eps: f32, out: &mut [f32]) = layer_norm_body
}

leveled! {
    /// `out = row / sqrt(mean(row^2) + eps) * weight`; all of one length.
    pub(crate) fn rms_norm(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_norm_body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{layer_norm, rms_norm};
    use crate::kernels::level::Level;

    proptest! {
        #[test]
        fn every_level_agrees_with_the_definition(row in prop::collection::vec(-10.0f32..10.0, 1..200)) {
            let weight: Vec<f32> = (0..row.len()).map(|i| 0.5 + (i % 7) as f32 / 7.0).collect();
            let square: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
            let rms = (square / row.len() as f64 + 1e-5).sqrt();
            for level in Level::available() {
                let mut out = vec![0.0; row.len()];
                rms_norm(level, &row, &weight, 1e-5, &mut out);
                for ((found, value), weight) in out.iter().zip(&row).zip(&weight) {
                    let expected = f64::from(*value) / rms * f64::from(*weight);
                    prop_assert!((f64::from(*found) - expected).abs() <= 2e-6 * expected.abs().max(1e-3));
                }
            }
        }

        #[test]
        fn every_level_agrees_with_the_definition_of_layer_norm(
            row in prop::collection::vec(-10.0f32..10.0, 2..200),
            shift in -5.0f32..5.0,
        ) {
            let row: Vec<f32> = row.iter().map(|value| value + shift).collect();
            let weight: Vec<f32> = (0..row.len()).map(|i| 0.5 + (i % 7) as f32 / 7.0).collect();
            let bias: Vec<f32> = (0..row.len()).map(|i| (i % 5) as f32 / 5.0 - 0.4).collect();
            let count = row.len() as f64;
            let mean = row.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
            let variance: f64 = row.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
            let deviation = (variance / count + 1e-5).sqrt();
            for level in Level::available() {
                let mut out = vec![0.0; row.len()];
                layer_norm(level, &row, [&weight, &bias], 1e-5, &mut out);
                for (i, found) in out.iter().enumerate() {
                    let normed = (f64::from(row[i]) - mean) / deviation;
                    let expected = normed * f64::from(weight[i]) + f64::from(bias[i]);
                    // The mean is of single precision: its error shows where the deviation is small.
                    let tolerance = 1e-5 * (1.0 + mean.abs() / deviation);
                    prop_assert!((f64::from(*found) - expected).abs() <= tolerance, "{level}: {found} {expected}");
                }
            }
        }
    }
}
