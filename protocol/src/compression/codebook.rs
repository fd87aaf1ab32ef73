//! What QUANTILE_8BIT and UNIFORM_8BIT share: one byte per element, an index into a table.
//!
//! | offset    | size  | field    | value                                       |
//! |----------:|------:|----------|---------------------------------------------|
//! |         0 |     8 | n        | i64; we send 256 and accept 1 to 256         |
//! |         8 | n × 4 | codebook | f32: mean of the elements with that index    |
//! | 8 + n × 4 | numel | indices  | u8, each below n                             |
//!
//! All little-endian. The two codecs differ only in how the sender draws the buckets.
//! We average the values themselves; Petals servers average them less the tensor's mean
//! under UNIFORM_8BIT, a defect that we do not copy.
//!
//! Source: hivemind 1.1.12, `compression/quantization.py`. Golden: `tensor.{QUANTILE,UNIFORM}_8BIT.*`.

use super::layout::{take_count, take_f32, wrong_length};
use super::{none, statistics};
use crate::error::DecodeError;

/// Entries of a codebook: as many as a byte tells apart.
pub(super) const ENTRIES: usize = 256;

/// Bytes of the codebook's length field.
const COUNT_BYTES: usize = 8;

/// Length of the longest buffer for `numel` elements; `None` on overflow.
pub(super) fn longest(numel: usize) -> Option<usize> {
    numel.checked_add(COUNT_BYTES.saturating_add(ENTRIES.saturating_mul(4)))
}

/// Packs `values`, each in the bucket that `bucket` says, with the average of every bucket.
pub(super) fn encode(values: &[f32], bucket: impl Fn(f32) -> u8) -> Vec<u8> {
    let indices: Vec<u8> = values.iter().map(|&value| bucket(value)).collect();
    join(&averages(values, &indices), &indices)
}

/// Packs `numel` values that are not all finite: there is no average, so all unpack to NaN.
pub(super) fn encode_not_finite(numel: usize) -> Vec<u8> {
    join(&[f32::NAN; ENTRIES], &vec![0; numel])
}

/// Unpacks `numel` values.
pub(super) fn decode(buffer: &[u8], numel: usize) -> Result<Vec<f32>, DecodeError> {
    let mut rest = buffer;
    let entries = take_count(&mut rest, "codebook length", ENTRIES)?;
    let codebook = take_f32(&mut rest, entries, "codebook")?;
    if rest.len() != numel {
        return Err(wrong_length(buffer.len(), numel));
    }
    let table = table(codebook, rest)?;
    Ok(rest.iter().map(|&index| look_up(&table, index)).collect())
}

/// The codebook widened to one entry per possible byte, with no index beyond its real end.
pub(super) fn table(codebook: &[u8], indices: &[u8]) -> Result<[f32; ENTRIES], DecodeError> {
    let (words, _) = codebook.as_chunks::<4>();
    let highest = indices.iter().fold(0, |highest, &index| index.max(highest));
    if usize::from(highest) >= words.len() {
        return Err(DecodeError::malformed(
            "tensor index",
            "beyond the codebook",
        ));
    }
    let mut table = [0.0; ENTRIES];
    for (entry, &word) in table.iter_mut().zip(words) {
        *entry = f32::from_le_bytes(word);
    }
    Ok(table)
}

/// The entry of `index`; a byte is always within the table, so the compiler drops the check.
pub(super) fn look_up(table: &[f32; ENTRIES], index: u8) -> f32 {
    table.get(usize::from(index)).copied().unwrap_or_default()
}

/// Mean of the values of every index; 0 where there is none.
fn averages(values: &[f32], indices: &[u8]) -> [f32; ENTRIES] {
    let mut buckets = [(0.0_f64, 0_u64); ENTRIES];
    for (&value, &index) in values.iter().zip(indices) {
        if let Some((sum, count)) = buckets.get_mut(usize::from(index)) {
            *sum += f64::from(value);
            *count = count.saturating_add(1);
        }
    }
    buckets.map(|(sum, count)| {
        if count == 0 {
            0.0
        } else {
            statistics::narrow(sum / count as f64)
        }
    })
}

fn join(codebook: &[f32; ENTRIES], indices: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(longest(indices.len()).unwrap_or(0));
    out.extend_from_slice(&(ENTRIES as i64).to_le_bytes());
    out.extend_from_slice(&none::f32_bytes(codebook));
    out.extend_from_slice(indices);
    out
}
