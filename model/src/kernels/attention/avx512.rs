//! The tile kernel in 512-bit vectors; see `lanes` for the same in plain code.

#![allow(
    unsafe_code,
    reason = "vector instructions chosen at run time, on operands whose sizes are checked once"
)]

use std::arch::x86_64::*;
use std::mem::transmute;
use std::ops::Range;

use super::exponential::{COEFFICIENTS, LOWEST};
use super::layout::{LANES, PAGE_TOKENS};
use super::tile::{RowGroup, ScoreRule, Tile, TileKernel, TileScratch, View, steps_seen};

/// Vectors of a tile's scores.
const VECTORS: usize = PAGE_TOKENS / LANES;

/// As [`TileKernel::visit`], which has checked the operands.
pub(super) fn visit(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    macro_rules! by_rows {
        ($paired:literal: $($rows:literal),*) => {
            match group.views.len() {
                // SAFETY: `TileKernel::new` has seen that the processor has these instructions, and `TileKernel::check`
                // that the operands have the sizes stated at their fields, with so many rows.
                $($rows => unsafe { visit_rows::<$paired, $rows>(kernel, tile, group, scratch) },)*
                _ => {}
            }
        };
    }
    if kernel.is_paired {
        by_rows!(true: 1, 2, 3, 4, 5, 6);
    } else {
        by_rows!(false: 1, 2, 3, 4, 5, 6);
    }
}

/// # Safety
/// The operands have the sizes stated at their fields, with `R` rows.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn visit_rows<const PAIRED: bool, const R: usize>(
    kernel: &TileKernel,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    // SAFETY: `[R, key_steps]` queries meet `[key_steps, PAGE_TOKENS]` keys.
    unsafe { score::<PAIRED, R>(kernel.key_steps, group.queries, tile.keys, scratch) };
    for row in 0..R {
        // SAFETY: `row` is one of the `R` rows.
        unsafe { soften::<PAIRED>(row, &kernel.rule, tile, group, scratch) };
    }
    let steps = steps_seen(group.views, if PAIRED { 2 } else { 1 });
    let mut column = 0;
    while column < kernel.width {
        let vectors = (kernel.width - column) / LANES;
        // SAFETY: `steps` are below `value_steps`, and the columns are within `width`.
        column += LANES
            * unsafe {
                match vectors {
                    4.. => weigh::<PAIRED, R, 4>(
                        kernel.width,
                        column,
                        steps.clone(),
                        tile.values,
                        group.sums,
                        scratch,
                    ),
                    2..4 => weigh::<PAIRED, R, 2>(
                        kernel.width,
                        column,
                        steps.clone(),
                        tile.values,
                        group.sums,
                        scratch,
                    ),
                    _ => weigh::<PAIRED, R, 1>(
                        kernel.width,
                        column,
                        steps.clone(),
                        tile.values,
                        group.sums,
                        scratch,
                    ),
                }
            };
    }
}

/// Products of queries and keys, to `scratch.scores`.
///
/// # Safety
/// `queries` is `[R, steps]` and `keys` `[steps, PAGE_TOKENS]`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
unsafe fn score<const PAIRED: bool, const R: usize>(
    steps: usize,
    queries: &[u32],
    keys: &[u32],
    scratch: &mut TileScratch,
) {
    let mut scores = [[_mm512_setzero_ps(); VECTORS]; R];
    for step in 0..steps {
        let mut key = [_mm512_setzero_si512(); VECTORS];
        for (vector, key) in key.iter_mut().enumerate() {
            // SAFETY: in row `step` of `[steps, PAGE_TOKENS]`.
            *key = unsafe {
                _mm512_loadu_si512(
                    keys.as_ptr()
                        .add(step * PAGE_TOKENS + vector * LANES)
                        .cast(),
                )
            };
        }
        for (row, scores) in scores.iter_mut().enumerate() {
            // SAFETY: `row` is below `R`, `step` below `steps`.
            let query = _mm512_set1_epi32(
                unsafe { *queries.get_unchecked(row * steps + step) }.cast_signed(),
            );
            for (score, key) in scores.iter_mut().zip(key) {
                *score = multiply_add::<PAIRED>(*score, key, query);
            }
        }
    }
    for (row, scores) in scores.iter().enumerate() {
        for (vector, scores) in scores.iter().enumerate() {
            let place = &mut scratch.scores[row * PAGE_TOKENS + vector * LANES..][..LANES];
            // SAFETY: `place` has `LANES` numbers.
            unsafe { _mm512_storeu_ps(place.as_mut_ptr(), *scores) };
        }
    }
}

