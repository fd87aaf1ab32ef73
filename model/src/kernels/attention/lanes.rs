//! The tile kernel in plain code over arrays of lanes, which compilers turn into vectors of any width.

use super::exponential::power_of_two;
use super::layout::{LANES, PAGE_TOKENS};
use super::tile::{RowGroup, ScoreRule, Tile, TileKernel, TileScratch, View, steps_seen};
use crate::kernels::leveled::multiply_add;
use crate::kernels::rounding::{high_half, low_half};

/// Lanes of a sum where vectors have 128 bits: those of four rows fill half of 16 registers.
const NARROW: usize = LANES / 2;

/// As [`TileKernel::visit`], with what every processor of this kind has.
pub(super) fn visit_portable(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    visit::<false, NARROW>(kernel, tile, group, scratch);
}

/// As [`TileKernel::visit`], with 256-bit vectors.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instructions chosen at run time")]
pub(super) fn visit_avx2(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    #[target_feature(enable = "avx2,fma")]
    fn with_avx2(
        kernel: &TileKernel,
        tile: &Tile<'_>,
        group: &mut RowGroup<'_>,
        scratch: &mut TileScratch,
    ) {
        visit::<true, LANES>(kernel, tile, group, scratch);
    }
    // SAFETY: `TileKernel::new` has seen that the processor has these instructions.
    unsafe { with_avx2(kernel, tile, group, scratch) }
}

/// As [`TileKernel::widen`], with what every processor of this kind has.
pub(super) fn widen_portable(integers: &[u32], words: &mut [u32]) {
    widen(integers, words);
}

/// As [`TileKernel::widen`], with 256-bit vectors.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "instructions chosen at run time")]
pub(super) fn widen_avx2(integers: &[u32], words: &mut [u32]) {
    #[target_feature(enable = "avx2,fma")]
    fn with_avx2(integers: &[u32], words: &mut [u32]) {
        widen(integers, words);
    }
    // SAFETY: `TileKernel::new` has seen that the processor has these instructions.
    unsafe { with_avx2(integers, words) }
}

#[inline(always)]
fn visit<const FMA: bool, const W: usize>(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    match (kernel.is_paired, group.views.len()) {
        (true, 1) => visit_rows::<FMA, 2, 1, W>(kernel, tile, group, scratch),
        (true, 2) => visit_rows::<FMA, 2, 2, W>(kernel, tile, group, scratch),
        (true, 3) => visit_rows::<FMA, 2, 3, W>(kernel, tile, group, scratch),
        (true, 4) => visit_rows::<FMA, 2, 4, W>(kernel, tile, group, scratch),
        (false, 1) => visit_rows::<FMA, 1, 1, W>(kernel, tile, group, scratch),
        (false, 2) => visit_rows::<FMA, 1, 2, W>(kernel, tile, group, scratch),
        (false, 3) => visit_rows::<FMA, 1, 3, W>(kernel, tile, group, scratch),
        (false, 4) => visit_rows::<FMA, 1, 4, W>(kernel, tile, group, scratch),
        _ => {}
    }
}

/// - `NUMBERS`: numbers per word; `R`: rows; `W`: lanes of a sum, as many as stay in registers
#[inline(always)]
fn visit_rows<const FMA: bool, const NUMBERS: usize, const R: usize, const W: usize>(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    let steps = kernel.key_steps;
    let queries = group.queries.as_chunks::<NUMBERS>().0;
    let queries: [_; R] = std::array::from_fn(|row| &queries[row * steps..][..steps]);
    let keys = &tile.keys.as_chunks::<PAGE_TOKENS>().0[..steps];
    let seen = steps_seen(group.views, 1);
    for part in seen.start / W..seen.end.div_ceil(W) {
        let mut scores = [[0.0; W]; R];
        for step in 0..steps {
            let factors = queries.map(|query| query[step].map(f32::from_bits));
            add_products::<FMA, NUMBERS, R, W>(
                &mut scores,
                words_at(&keys[step], part * W),
                &factors,
            );
        }
        for (row, scores) in scores.iter().enumerate() {
            scratch.scores[row * PAGE_TOKENS + part * W..][..W].copy_from_slice(scores);
        }
    }
    for row in 0..R {
        soften::<FMA>(row, &kernel.rule, tile, group, scratch);
    }
    let steps = steps_seen(group.views, NUMBERS);
    let probabilities = scratch.scores.as_chunks::<NUMBERS>().0;
    let probabilities: [_; R] =
        std::array::from_fn(|row| &probabilities[row * kernel.value_steps..][steps.clone()]);
    for (part, column) in (0..kernel.width).step_by(W).enumerate() {
        let mut totals = [[0.0; W]; R];
        for (row, totals) in totals.iter_mut().enumerate() {
            let before = &group.sums[row * kernel.width + column..][..W];
            for lane in 0..W {
                totals[lane] = before[lane] * scratch.rescales[row];
            }
        }
        let values = tile
            .values
            .as_chunks::<W>()
            .0
            .iter()
            .skip(steps.start * (kernel.width / W) + part);
        for (index, values) in values
            .step_by(kernel.width / W)
            .take(steps.len())
            .enumerate()
        {
            let factors = probabilities.map(|probabilities| probabilities[index]);
            add_products::<FMA, NUMBERS, R, W>(&mut totals, values, &factors);
        }
        for (row, totals) in totals.iter().enumerate() {
            group.sums[row * kernel.width + column..][..W].copy_from_slice(totals);
        }
    }
}

