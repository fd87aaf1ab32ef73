//! Root-mean-square norm.

use super::leveled::{leveled, multiply_add};

/// Partial sums that run side by side: enough to hide the latency of an addition.
const LANES: usize = 32;

/// `out = row / rms(row) * weight`, where `rms` is over the row.
///
/// - `row`, `weight`, `out`: `[hidden]`
#[inline(always)]
fn rms_norm_body<const FMA: bool>(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut sums = [0.0f32; LANES];
    let (lines, rest) = row.as_chunks::<LANES>();
    for line in lines {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<FMA>(line[lane], line[lane], sums[lane]);
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value * value;
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    let inverse = 1.0 / (sums[0] / row.len() as f32 + eps).sqrt();
    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * inverse * weight;
    }
}

leveled! {
    /// `out = row / sqrt(mean(row^2) + eps) * weight`; all of one length.
    pub(crate) fn rms_norm(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_norm_body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::rms_norm;
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
    }
}
