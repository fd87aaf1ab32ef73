//! How keys and values lie in a page of the KV cache.
//!
//! A page holds [`PAGE_TOKENS`] tokens of one batch row in one block, at positions from a multiple of [`PAGE_TOKENS`]
//! on. It is a run of 32-bit words; each kv head has a region of its own, and in it, one after the other (`width` is
//! `head_dim` rounded up to [`LANES`], the rest is zero; positions are counted within the page):
//!
//! | format | keys                                 | values                              | scales of both |
//! |--------|--------------------------------------|-------------------------------------|----------------|
//! | `F32`  | `[width][64 positions]` f32          | `[64 positions][width]` f32         |                |
//! | `Bf16` | `[width / 2][64 positions][2]` bf16  | `[64 positions / 2][width][2]` bf16 |                |
//! | `Int8` | the same order in bytes              | the same order in bytes             | `[64]` f32     |
//!
//! So a query's element (or pair) meets 64 keys in the lanes of four vectors, and a position's (or pair's)
//! probability meets its values: neither product needs a sum across lanes. One word is one *step* of one lane.

use std::ops::Range;

/// Tokens of a page, and of a tile of the online softmax: one visit rescales the running sums once.
pub(crate) const PAGE_TOKENS: usize = 64;

/// Lanes of 32 bits that all levels work in: one 512-bit vector.
pub(super) const LANES: usize = 16;

/// Number format of cached keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KvFormat {
    /// Single precision, for models that compute in it.
    F32,
    /// bf16; queries and probabilities are rounded to it, too.
    Bf16,
    /// 8-bit integers with one scale for each token, kv head, and keys or values; multiplied as bf16.
    Int8,
}

/// Size and order of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageLayout {
    /// Key and value heads.
    pub(crate) kv_heads: usize,
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Number format.
    pub(crate) format: KvFormat,
}

/// Words of one kv head's region, by part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadRegion {
    pub(super) keys: Range<usize>,
    pub(super) values: Range<usize>,
    /// Empty but for `Int8`.
    pub(super) key_scales: Range<usize>,
    /// Empty but for `Int8`.
    pub(super) value_scales: Range<usize>,
}

impl PageLayout {
    /// Words of 32 bits in a page.
    pub(crate) const fn words(&self) -> usize {
        self.kv_heads * self.head_words()
    }

    /// Bytes of a page.
    pub(crate) const fn bytes(&self) -> usize {
        self.words() * size_of::<u32>()
    }

    /// Bytes of a token's keys and values, rounded up.
    pub(crate) const fn bytes_per_token(&self) -> usize {
        self.bytes().div_ceil(PAGE_TOKENS)
    }

    /// Width of a head as stored.
    pub(super) const fn width(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Whether a word, as the products see it, holds two numbers of bf16.
    pub(super) const fn is_paired(&self) -> bool {
        matches!(self.format, KvFormat::Bf16 | KvFormat::Int8)
    }

    /// Words of a query.
    pub(super) const fn key_steps(&self) -> usize {
        self.width() / self.numbers_per_word()
    }

    /// Words of a row of probabilities.
    pub(super) const fn value_steps(&self) -> usize {
        PAGE_TOKENS / self.numbers_per_word()
    }

    /// Where a kv head's parts are in its page.
    pub(super) const fn region(&self, kv_head: usize) -> HeadRegion {
        let start = kv_head * self.head_words();
        let values = start + self.part_words();
        let key_scales = values + self.part_words();
        let value_scales = key_scales + self.scale_words();
        HeadRegion {
            keys: start..values,
            values: values..key_scales,
            key_scales: key_scales..value_scales,
            value_scales: value_scales..value_scales + self.scale_words(),
        }
    }

    const fn numbers_per_word(&self) -> usize {
        if self.is_paired() { 2 } else { 1 }
    }

    const fn head_words(&self) -> usize {
        2 * (self.part_words() + self.scale_words())
    }

    /// Words of one head's keys, or values.
    const fn part_words(&self) -> usize {
        let numbers = PAGE_TOKENS * self.width();
        match self.format {
            KvFormat::F32 => numbers,
            KvFormat::Bf16 => numbers / 2,
            KvFormat::Int8 => numbers / 4,
        }
    }

    const fn scale_words(&self) -> usize {
        match self.format {
            KvFormat::F32 | KvFormat::Bf16 => 0,
            KvFormat::Int8 => PAGE_TOKENS,
        }
    }
}
