//! Attention over the paged KV cache, with one arithmetic for prompts and for single tokens.
//!
//! Rows of one session that share a kv head, whatever their tokens, read each page of keys and values once. Pages start
//! at multiples of their length, so the running softmax of a token goes through the same tiles in the same order
//! however its prompt was cut, and its output is the same to the last bit.
//!
//! In reading order:
//! - `layout`, `store`, `round`: how keys and values lie in a page, and how new ones get there
//! - `page_memory`: where pages come from
//! - `tile`: what happens between a few rows and a page; `avx512`, `lanes`: the same in vectors and in plain code;
//!   `exponential`
//! - `task`: some rows over all their pages; `schedule`: which rows; `scratch`: what is kept between calls
//! - here: one call for one block and all rows of a step

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_widen;
mod exponential;
mod lanes;
mod layout;
mod page_memory;
mod round;
mod rows;
mod schedule;
mod scratch;
mod store;
mod task;
#[cfg(test)]
mod tests;
mod tile;

use std::sync::Arc;

pub(crate) use layout::{KvFormat, PAGE_TOKENS, PageLayout};
pub(crate) use page_memory::{PageMemory, map_pages};
pub(crate) use rows::StridedRows;
pub(crate) use scratch::AttentionScratch;
pub(crate) use store::{NewTokens, store_tokens};

use super::disjoint::Disjoint;
use super::level::Level;
use super::pool::Pool;
use tile::{ScoreRule, TileKernel};

/// What a block's attention is, the same for every call.
#[derive(Clone, Debug)]
pub(crate) struct AttentionShape {
    /// Query heads, a multiple of the kv heads; consecutive ones share a kv head.
    pub(crate) heads: usize,
    /// Key and value heads, and how they are stored.
    pub(crate) layout: PageLayout,
    /// What products of queries and keys are multiplied by.
    pub(crate) scale: f32,
    /// Tokens that a token sees, itself included; all before it if `None`.
    pub(crate) window: Option<usize>,
    /// A score `s` becomes `cap * tanh(s / cap)`.
    pub(crate) soft_cap: Option<f32>,
    /// For each query head, what is added to a score for each position from the query to the key (a negative number of
    /// positions). Added after the scale and the cap.
    pub(crate) alibi: Option<Arc<[f32]>>,
}

impl AttentionShape {
    fn heads_per_kv_head(&self) -> usize {
        self.heads / self.layout.kv_heads
    }

    /// First position that a token at `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window))
    }

    fn score_rule(&self) -> ScoreRule {
        // Scores are in units of ln 2, so that the exponential is a power of two.
        let log2_e = std::f32::consts::LOG2_E;
        let has_slopes = self.alibi.is_some();
        match self.soft_cap {
            None => ScoreRule {
                factor: self.scale * log2_e,
                cap: None,
                has_slopes,
            },
            Some(cap) => ScoreRule {
                factor: 2.0 * self.scale / cap * log2_e,
                cap: Some(cap * log2_e),
                has_slopes,
            },
        }
    }
}

/// Consecutive tokens of one batch row of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionRow {
    /// Position of the first token; its own keys and values, and those of the others, are in the cache already.
    pub(crate) position: usize,
    /// Row of the first token in queries and output.
    pub(crate) first_row: usize,
    /// Tokens, at least one.
    pub(crate) tokens: usize,
}

/// A page as attention reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageView<'a> {
    /// Keys and values in the order of [`PageLayout`].
    pub(crate) words: &'a [u32],
    /// Whether [`store_tokens`] has said so of all values in the page.
    pub(crate) is_finite: bool,
}

/// Finds the pages of a call's rows.
pub(crate) trait CachedPages: Sync {
    /// Page `index` of the call's row `row`, which holds positions from `index * PAGE_TOKENS` on.
    fn page(&self, row: usize, index: usize) -> PageView<'_>;
}

/// One block's attention for all rows of a step.
#[derive(Clone, Copy)]
pub(crate) struct AttentionCall<'a> {
    pub(crate) level: Level,
    pub(crate) shape: &'a AttentionShape,
    pub(crate) rows: &'a [AttentionRow],
    pub(crate) pages: &'a dyn CachedPages,
    /// `[total rows, heads * head_dim]`, positions applied, not scaled.
    pub(crate) queries: StridedRows<'a>,
}

impl std::fmt::Debug for AttentionCall<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AttentionCall")
            .field("level", &self.level)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl AttentionCall<'_> {
    /// # Panics
    /// If rows overlap or are not in the order of their `first_row`, or heads do not fit kv heads.
    fn check(&self, out: &[f32]) {
        let mut end = 0;
        for row in self.rows {
            assert!(
                row.first_row >= end && row.tokens > 0,
                "invariant: rows follow each other in the batch"
            );
            end = row.first_row + row.tokens;
        }
        let layout = &self.shape.layout;
        assert!(
            self.shape.heads.is_multiple_of(layout.kv_heads),
            "invariant: query heads share kv heads evenly"
        );
        assert!(
            end * self.shape.heads * layout.head_dim <= out.len(),
            "invariant: the output has all rows"
        );
    }
}

/// Computes the attention of all rows of a call.
///
/// - `out`: `[total rows, heads * head_dim]`; only the call's rows are written
///
/// # Panics
/// If the call's parts do not fit each other: rows that overlap or are out of order, slices that are too short.
pub(crate) fn attend(
    pool: &Pool,
    call: &AttentionCall<'_>,
    out: &mut [f32],
    scratch: &mut AttentionScratch,
) {
    call.check(out);
    assert!(
        scratch.threads() >= pool.threads(),
        "invariant: each thread has working memory"
    );
    let kernel = TileKernel::new(call.level, &call.shape.layout, call.shape.score_rule());
    schedule::plan(call.shape, call.rows, pool.threads(), &mut scratch.tasks);
    let (scratch, out) = (&*scratch, Disjoint::new(out));
    pool.run(scratch.tasks.len(), &|task, thread| {
        task::run(
            call,
            &kernel,
            scratch.tasks[task],
            out,
            &mut scratch.of_thread(thread),
        );
    });
}