/// A row's scores to probabilities; updates its largest score and its sum of exponentials.
///
/// # Safety
/// `row` is a row of `group`, and the operands have the sizes stated at their fields.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
unsafe fn soften<const PAIRED: bool>(
    row: usize,
    rule: &ScoreRule,
    tile: &Tile<'_>,
    group: &mut RowGroup<'_>,
    scratch: &mut TileScratch,
) {
    // SAFETY: all have an element for each row.
    let (view, largest) = unsafe {
        (
            group.views.get_unchecked(row),
            group.maxima.get_unchecked_mut(row),
        )
    };
    // SAFETY: `[MOST_ROWS, PAGE_TOKENS]`.
    let mut scores = unsafe { load_vectors(scratch.scores.as_ptr().add(row * PAGE_TOKENS)) };
    // SAFETY: the scales are none or `PAGE_TOKENS`.
    unsafe { apply_rule(&mut scores, rule, view, tile.key_scales) };
    let mask = view.mask();
    if !view.is_whole() {
        let unseen = _mm512_set1_ps(f32::NEG_INFINITY);
        for (vector, scores) in scores.iter_mut().enumerate() {
            *scores = _mm512_mask_mov_ps(unseen, lanes_of(mask, vector), *scores);
        }
    }
    let highest = _mm512_max_ps(
        _mm512_max_ps(scores[0], scores[1]),
        _mm512_max_ps(scores[2], scores[3]),
    );
    let before = *largest;
    *largest = before.max(_mm512_reduce_max_ps(highest));
    let now = _mm512_set1_ps(*largest);
    let rescale = power_of_two(_mm512_sub_ps(_mm512_set1_ps(before), now));
    let mut powers = scores.map(|scores| power_of_two(_mm512_sub_ps(scores, now)));
    let sum = _mm512_add_ps(
        _mm512_add_ps(powers[0], powers[1]),
        _mm512_add_ps(powers[2], powers[3]),
    );
    // SAFETY: `[rows, LANES]`.
    let weights = unsafe { group.weights.as_mut_ptr().add(row * LANES) };
    // SAFETY: `LANES` numbers are there.
    unsafe {
        _mm512_storeu_ps(
            weights,
            _mm512_fmadd_ps(_mm512_loadu_ps(weights), rescale, sum),
        )
    };
    scratch.rescales[row] = _mm512_cvtss_f32(rescale);
    if !tile.value_scales.is_empty() {
        // SAFETY: `PAGE_TOKENS` scales are there.
        let scales = unsafe { load_vectors(tile.value_scales.as_ptr().cast()) };
        for (vector, power) in powers.iter_mut().enumerate() {
            // The scale of a position that is not seen may be anything.
            *power = _mm512_maskz_mul_ps(lanes_of(mask, vector), *power, scales[vector]);
        }
    }
    let words = &mut scratch.probabilities[row * PAGE_TOKENS..][..PAGE_TOKENS];
    for (vector, power) in powers.into_iter().enumerate() {
        if PAIRED {
            let words = &mut words[vector * LANES / 2..][..LANES / 2];
            // SAFETY: both are 256 bits, and `words` has as many; the order of the halves is that of the positions.
            unsafe {
                _mm256_storeu_si256(
                    words.as_mut_ptr().cast(),
                    transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(power)),
                )
            };
        } else {
            let words = &mut words[vector * LANES..][..LANES];
            // SAFETY: `LANES` words are there.
            unsafe { _mm512_storeu_ps(words.as_mut_ptr().cast(), power) };
        }
    }
}

/// From products to scores.
///
/// # Safety
/// `key_scales` are none or `PAGE_TOKENS`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
unsafe fn apply_rule(
    scores: &mut [__m512; VECTORS],
    rule: &ScoreRule,
    view: &View,
    key_scales: &[u32],
) {
    let factor = _mm512_set1_ps(rule.factor);
    for scores in &mut *scores {
        *scores = _mm512_mul_ps(*scores, factor);
    }
    if !key_scales.is_empty() {
        // SAFETY: `PAGE_TOKENS` scales are there.
        let scales = unsafe { load_vectors(key_scales.as_ptr().cast()) };
        for (scores, scales) in scores.iter_mut().zip(scales) {
            *scores = _mm512_mul_ps(*scores, scales);
        }
    }
    if let Some(cap) = rule.cap {
        let (one, cap) = (_mm512_set1_ps(1.0), _mm512_set1_ps(cap));
        for scores in &mut *scores {
            // In this order the minimum of a NaN is the NaN.
            let power = power_of_two(_mm512_min_ps(_mm512_set1_ps(126.0), *scores));
            let ratio = _mm512_div_ps(_mm512_sub_ps(power, one), _mm512_add_ps(power, one));
            *scores = _mm512_mul_ps(ratio, cap);
        }
    }
    if rule.has_slopes {
        let mut numbers = [0.0; LANES];
        for (lane, number) in numbers.iter_mut().enumerate() {
            *number = lane as f32 + view.distance;
        }
        // SAFETY: `LANES` numbers are there.
        let mut distance = unsafe { _mm512_loadu_ps(numbers.as_ptr()) };
        for scores in scores {
            *scores = _mm512_fmadd_ps(distance, _mm512_set1_ps(view.slope), *scores);
            distance = _mm512_add_ps(distance, _mm512_set1_ps(LANES as f32));
        }
    }
}

