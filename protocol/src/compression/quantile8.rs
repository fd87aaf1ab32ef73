//! QUANTILE_8BIT (3): 256 buckets that hold about as many elements each.
//!
//! Layout and decoding: [`super::codebook`]. The borders between the buckets are the quantiles
//! 1/256 … 255/256; a long tensor is cut into chunks and the quantiles are taken of the chunks'
//! quantiles, which spares sorting it whole. If a value is not finite, all unpack to NaN.

use super::{codebook, statistics};

/// Elements sorted at a time, as in the reference.
const CHUNK: usize = 100_000;

/// Packs `values`, which are not empty.
pub(super) fn encode(values: &[f32]) -> Vec<u8> {
    if !values.iter().all(|value| value.is_finite()) {
        return codebook::encode_not_finite(values.len());
    }
    let borders = borders(values);
    codebook::encode(values, |value| {
        let below = borders.partition_point(|&border| border < value);
        u8::try_from(below).unwrap_or(u8::MAX)
    })
}

/// The 255 inner borders, ascending.
fn borders(values: &[f32]) -> Vec<f32> {
    let mut borders = if values.len() <= CHUNK {
        quantiles(values.to_vec())
    } else {
        let chunks = values.len().div_ceil(CHUNK);
        let chunk = values.len().div_ceil(chunks);
        let of_chunks = values
            .chunks(chunk)
            .flat_map(|chunk| quantiles(chunk.to_vec()));
        quantiles(of_chunks.collect())
    };
    borders.pop();
    borders.remove(0);
    borders
}

/// The quantiles 0/256 … 256/256 of finite values, with linear interpolation between neighbours.
fn quantiles(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    let last = values.len().saturating_sub(1);
    let value = |rank: usize| values.get(rank.min(last)).copied().map_or(0.0, f64::from);
    (0..=codebook::ENTRIES)
        .map(|step| {
            let position = step.saturating_mul(last);
            let rank = position / codebook::ENTRIES;
            let beyond = (position % codebook::ENTRIES) as f64 / codebook::ENTRIES as f64;
            let (lower, upper) = (value(rank), value(rank.saturating_add(1)));
            statistics::narrow(lower + (upper - lower) * beyond)
        })
        .collect()
}
