//! One tile of the online softmax: a few query rows meet the tokens of one page.
//!
//! For each row, with `m` the largest score so far: the scores of the tile; the new `m`; the exponentials of the scores
//! less `m`; what was summed before is rescaled to the new `m`; then the values are added, weighted. What a row goes
//! through does not depend on the rows beside it, nor on tiles that it does not see: rescaling by `2^0` and adding zero
//! change nothing. So a token's output is the same to the last bit however rows are grouped.
//!
//! A weight of zero does not silence a value that is infinite or not a number; see `task` for how that is kept out.

use super::lanes;
use super::layout::{LANES, PAGE_TOKENS, PageLayout};
#[cfg(target_arch = "x86_64")]
use super::{avx512, avx512_widen};
use crate::kernels::level::Level;

/// Rows that a kernel takes at most: with four vectors of scores each they fill the 32 registers of AVX-512.
pub(super) const MOST_ROWS: usize = 6;

/// The same for 16 registers, and what compilers still keep in them.
const MOST_ROWS_OF_PLAIN_CODE: usize = 4;

/// Largest score before any: low enough for every score to be larger, and finite, so that a difference of two of
/// them is 0 and not NaN.
pub(super) const LOWEST_MAXIMUM: f32 = -1e30;

/// What happens between the product of query and key and the exponential. Scores are in units of `ln 2`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScoreRule {
    /// What a product of query and key is multiplied by.
    pub(super) factor: f32,
    /// Then, if there is one, the score becomes `cap * (2^score - 1) / (2^score + 1)`, a hyperbolic tangent.
    pub(super) cap: Option<f32>,
    /// Then, if so, the row's slope times the distance in positions is added.
    pub(super) has_slopes: bool,
}

/// What one row sees of a tile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct View {
    /// First position seen, counted in the tile.
    pub(super) from: usize,
    /// End of the positions seen, at most [`PAGE_TOKENS`]; not above `from` if there are none.
    pub(super) to: usize,
    /// Added to a score for each position from the row to the key.
    pub(super) slope: f32,
    /// The tile's first position less the row's.
    pub(super) distance: f32,
}

impl View {
    pub(super) const fn is_empty(&self) -> bool {
        self.from >= self.to
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.from == 0 && self.to == PAGE_TOKENS
    }

    /// A bit for each position, set if the row sees it.
    pub(super) const fn mask(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        (u64::MAX >> (PAGE_TOKENS - self.to)) & (u64::MAX << self.from)
    }
}

/// Keys and values of one kv head in one page, as words of the products.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    /// `[key_steps, PAGE_TOKENS]`
    pub(super) keys: &'a [u32],
    /// `[value_steps, width]`
    pub(super) values: &'a [u32],
    /// `[PAGE_TOKENS]` bits of f32, or none.
    pub(super) key_scales: &'a [u32],
    /// `[PAGE_TOKENS]` bits of f32, or none.
    pub(super) value_scales: &'a [u32],
}

/// A few rows and what they have summed up so far.
#[derive(Debug)]
pub(super) struct RowGroup<'a> {
    /// `[rows, query_words]`
    pub(super) queries: &'a [u32],
    /// `[rows]`
    pub(super) views: &'a [View],
    /// Largest score so far, `[rows]`.
    pub(super) maxima: &'a mut [f32],
    /// Sum of the exponentials, `[rows, LANES]`; the lanes are summed in the end.
    pub(super) weights: &'a mut [f32],
    /// Sum of the weighted values, `[rows, width]`.
    pub(super) sums: &'a mut [f32],
}

/// Intermediate results of one group of rows at one tile.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct TileScratch {
    /// `[rows, PAGE_TOKENS]`; in plain code they become the probabilities.
    pub(super) scores: [f32; MOST_ROWS * PAGE_TOKENS],
    /// `[rows, value_steps]` words, with a stride of [`PAGE_TOKENS`]; not used in plain code.
    pub(super) probabilities: [u32; MOST_ROWS * PAGE_TOKENS],
    /// What the sums so far are multiplied by, `[rows]`.
    pub(super) rescales: [f32; MOST_ROWS],
}

