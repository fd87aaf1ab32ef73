//! Writing new tokens' keys and values into a page.

use std::ops::Range;

use super::layout::{KvFormat, LANES, PAGE_TOKENS, PageLayout};
use super::rows::StridedRows;
use crate::kernels::rounding::{bf16_bits, bf16_pair, nearest_integer};

/// Largest magnitude of an 8-bit number; -128 is not used, so that the range is symmetric.
const INT8_MAX: f32 = 127.0;

/// New tokens, row by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewTokens<'a> {
    /// `[.., kv_heads * head_dim]`, positions applied.
    pub(crate) keys: StridedRows<'a>,
    /// `[.., kv_heads * head_dim]`.
    pub(crate) values: StridedRows<'a>,
    /// Row of the first token.
    pub(crate) first_row: usize,
}

/// Writes tokens to the page's `slots` (positions within the page); says whether all values are finite as stored.
///
/// # Panics
/// If `page` is not one of `layout`, whose heads have an even width, `slots` pass its end or rows are missing.
pub(crate) fn store_tokens(
    layout: &PageLayout,
    page: &mut [u32],
    slots: Range<usize>,
    tokens: &NewTokens<'_>,
) -> bool {
    assert!(
        page.len() == layout.words()
            && slots.end <= PAGE_TOKENS
            && layout.head_dim.is_multiple_of(2),
        "invariant: tokens fit the page"
    );
    let mut is_finite = true;
    for kv_head in 0..layout.kv_heads {
        let head = Head {
            layout,
            tokens,
            first_slot: slots.start,
            start: kv_head * layout.head_dim,
        };
        let region = layout.region(kv_head);
        match layout.format {
            KvFormat::F32 => {
                head.store_keys(&mut page[region.keys], slots.clone());
                is_finite &= head.store_f32_values(&mut page[region.values], slots.clone());
            }
            KvFormat::Bf16 => {
                head.store_keys(&mut page[region.keys], slots.clone());
                is_finite &= head.store_bf16_values(&mut page[region.values], slots.clone());
            }
            // A value that is not finite makes its scale so, and scales are masked with their position.
            KvFormat::Int8 => {
                for slot in slots.clone() {
                    let scale = head.store_int8_key(&mut page[region.keys.clone()], slot);
                    page[region.key_scales.start + slot] = scale.to_bits();
                    let scale = head.store_int8_value(&mut page[region.values.clone()], slot);
                    page[region.value_scales.start + slot] = scale.to_bits();
                }
            }
        }
    }
    is_finite
}

/// One kv head of the new tokens.
struct Head<'a> {
    layout: &'a PageLayout,
    tokens: &'a NewTokens<'a>,
    first_slot: usize,
    /// First value of the head in a row.
    start: usize,
}