/// Rescales the sums of `C` vectors of columns and adds the weighted values; returns `C`.
///
/// # Safety
/// `values` is `[value_steps, width]` with `steps` inside it, `sums` is `[R, width]`, and `column` starts `C` vectors
/// within `width`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
unsafe fn weigh<const PAIRED: bool, const R: usize, const C: usize>(
    width: usize,
    column: usize,
    steps: Range<usize>,
    values: &[u32],
    sums: &mut [f32],
    scratch: &TileScratch,
) -> usize {
    let mut totals = [[_mm512_setzero_ps(); C]; R];
    for (row, totals) in totals.iter_mut().enumerate() {
        let rescale = _mm512_set1_ps(scratch.rescales[row]);
        for (vector, total) in totals.iter_mut().enumerate() {
            // SAFETY: row `row` of `[R, width]`, vector `vector` of `C`.
            let before = unsafe {
                _mm512_loadu_ps(sums.as_ptr().add(row * width + column + vector * LANES))
            };
            *total = _mm512_mul_ps(before, rescale);
        }
    }
    for step in steps {
        let mut value = [_mm512_setzero_si512(); C];
        for (vector, value) in value.iter_mut().enumerate() {
            // SAFETY: row `step` of `[value_steps, width]`, vector `vector` of `C`.
            *value = unsafe {
                _mm512_loadu_si512(
                    values
                        .as_ptr()
                        .add(step * width + column + vector * LANES)
                        .cast(),
                )
            };
        }
        for (row, totals) in totals.iter_mut().enumerate() {
            // SAFETY: `[MOST_ROWS, PAGE_TOKENS]`, and there are no more steps than tokens.
            let word = unsafe {
                *scratch
                    .probabilities
                    .get_unchecked(row * PAGE_TOKENS + step)
            };
            let probability = _mm512_set1_epi32(word.cast_signed());
            for (total, value) in totals.iter_mut().zip(value) {
                *total = multiply_add::<PAIRED>(*total, value, probability);
            }
        }
    }
    for (row, totals) in totals.iter().enumerate() {
        for (vector, total) in totals.iter().enumerate() {
            // SAFETY: as for the loads.
            unsafe {
                _mm512_storeu_ps(
                    sums.as_mut_ptr().add(row * width + column + vector * LANES),
                    *total,
                )
            };
        }
    }
    C
}

/// `sum + a * b` in each lane, of single precision or of pairs of bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
fn multiply_add<const PAIRED: bool>(sum: __m512, a: __m512i, b: __m512i) -> __m512 {
    if PAIRED {
        // SAFETY: 512 bits are given another name.
        let (a, b) = unsafe {
            (
                transmute::<__m512i, __m512bh>(a),
                transmute::<__m512i, __m512bh>(b),
            )
        };
        _mm512_dpbf16_ps(sum, a, b)
    } else {
        _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum)
    }
}

/// `2^x` for `x <= 127`, NaN for NaN; see `exponential`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
#[inline]
fn power_of_two(x: __m512) -> __m512 {
    // In this order the maximum of a NaN is the NaN.
    let x = _mm512_max_ps(_mm512_set1_ps(LOWEST), x);
    let rounded = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    let fraction = _mm512_sub_ps(x, rounded);
    let [c1, c2, c3, c4, c5] = COEFFICIENTS;
    let mut power = _mm512_fmadd_ps(_mm512_set1_ps(c5), fraction, _mm512_set1_ps(c4));
    for coefficient in [c3, c2, c1, 1.0] {
        power = _mm512_fmadd_ps(power, fraction, _mm512_set1_ps(coefficient));
    }
    _mm512_scalef_ps(power, rounded)
}

/// The mask's bits for one vector.
#[inline(always)]
fn lanes_of(mask: u64, vector: usize) -> __mmask16 {
    (mask >> (vector * LANES)) as __mmask16
}

/// # Safety
/// `numbers` points to `PAGE_TOKENS` numbers.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn load_vectors(numbers: *const f32) -> [__m512; VECTORS] {
    let mut vectors = [_mm512_setzero_ps(); VECTORS];
    for (vector, place) in vectors.iter_mut().enumerate() {
        // SAFETY: as the caller promises.
        *place = unsafe { _mm512_loadu_ps(numbers.add(vector * LANES)) };
    }
    vectors
}
