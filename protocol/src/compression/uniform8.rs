//! UNIFORM_8BIT (4): 256 evenly spaced buckets, three deviations to either side of the mean.
//!
//! Layout and decoding: [`super::codebook`]. The outermost buckets take everything beyond.
//! If a value is not finite, or their spread overflows, the whole tensor unpacks to NaN.

use super::{codebook, statistics};

/// Width of all buckets together, in standard deviations of the tensor.
const RANGE_IN_STDS: f32 = 6.0;

/// Adding and subtracting 1.5 × 2²³ rounds a small float to the nearest integer, ties to even.
const ROUNDER: f32 = 12_582_912.0;

/// Packs `values`, which are not empty.
pub(super) fn encode(values: &[f32]) -> Vec<u8> {
    let mean = statistics::mean(values);
    let squares = statistics::squared_deviation(values, mean);
    // Unbiased; one value alone has no deviation and shares the bucket in the middle.
    let std = statistics::root_mean(squares, values.len().saturating_sub(1).max(1));
    if !std.is_finite() {
        return codebook::encode_not_finite(values.len());
    }
    let scale = RANGE_IN_STDS * std / codebook::ENTRIES as f32;
    let per_scale = if scale.is_normal() { 1.0 / scale } else { 0.0 };
    codebook::encode(values, |value| {
        let steps = ((value - mean) * per_scale).clamp(-128.0, 127.0);
        byte((steps + ROUNDER - ROUNDER) + 128.0)
    })
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has clamped and rounded it to 0..=255"
)]
const fn byte(index: f32) -> u8 {
    index as u8
}
