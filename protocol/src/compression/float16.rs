//! FLOAT16 (2): each element as a 2-byte IEEE float.
//!
//! | offset | size      | field    | value                             |
//! |-------:|----------:|----------|-----------------------------------|
//! |      0 | numel × 2 | elements | f16, little-endian, within ±65504 |
//!
//! Infinities become ±65504; NaN stays NaN. Receivers cast to the tensor's `dtype`.
//!
//! Source: hivemind 1.1.12, `compression/floating.py`. Golden: `tensor.FLOAT16.*`.

use super::halves;
use super::layout::wrong_length;
use crate::error::DecodeError;

/// Largest finite 2-byte float.
pub(super) const F16_MAX: f32 = 65_504.0;

/// Length of the buffer for `numel` elements; `None` on overflow.
pub(super) fn longest(numel: usize) -> Option<usize> {
    numel.checked_mul(2)
}

/// Packs `values`.
pub(super) fn encode(values: &[f32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len().saturating_mul(2));
    halves::append_f16(values, |value| value.clamp(-F16_MAX, F16_MAX), &mut out);
    out
}

/// Unpacks `numel` values.
pub(super) fn decode(buffer: &[u8], numel: usize) -> Result<Vec<f32>, DecodeError> {
    if Some(buffer.len()) != longest(numel) {
        return Err(wrong_length(buffer.len(), numel));
    }
    let mut values = vec![0.0; numel];
    halves::read_f16(buffer, &mut values);
    Ok(values)
}