impl TileScratch {
    pub(super) const fn new() -> Self {
        Self {
            scores: [0.0; MOST_ROWS * PAGE_TOKENS],
            probabilities: [0; MOST_ROWS * PAGE_TOKENS],
            rescales: [0.0; MOST_ROWS],
        }
    }
}

/// Everything about a tile's kernel but its operands.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileKernel {
    level: Level,
    pub(super) rule: ScoreRule,
    pub(super) is_paired: bool,
    pub(super) width: usize,
    pub(super) key_steps: usize,
    pub(super) value_steps: usize,
    /// Whether queries and probabilities are rounded to pairs, too; if not, they stay in single precision.
    pub(super) pairs_rows: bool,
    /// Words of a query.
    pub(super) query_words: usize,
}

impl TileKernel {
    pub(super) fn new(level: Level, layout: &PageLayout, rule: ScoreRule) -> Self {
        assert!(
            Level::available().contains(&level),
            "invariant: a level is used where it can run"
        );
        let pairs_rows = layout.is_paired() && matches!(level, Level::Amx | Level::Avx512);
        Self {
            level,
            rule,
            is_paired: layout.is_paired(),
            width: layout.width(),
            key_steps: layout.key_steps(),
            value_steps: layout.value_steps(),
            pairs_rows,
            query_words: if pairs_rows {
                layout.key_steps()
            } else {
                layout.width()
            },
        }
    }

    /// Rows that [`TileKernel::visit`] takes at most.
    pub(super) const fn most_rows(&self) -> usize {
        match self.level {
            Level::Amx | Level::Avx512 => MOST_ROWS,
            Level::Avx2 | Level::Portable => MOST_ROWS_OF_PLAIN_CODE,
        }
    }

    /// Lets a group of rows see a tile.
    ///
    /// # Panics
    /// If the operands do not have the sizes stated at their fields.
    pub(super) fn visit(
        &self,
        tile: &Tile<'_>,
        group: &mut RowGroup<'_>,
        scratch: &mut TileScratch,
    ) {
        self.check(tile, group);
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::Amx | Level::Avx512 => avx512::visit(self, tile, group, scratch),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => lanes::visit_avx2(self, tile, group, scratch),
            _ => lanes::visit_portable(self, tile, group, scratch),
        }
    }

    /// Widens 8-bit integers to pairs of bf16, twice as many words.
    pub(super) fn widen(&self, integers: &[u32], words: &mut [u32]) {
        assert_eq!(
            words.len(),
            2 * integers.len(),
            "invariant: a word of integers is two words of bf16"
        );
        match self.level {
            #[cfg(target_arch = "x86_64")]
            Level::Amx | Level::Avx512 => avx512_widen::widen(integers, words),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => lanes::widen_avx2(integers, words),
            _ => lanes::widen_portable(integers, words),
        }
    }

    fn check(&self, tile: &Tile<'_>, group: &RowGroup<'_>) {
        let rows = group.views.len();
        let scales = [tile.key_scales.len(), tile.value_scales.len()];
        let fits = rows <= self.most_rows()
            && group.views.iter().all(|view| view.to <= PAGE_TOKENS)
            && group.queries.len() == rows * self.query_words
            && group.maxima.len() == rows
            && group.weights.len() == rows * LANES
            && group.sums.len() == rows * self.width
            && tile.keys.len() == self.key_steps * PAGE_TOKENS
            && tile.values.len() == self.value_steps * self.width
            && (scales == [0, 0] || scales == [PAGE_TOKENS, PAGE_TOKENS]);
        assert!(
            fits,
            "invariant: operands have the sizes stated at their fields"
        );
    }
}

/// Value steps that any of the rows sees: the others have no weight.
pub(super) fn steps_seen(views: &[View], positions_per_step: usize) -> std::ops::Range<usize> {
    let seen = views.iter().filter(|view| !view.is_empty());
    let from = seen.clone().map(|view| view.from).min().unwrap_or(0);
    let to = seen.map(|view| view.to).max().unwrap_or(0);
    from / positions_per_step..to.div_ceil(positions_per_step)
}