/// Adds one step's products: some lanes of words with the numbers of each row.
#[inline(always)]
fn add_products<const FMA: bool, const NUMBERS: usize, const R: usize, const W: usize>(
    sums: &mut [[f32; W]; R],
    words: &[u32; W],
    factors: &[[f32; NUMBERS]; R],
) {
    if NUMBERS == 2 {
        let low = words.map(low_half);
        let high = words.map(high_half);
        for (sums, factor) in sums.iter_mut().zip(factors) {
            for lane in 0..W {
                let sum = multiply_add::<FMA>(low[lane], factor[0], sums[lane]);
                sums[lane] = multiply_add::<FMA>(high[lane], factor[1], sum);
            }
        }
    } else {
        for (sums, factor) in sums.iter_mut().zip(factors) {
            for lane in 0..W {
                sums[lane] =
                    multiply_add::<FMA>(f32::from_bits(words[lane]), factor[0], sums[lane]);
            }
        }
    }
}

/// A row's scores to probabilities, in their place; updates its largest score and its sum of exponentials.
#[inline(always)]
fn soften<const FMA: bool>(
    row: usize,
    rule: &ScoreRule,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    let view = &group.views[row];
    let scores = &mut scratch.scores[row * PAGE_TOKENS..][..PAGE_TOKENS];
    apply_rule::<FMA>(scores, rule, view, tile.key_scales);
    if !view.is_whole() {
        // Positions that are not seen may hold anything.
        keep_seen(scores, view, f32::NEG_INFINITY);
    }
    let scores = scores.as_chunks_mut::<LANES>().0;
    let mut highest = [f32::NEG_INFINITY; LANES];
    for scores in &*scores {
        for lane in 0..LANES {
            highest[lane] = if scores[lane] > highest[lane] {
                scores[lane]
            } else {
                highest[lane]
            };
        }
    }
    let before = group.maxima[row];
    let now = highest.iter().fold(before, |now, score| now.max(*score));
    group.maxima[row] = now;
    let rescale = power_of_two::<FMA>(before - now);
    scratch.rescales[row] = rescale;
    let mut sum = [0.0; LANES];
    for scores in &mut *scores {
        for lane in 0..LANES {
            scores[lane] = power_of_two::<FMA>(scores[lane] - now);
            sum[lane] += scores[lane];
        }
    }
    for (weight, sum) in group.weights[row * LANES..][..LANES].iter_mut().zip(sum) {
        *weight = multiply_add::<FMA>(*weight, rescale, sum);
    }
    if !tile.value_scales.is_empty() {
        let scores = scores.as_flattened_mut();
        for (score, scale) in scores.iter_mut().zip(tile.value_scales) {
            *score *= f32::from_bits(*scale);
        }
        // So may the scales of positions that are not seen.
        keep_seen(scores, view, 0.0);
    }
}

/// Replaces what belongs to positions that are not seen.
#[inline(always)]
fn keep_seen(numbers: &mut [f32], view: &View, unseen: f32) {
    let (from, to) = (view.from as u32, view.to as u32);
    for (position, number) in (0u32..).zip(numbers) {
        let is_seen = (from <= position) & (position < to);
        *number = if is_seen { *number } else { unseen };
    }
}

/// From products to scores.
#[inline(always)]
fn apply_rule<const FMA: bool>(
    scores: &mut [f32],
    rule: &ScoreRule,
    view: &View,
    key_scales: &[u32],
) {
    for score in &mut *scores {
        *score *= rule.factor;
    }
    for (score, scale) in scores.iter_mut().zip(key_scales) {
        *score *= f32::from_bits(*scale);
    }
    if let Some(cap) = rule.cap {
        for score in &mut *scores {
            let power = power_of_two::<FMA>(if *score > 126.0 { 126.0 } else { *score });
            *score = (power - 1.0) / (power + 1.0) * cap;
        }
    }
    if rule.has_slopes {
        for (position, score) in scores.iter_mut().enumerate() {
            *score = multiply_add::<FMA>(position as f32 + view.distance, view.slope, *score);
        }
    }
}

/// Some lanes of words.
#[inline(always)]
fn words_at<const W: usize>(words: &[u32], start: usize) -> &[u32; W] {
    words[start..]
        .first_chunk()
        .expect("invariant: rows are whole parts")
}

#[inline(always)]
fn widen(integers: &[u32], words: &mut [u32]) {
    for (integers, words) in integers.iter().zip(words.as_chunks_mut::<2>().0) {
        let [a, b, c, d] = integers
            .to_le_bytes()
            .map(|byte| f32::from(byte.cast_signed()));
        // Integers of 8 bits are exact in bf16: the low half of their single precision is zero.
        *words = [
            a.to_bits() >> 16 | b.to_bits(),
            c.to_bits() >> 16 | d.to_bits(),
        ];
    }
}
