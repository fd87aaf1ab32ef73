//! Blockwise8 implied (69): [`blockwise8`] without its counts and without its code, which both sides know.
//!
//! | offset | size  | field   | value                                                    |
//! |-------:|------:|---------|----------------------------------------------------------|
//! |      0 | a × 4 | absmax  | f32: largest magnitude of each block of 4096 elements; a = ⌈numel / 4096⌉ |
//! |  a × 4 | numel | indices | u8, any value: an index into the code that `blockwise8` sends |
//!
//! All little-endian. The decoded values are those of `blockwise8`, bit for bit. An extension: the reference would have
//! to know the number 69, so it goes only to peers that list `blockwise8-implied` (docs/wire.md §3).

use super::blockwise8::{self, BLOCK};
use super::dynamic_map::DYNAMIC_MAP;
use super::layout::{take_f32, wrong_length};
use super::none;
use crate::error::DecodeError;

/// Length of the buffer for `numel` elements; `None` on overflow.
pub(super) fn longest(numel: usize) -> Option<usize> {
    numel.checked_add(numel.div_ceil(BLOCK).checked_mul(4)?)
}

/// Packs `values`.
pub(super) fn encode(values: &[f32]) -> Vec<u8> {
    let scales = blockwise8::scales(values);
    let mut out = Vec::with_capacity(longest(values.len()).unwrap_or(0));
    out.extend_from_slice(&none::f32_bytes(&scales));
    blockwise8::put_indices(&mut out, values, &scales);
    out
}

/// Unpacks `numel` values.
pub(super) fn decode(buffer: &[u8], numel: usize) -> Result<Vec<f32>, DecodeError> {
    let mut indices = buffer;
    let scales = take_f32(&mut indices, numel.div_ceil(BLOCK), "block scales")?;
    if indices.len() != numel {
        return Err(wrong_length(buffer.len(), numel));
    }
    Ok(blockwise8::look_up_all(&DYNAMIC_MAP.code, indices, scales))
}
