//! Blockwise8 implied (69): each row of the last axis as [`blockwise8`] packs it, without its counts and without its code,
//! which both sides know.
//!
//! | offset | size  | field   | value                                                    |
//! |-------:|------:|---------|----------------------------------------------------------|
//! |      0 | a × 4 | absmax  | f32: largest magnitude of each block: 4096 elements of a row, the last of each row shorter; a = rows × ⌈row / 4096⌉ |
//! |  a × 4 | numel | indices | u8, any value: an index into the code that `blockwise8` sends |
//!
//! All little-endian. The decoded values are those of `blockwise8` of every row by itself, bit for bit: a token's do not
//! depend on those sent with it, however a prompt is cut into steps. An extension: the reference would have to know the
//! number 69, so it goes only to peers that list `blockwise8-implied` (docs/wire.md §3).

use super::blockwise8::{self, BLOCK};
use super::dynamic_map::DYNAMIC_MAP;
use super::layout::{take_f32, wrong_length};
use super::none;
use crate::error::DecodeError;

/// Scales of `numel` elements in rows of `row`; `None` on overflow.
fn blocks(numel: usize, row: usize) -> Option<usize> {
    let rows = numel.checked_div(row).unwrap_or(0);
    rows.checked_mul(row.div_ceil(BLOCK))
}

/// Length of the buffer for `numel` elements in rows of `row`; `None` on overflow.
pub(super) fn longest(numel: usize, row: usize) -> Option<usize> {
    numel.checked_add(blocks(numel, row)?.checked_mul(4)?)
}

/// Packs `values`, rows of `row`.
pub(super) fn encode(values: &[f32], row: usize) -> Vec<u8> {
    let scales = blockwise8::scales(values, row);
    let mut out = Vec::with_capacity(longest(values.len(), row).unwrap_or(0));
    out.extend_from_slice(&none::f32_bytes(&scales));
    blockwise8::put_indices(&mut out, values, row, &scales);
    out
}

/// Unpacks `numel` values, rows of `row`.
pub(super) fn decode(buffer: &[u8], numel: usize, row: usize) -> Result<Vec<f32>, DecodeError> {
    let mut indices = buffer;
    let blocks = blocks(numel, row).unwrap_or(usize::MAX);
    let scales = take_f32(&mut indices, blocks, "block scales")?;
    if indices.len() != numel {
        return Err(wrong_length(buffer.len(), numel));
    }
    Ok(blockwise8::look_up_all(
        &DYNAMIC_MAP.code,
        indices,
        row,
        scales,
    ))
}
