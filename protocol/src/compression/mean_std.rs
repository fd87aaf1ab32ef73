//! MEANSTD_16BIT (1): 2-byte floats, normalised row by row along the last axis.
//!
//! | offset        | size      | field    | value                                     |
//! |--------------:|----------:|----------|-------------------------------------------|
//! |             0 | numel × 2 | elements | f16: (x − mean) / std of the element's row |
//! |     numel × 2 |  rows × 4 | means    | f32                                       |
//! | … + rows × 4  |  rows × 4 | stds     | f32, at least 2⁻²³                        |
//!
//! All little-endian; rows = numel / last axis, a scalar is one row of one. A row with a value
//! that is not finite unpacks to NaN: its mean already is.
//!
//! Source: hivemind 1.1.12, `compression/floating.py`. Golden: `tensor.MEANSTD_16BIT.*`.

use super::float16::F16_MAX;
use super::layout::{take_f32, wrong_length};
use super::{halves, none, statistics};
use crate::error::DecodeError;

/// Smallest deviation on the wire, so that a constant row does not divide by zero: 2⁻²³.
const MIN_STD: f32 = f32::EPSILON;

/// Length of the buffer for `shape` of `numel` elements; `None` on overflow.
pub(super) fn longest(shape: &[usize], numel: usize) -> Option<usize> {
    let rows = match shape.split_last() {
        Some((_, outer)) => crate::tensor::element_count(outer)?,
        None => 1,
    };
    numel.checked_mul(2)?.checked_add(rows.checked_mul(8)?)
}

/// Packs `values`, whose last axis is `row` long; `row` divides their number and is not zero.
pub(super) fn encode(values: &[f32], row: usize) -> Vec<u8> {
    let rows = values.len().checked_div(row).unwrap_or(0);
    let mut out = Vec::with_capacity(
        values
            .len()
            .saturating_mul(2)
            .saturating_add(rows.saturating_mul(8)),
    );
    let mut means = Vec::with_capacity(rows);
    let mut stds = Vec::with_capacity(rows);
    for values in values.chunks_exact(row.max(1)) {
        let mean = statistics::mean(values);
        let squares = statistics::squared_deviation(values, mean);
        let std = statistics::root_mean(squares, values.len());
        // `max` would turn the NaN of a row that is not finite into a number.
        let std = if std < MIN_STD { MIN_STD } else { std };
        halves::append_f16(
            values,
            |value| ((value - mean) / std).clamp(-F16_MAX, F16_MAX),
            &mut out,
        );
        means.push(mean);
        stds.push(std);
    }
    out.extend_from_slice(&none::f32_bytes(&means));
    out.extend_from_slice(&none::f32_bytes(&stds));
    out
}

/// Unpacks `numel` values, whose last axis is `row` long; `row` divides `numel` and is not zero.
pub(super) fn decode(buffer: &[u8], numel: usize, row: usize) -> Result<Vec<f32>, DecodeError> {
    let rows = numel.checked_div(row).unwrap_or(0);
    let elements = numel
        .checked_mul(2)
        .and_then(|length| buffer.split_at_checked(length));
    let Some((elements, mut rest)) = elements else {
        return Err(wrong_length(buffer.len(), numel));
    };
    let means = take_f32(&mut rest, rows, "tensor means")?;
    let stds = take_f32(&mut rest, rows, "tensor deviations")?;
    if !rest.is_empty() {
        return Err(wrong_length(buffer.len(), numel));
    }
    let mut values = vec![0.0; numel];
    halves::read_f16(elements, &mut values);
    let statistics = means.as_chunks::<4>().0.iter().zip(stds.as_chunks::<4>().0);
    for (values, (&mean, &std)) in values.chunks_exact_mut(row.max(1)).zip(statistics) {
        let (mean, std) = (f32::from_le_bytes(mean), f32::from_le_bytes(std));
        for value in values {
            *value = *value * std + mean;
        }
    }
    Ok(values)
}
