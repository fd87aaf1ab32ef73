//! 32-bit floats to and from 2-byte ones, in little-endian bytes.
//!
//! Conversion goes through a small buffer on the stack: `half` converts slices with
//! the processor's own instructions where it has them, but not from or to bytes.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Floats converted at a time: 6 KiB of stack, and long enough to hide the set-up.
const STAGE: usize = 1024;

/// Appends each value as a 2-byte float, after `map`.
pub(super) fn append_f16(values: &[f32], map: impl Fn(f32) -> f32, out: &mut Vec<u8>) {
    let mut mapped = [0.0_f32; STAGE];
    let mut halves = [f16::ZERO; STAGE];
    let mut bytes = [[0_u8; 2]; STAGE];
    for values in values.chunks(STAGE) {
        for (slot, &value) in mapped.iter_mut().zip(values) {
            *slot = map(value);
        }
        halves.convert_from_f32_slice(&mapped);
        for (slot, half) in bytes.iter_mut().zip(&halves) {
            *slot = half.to_le_bytes();
        }
        out.extend_from_slice(
            bytes
                .as_flattened()
                .get(..values.len().saturating_mul(2))
                .unwrap_or_default(),
        );
    }
}

/// Fills `values` from as many 2-byte floats.
pub(super) fn read_f16(bytes: &[u8], values: &mut [f32]) {
    let (pairs, _) = bytes.as_chunks::<2>();
    let mut halves = [f16::ZERO; STAGE];
    for (pairs, values) in pairs.chunks(STAGE).zip(values.chunks_mut(STAGE)) {
        for (half, &pair) in halves.iter_mut().zip(pairs) {
            *half = f16::from_le_bytes(pair);
        }
        if let Some(halves) = halves.get(..values.len()) {
            halves.convert_to_f32_slice(values);
        }
    }
}

/// Rounds each value to the nearest 2-byte float.
pub(super) fn round_f16(values: &mut [f32]) {
    let mut halves = [f16::ZERO; STAGE];
    for values in values.chunks_mut(STAGE) {
        if let Some(halves) = halves.get_mut(..values.len()) {
            halves.convert_from_f32_slice(values);
            halves.convert_to_f32_slice(values);
        }
    }
}

/// The bytes of each value rounded to bfloat16.
pub(super) fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    let pairs: Vec<[u8; 2]> = values
        .iter()
        .map(|&value| bf16::from_f32(value).to_le_bytes())
        .collect();
    pairs.into_flattened()
}

/// The values of 2-byte raw bfloat16.
pub(super) fn read_bf16(bytes: &[u8]) -> Vec<f32> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs
        .iter()
        .map(|&pair| bf16::from_le_bytes(pair).to_f32())
        .collect()
}

/// Rounds each value to the nearest bfloat16.
pub(super) fn round_bf16(values: &mut [f32]) {
    for value in values {
        *value = bf16::from_f32(*value).to_f32();
    }
}