impl<'a> Head<'a> {
    fn key(&self, slot: usize) -> &'a [f32] {
        let row = self.tokens.first_row + slot - self.first_slot;
        self.tokens.keys.part(row, self.start, self.layout.head_dim)
    }

    fn value(&self, slot: usize) -> &'a [f32] {
        let row = self.tokens.first_row + slot - self.first_slot;
        self.tokens
            .values
            .part(row, self.start, self.layout.head_dim)
    }

    /// Transposes keys; a vector of positions at a time where there are so many.
    fn store_keys(&self, keys: &mut [u32], slots: Range<usize>) {
        let mut slot = slots.start;
        while slot + LANES <= slots.end {
            let rows: [&[f32]; LANES] = std::array::from_fn(|lane| self.key(slot + lane));
            if self.layout.is_paired() {
                let whole = self.layout.head_dim / 2;
                for (step, words) in keys.chunks_exact_mut(PAGE_TOKENS).take(whole).enumerate() {
                    let words = &mut words[slot..slot + LANES];
                    for (word, row) in words.iter_mut().zip(&rows) {
                        *word = bf16_pair(row[2 * step], row[2 * step + 1]);
                    }
                }
            } else {
                for (step, words) in keys
                    .chunks_exact_mut(PAGE_TOKENS)
                    .take(self.layout.head_dim)
                    .enumerate()
                {
                    let words = &mut words[slot..slot + LANES];
                    for (word, row) in words.iter_mut().zip(&rows) {
                        *word = row[step].to_bits();
                    }
                }
            }
            slot += LANES;
        }
        for slot in slot..slots.end {
            self.store_key(keys, slot);
        }
    }

    fn store_key(&self, keys: &mut [u32], slot: usize) {
        let key = self.key(slot);
        let words = keys[slot..].iter_mut().step_by(PAGE_TOKENS);
        if self.layout.is_paired() {
            for (word, pair) in words.zip(key.as_chunks::<2>().0) {
                *word = bf16_pair(pair[0], pair[1]);
            }
        } else {
            for (word, number) in words.zip(key) {
                *word = number.to_bits();
            }
        }
    }

    fn store_f32_values(&self, values: &mut [u32], slots: Range<usize>) -> bool {
        let mut largest = 0;
        for slot in slots {
            let words = &mut values[slot * self.layout.width()..];
            for (word, number) in words.iter_mut().zip(self.value(slot)) {
                *word = number.to_bits();
                largest = largest.max(*word & !SIGN);
            }
        }
        largest < f32::INFINITY.to_bits()
    }

    fn store_bf16_values(&self, values: &mut [u32], slots: Range<usize>) -> bool {
        let mut largest = 0;
        for slot in slots {
            let words = &mut values[slot / 2 * self.layout.width()..];
            // The other half belongs to the position before or after.
            let (kept, shift) = if slot % 2 == 0 {
                (0xffff_0000, 0)
            } else {
                (0x0000_ffff, 16)
            };
            for (word, number) in words.iter_mut().zip(self.value(slot)) {
                let bits = bf16_bits(*number);
                *word = (*word & kept) | (bits << shift);
                largest = largest.max((bits << 16) & !SIGN);
            }
        }
        largest < f32::INFINITY.to_bits()
    }

    /// Writes pairs of bytes, as half words with a stride.
    fn store_int8_key(&self, keys: &mut [u32], slot: usize) -> f32 {
        let key = self.key(slot);
        let scale = Int8Scale::of(key);
        let shift = slot % 2 * 16;
        let words = keys[slot / 2..].iter_mut().step_by(PAGE_TOKENS / 2);
        for (word, [low, high]) in words.zip(key.as_chunks::<2>().0) {
            let pair = scale.quantize(*low) | (scale.quantize(*high) << 8);
            *word = (*word & !(0xffff << shift)) | (pair << shift);
        }
        scale.step
    }

    /// Writes every second byte.
    fn store_int8_value(&self, values: &mut [u32], slot: usize) -> f32 {
        let value = self.value(slot);
        let scale = Int8Scale::of(value);
        let shift = slot % 2 * 8;
        let words = &mut values[slot / 2 * (self.layout.width() / 2)..];
        for (word, [low, high]) in words.iter_mut().zip(value.as_chunks::<2>().0) {
            let pair = scale.quantize(*low) | (scale.quantize(*high) << 16);
            *word = (*word & !(0x00ff_00ff << shift)) | (pair << shift);
        }
        scale.step
    }
}

const SIGN: u32 = 0x8000_0000;

/// How one head of one token becomes 8-bit integers.
struct Int8Scale {
    /// What one unit stands for; NaN if a number is not finite.
    step: f32,
    inverse: f32,
}

impl Int8Scale {
    fn of(numbers: &[f32]) -> Self {
        // As integers, magnitudes order like the numbers, and infinities and NaN come last.
        let largest = numbers
            .iter()
            .fold(0, |largest, number| largest.max(number.to_bits() & !SIGN));
        let largest = f32::from_bits(largest);
        if !largest.is_finite() {
            return Self {
                step: f32::NAN,
                inverse: 0.0,
            };
        }
        let step = largest / INT8_MAX;
        // The smallest numbers have no inverse and are as good as zero.
        let inverse = if step >= f32::MIN_POSITIVE {
            1.0 / step
        } else {
            0.0
        };
        Self { step, inverse }
    }

    /// The nearest integer, ties to even, in the low byte.
    #[inline(always)]
    fn quantize(&self, number: f32) -> u32 {
        // The sum is rounded to an integer, which its low bits hold. Where the inverse is rounded up, the product may
        // pass the largest integer by less than a half, so it is never more than that.
        nearest_integer(number * self.inverse).cast_unsigned() & 0xff
    }
}
