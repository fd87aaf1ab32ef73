//! BLOCKWISE_8BIT (5): one byte per element, an index into a fixed code, scaled block by block.
//!
//! | offset | size  | field   | value                                               |
//! |-------:|------:|---------|-----------------------------------------------------|
//! |      0 |     8 | a       | i64: blocks of 4096 elements, the last one shorter   |
//! |      8 |     8 | c       | i64; we send 256 and accept 1 to 256                 |
//! |     16 | a × 4 | absmax  | f32: largest magnitude of each block                 |
//! |      … | c × 4 | code    | f32 in [-1, 1]; always unpack with this one          |
//! |      … | numel | indices | u8, each below c                                     |
//!
//! All little-endian; blocks run over the flat tensor, across its rows. A block with a value
//! that is not finite gets a NaN for its magnitude, and so unpacks to NaN.
//!
//! Source: hivemind 1.1.12, `compression/quantization.py`; bitsandbytes 0.45.5. Golden: `tensor.BLOCKWISE_8BIT.*`.

use super::codebook::{self, ENTRIES};
use super::dynamic_map::DYNAMIC_MAP;
use super::layout::{take_count, take_f32, wrong_length};
use super::none;
use crate::error::DecodeError;
use crate::limits::MAX_TENSOR_ELEMENTS;

/// Elements that share one scale.
pub(super) const BLOCK: usize = 4096;

/// Values that are compared at a time.
const LANES: usize = 16;

/// Bytes of the two counts.
const COUNT_BYTES: usize = 16;

/// Length of the longest buffer for `numel` elements; `None` on overflow.
pub(super) fn longest(numel: usize) -> Option<usize> {
    let scales = numel.div_ceil(BLOCK).max(1).checked_mul(4)?;
    let fixed = COUNT_BYTES.checked_add(ENTRIES.checked_mul(4)?)?;
    numel.checked_add(scales)?.checked_add(fixed)
}

/// Packs `values`.
pub(super) fn encode(values: &[f32]) -> Vec<u8> {
    let scales = scales(values, values.len());
    let mut out = Vec::with_capacity(longest(values.len()).unwrap_or(0));
    out.extend_from_slice(&(scales.len() as i64).to_le_bytes());
    out.extend_from_slice(&(ENTRIES as i64).to_le_bytes());
    out.extend_from_slice(&none::f32_bytes(&scales));
    out.extend_from_slice(&none::f32_bytes(&DYNAMIC_MAP.code));
    put_indices(&mut out, values, values.len(), &scales);
    out
}

/// What shares a scale: the blocks of each row of so many, the last one of a row shorter.
fn blocks<T>(values: &[T], row: usize) -> impl Iterator<Item = &[T]> {
    let rows = values.chunks(row.max(1));
    rows.flat_map(|row| row.chunks(BLOCK))
}

/// Largest magnitude of each block.
pub(super) fn scales(values: &[f32], row: usize) -> Vec<f32> {
    blocks(values, row).map(absmax).collect()
}

/// Appends the index of every value in the fixed code.
pub(super) fn put_indices(out: &mut Vec<u8>, values: &[f32], row: usize, scales: &[f32]) {
    let map = &*DYNAMIC_MAP;
    for (values, &scale) in blocks(values, row).zip(scales) {
        // A block of zeros has no scale to divide by.
        let divisor = if scale == 0.0 { 1.0 } else { scale };
        map.put_nearest(out, values, divisor);
    }
}

/// Unpacks `numel` values, which are not none.
pub(super) fn decode(buffer: &[u8], numel: usize) -> Result<Vec<f32>, DecodeError> {
    let mut rest = buffer;
    let blocks = take_count(
        &mut rest,
        "block count",
        MAX_TENSOR_ELEMENTS.div_ceil(BLOCK),
    )?;
    let entries = take_count(&mut rest, "code length", ENTRIES)?;
    if blocks != numel.div_ceil(BLOCK) {
        return Err(DecodeError::malformed(
            "block count",
            "does not fit the tensor's shape",
        ));
    }
    let scales = take_f32(&mut rest, blocks, "block scales")?;
    let code = take_f32(&mut rest, entries, "code")?;
    if rest.len() != numel {
        return Err(wrong_length(buffer.len(), numel));
    }
    let table = codebook::table(code, rest)?;
    Ok(look_up_all(&table, rest, numel, scales))
}

/// The values of `indices` in `table`, each times its block's scale; `scales` are f32, still as bytes.
pub(super) fn look_up_all(
    table: &[f32; ENTRIES],
    indices: &[u8],
    row: usize,
    scales: &[u8],
) -> Vec<f32> {
    let mut values = Vec::with_capacity(indices.len());
    for (indices, &scale) in blocks(indices, row).zip(scales.as_chunks::<4>().0) {
        let scale = f32::from_le_bytes(scale);
        values.extend(
            indices
                .iter()
                .map(|&index| codebook::look_up(table, index) * scale),
        );
    }
    values
}

/// Largest magnitude; NaN if a value is not finite.
fn absmax(values: &[f32]) -> f32 {
    let larger = |one: f32, other: f32| if other > one { other } else { one };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut largest = [0.0; LANES];
    // Stays zero unless a value is infinite or NaN, which a comparison passes over.
    let mut zero = [0.0; LANES];
    for chunk in chunks {
        for ((largest, zero), &value) in largest.iter_mut().zip(&mut zero).zip(chunk) {
            *largest = larger(*largest, value.abs());
            *zero += value * 0.0;
        }
    }
    let magnitude = rest.iter().map(|value| value.abs());
    let magnitude = magnitude.chain(largest).fold(0.0, larger);
    let zero: f32 = rest.iter().map(|value| value * 0.0).chain(zero).sum();
    if zero == 0.0 { magnitude } else { f32::NAN }
}
