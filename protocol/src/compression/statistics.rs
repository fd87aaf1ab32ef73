//! Sums over many values: in double precision, and in eight lanes so that they vectorise.

/// The float nearest to `value`; infinite beyond their range.
#[allow(
    clippy::cast_possible_truncation,
    reason = "rounding is what it is for"
)]
pub(super) const fn narrow(value: f64) -> f32 {
    value as f32
}

/// Mean of `values`, which are not empty; NaN or infinite if one of them is.
pub(super) fn mean(values: &[f32]) -> f32 {
    narrow(sum(values, f64::from) / values.len() as f64)
}

/// Square root of `squares / count`.
pub(super) fn root_mean(squares: f64, count: usize) -> f32 {
    narrow((squares / count as f64).sqrt())
}

/// Sum of the squared distances from `mean`.
pub(super) fn squared_deviation(values: &[f32], mean: f32) -> f64 {
    sum(values, |value| {
        let distance = f64::from(value - mean);
        distance * distance
    })
}

fn sum(values: &[f32], term: impl Fn(f32) -> f64) -> f64 {
    let (blocks, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0_f64; 8];
    for block in blocks {
        for (lane, &value) in lanes.iter_mut().zip(block) {
            *lane += term(value);
        }
    }
    let tail: f64 = rest.iter().map(|&value| term(value)).sum();
    lanes.iter().sum::<f64>() + tail
}
