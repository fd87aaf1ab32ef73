//! The tile kernel in plain code over arrays of lanes, which compilers turn into vectors of any width.

use std::ops::Range;

use super::exponential::{multiply_add, power_of_two};
use super::layout::{LANES, PAGE_TOKENS};
use super::round::{bf16_pair, high_half, low_half};
use super::tile::{RowGroup, ScoreRule, Tile, TileKernel, TileScratch, View, steps_seen};

type Lanes = [f32; LANES];

/// As [`TileKernel::visit`], with what every processor of this kind has.
pub(super) fn visit_portable(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    visit::<false>(kernel, tile, group, scratch);
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
        visit::<true>(kernel, tile, group, scratch);
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
fn visit<const FMA: bool>(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    match (kernel.is_paired, group.views.len()) {
        (true, 1) => visit_rows::<FMA, true, 1>(kernel, tile, group, scratch),
        (true, 2) => visit_rows::<FMA, true, 2>(kernel, tile, group, scratch),
        (true, 3) => visit_rows::<FMA, true, 3>(kernel, tile, group, scratch),
        (true, 4) => visit_rows::<FMA, true, 4>(kernel, tile, group, scratch),
        (false, 1) => visit_rows::<FMA, false, 1>(kernel, tile, group, scratch),
        (false, 2) => visit_rows::<FMA, false, 2>(kernel, tile, group, scratch),
        (false, 3) => visit_rows::<FMA, false, 3>(kernel, tile, group, scratch),
        (false, 4) => visit_rows::<FMA, false, 4>(kernel, tile, group, scratch),
        _ => {}
    }
}

#[inline(always)]
fn visit_rows<const FMA: bool, const PAIRED: bool, const R: usize>(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    let seen = steps_seen(group.views, 1);
    for vector in seen.start / LANES..seen.end.div_ceil(LANES) {
        let mut scores = [[0.0; LANES]; R];
        for (step, keys) in tile.keys.as_chunks::<PAGE_TOKENS>().0.iter().enumerate() {
            let keys = lanes_at(keys, vector * LANES);
            let queries = std::array::from_fn(|row| group.queries[row * kernel.key_steps + step]);
            add_products::<FMA, PAIRED, R>(&mut scores, keys, &queries);
        }
        for (row, scores) in scores.iter().enumerate() {
            scratch.scores[row * PAGE_TOKENS + vector * LANES..][..LANES].copy_from_slice(scores);
        }
    }
    for row in 0..R {
        soften::<FMA, PAIRED>(row, &kernel.rule, tile, group, scratch);
    }
    let steps = steps_seen(group.views, if PAIRED { 2 } else { 1 });
    for column in (0..kernel.width).step_by(LANES) {
        weigh::<FMA, PAIRED, R>(
            kernel.width,
            column,
            steps.clone(),
            tile.values,
            group.sums,
            scratch,
        );
    }
}

/// Adds one step's products: a vector of words with a word for each row.
#[inline(always)]
fn add_products<const FMA: bool, const PAIRED: bool, const R: usize>(
    sums: &mut [Lanes; R],
    words: &[u32; LANES],
    factors: &[u32; R],
) {
    if PAIRED {
        let low = words.map(low_half);
        let high = words.map(high_half);
        for (sums, factor) in sums.iter_mut().zip(factors) {
            let (low_factor, high_factor) = (low_half(*factor), high_half(*factor));
            for lane in 0..LANES {
                let sum = multiply_add::<FMA>(low[lane], low_factor, sums[lane]);
                sums[lane] = multiply_add::<FMA>(high[lane], high_factor, sum);
            }
        }
    } else {
        for (sums, factor) in sums.iter_mut().zip(factors) {
            for lane in 0..LANES {
                let product = f32::from_bits(words[lane]);
                sums[lane] = multiply_add::<FMA>(product, f32::from_bits(*factor), sums[lane]);
            }
        }
    }
}

/// A row's scores to probabilities; updates its largest score and its sum of exponentials.
#[inline(always)]
fn soften<const FMA: bool, const PAIRED: bool>(
    row: usize,
    rule: &ScoreRule,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    let view = &group.views[row];
    let scores = &mut scratch.scores[row * PAGE_TOKENS..][..PAGE_TOKENS];
    apply_rule::<FMA>(scores, rule, view, tile.key_scales);
    let mut highest = [f32::NEG_INFINITY; LANES];
    for (position, score) in scores.iter_mut().enumerate() {
        // Positions that are not seen may hold anything.
        *score = if view.from <= position && position < view.to {
            *score
        } else {
            f32::NEG_INFINITY
        };
        let lane = &mut highest[position % LANES];
        *lane = if *score > *lane { *score } else { *lane };
    }
    let before = group.maxima[row];
    let now = highest.iter().fold(before, |now, score| now.max(*score));
    group.maxima[row] = now;
    let rescale = power_of_two::<FMA>(before - now);
    scratch.rescales[row] = rescale;
    let mut sum = [0.0; LANES];
    for scores in scores.as_chunks_mut::<LANES>().0 {
        for lane in 0..LANES {
            scores[lane] = power_of_two::<FMA>(scores[lane] - now);
            sum[lane] += scores[lane];
        }
    }
    for (weight, sum) in group.weights[row * LANES..][..LANES].iter_mut().zip(sum) {
        *weight = multiply_add::<FMA>(*weight, rescale, sum);
    }
    if !tile.value_scales.is_empty() {
        for (position, (score, scale)) in scores.iter_mut().zip(tile.value_scales).enumerate() {
            let is_seen = view.from <= position && position < view.to;
            *score = if is_seen {
                *score * f32::from_bits(*scale)
            } else {
                0.0
            };
        }
    }
    let words = &mut scratch.probabilities[row * PAGE_TOKENS..][..PAGE_TOKENS];
    if PAIRED {
        for (word, [low, high]) in words.iter_mut().zip(scores.as_chunks::<2>().0) {
            *word = bf16_pair(*low, *high);
        }
    } else {
        for (word, score) in words.iter_mut().zip(scores) {
            *word = score.to_bits();
        }
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

/// Rescales the sums of a vector of columns and adds the weighted values.
#[inline(always)]
fn weigh<const FMA: bool, const PAIRED: bool, const R: usize>(
    width: usize,
    column: usize,
    steps: Range<usize>,
    values: &[u32],
    sums: &mut [f32],
    scratch: &TileScratch,
) {
    let mut totals = [[0.0; LANES]; R];
    for (row, totals) in totals.iter_mut().enumerate() {
        let before = &sums[row * width + column..][..LANES];
        for lane in 0..LANES {
            totals[lane] = before[lane] * scratch.rescales[row];
        }
    }
    for step in steps {
        let values = lanes_at(values, step * width + column);
        let probabilities =
            std::array::from_fn(|row| scratch.probabilities[row * PAGE_TOKENS + step]);
        add_products::<FMA, PAIRED, R>(&mut totals, values, &probabilities);
    }
    for (row, totals) in totals.iter().enumerate() {
        sums[row * width + column..][..LANES].copy_from_slice(totals);
    }
}

/// A vector of words.
#[inline(always)]
fn lanes_at(words: &[u32], start: usize) -> &[u32; LANES] {
    words[start..]
        .first_chunk()
        .expect("invariant: rows are whole vectors")
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
