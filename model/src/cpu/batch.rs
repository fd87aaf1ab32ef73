//! The tokens of a call's rows as one matrix, and those of them that a block works on.

use std::ops::Range;

use super::cache::Caches;
use crate::kernels::attention::{AttentionRow, CachedPages, PageView};

/// Consecutive tokens of one batch row of one session.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// Number of its row in the call.
    pub(super) row: usize,
    /// Where its cache is.
    pub(super) slot: usize,
    /// Its batch row in that cache.
    pub(super) batch_row: usize,
    pub(super) blocks: Range<usize>,
    /// Position of its first token.
    pub(super) position: usize,
    /// Row of its first token in the residual stream.
    pub(super) first_row: usize,
    pub(super) tokens: usize,
}

impl Sequence {
    fn rows(&self) -> Range<usize> {
        self.first_row..self.first_row + self.tokens
    }
}

/// What a block works on: in a call whose rows have different blocks, not all of it.
#[derive(Debug, Default)]
pub(super) struct Active {
    /// Numbers of the sequences.
    pub(super) sequences: Vec<usize>,
    /// The same as attention takes them, rows counted among the active ones.
    pub(super) rows: Vec<AttentionRow>,
    /// Row in the residual stream of each active token.
    pub(super) stream_rows: Vec<usize>,
    /// Position of each active token.
    pub(super) positions: Vec<usize>,
}

impl Active {
    /// Takes the sequences that pass through `block`; says whether there are any.
    pub(super) fn select(&mut self, sequences: &[Sequence], block: usize) -> bool {
        let passing = |sequence: &Sequence| sequence.blocks.contains(&block);
        let chosen = sequences
            .iter()
            .enumerate()
            .filter(|(_, sequence)| passing(sequence));
        if chosen
            .clone()
            .map(|(number, _)| number)
            .eq(self.sequences.iter().copied())
        {
            return !self.sequences.is_empty();
        }
        self.clear();
        for (number, sequence) in chosen {
            self.rows.push(AttentionRow {
                position: sequence.position,
                first_row: self.stream_rows.len(),
                tokens: sequence.tokens,
            });
            self.sequences.push(number);
            self.stream_rows.extend(sequence.rows());
            self.positions
                .extend(sequence.position..sequence.position + sequence.tokens);
        }
        !self.sequences.is_empty()
    }

    /// Forgets the last call.
    pub(super) fn clear(&mut self) {
        self.sequences.clear();
        self.rows.clear();
        self.stream_rows.clear();
        self.positions.clear();
    }
}

/// The pages of a block's active sequences.
#[derive(Clone, Copy, Debug)]
pub(super) struct ActivePages<'a> {
    pub(super) caches: &'a Caches,
    pub(super) sequences: &'a [Sequence],
    pub(super) active: &'a [usize],
    pub(super) block: usize,
}

impl CachedPages for ActivePages<'_> {
    fn page(&self, row: usize, index: usize) -> PageView<'_> {
        let sequence = &self.sequences[self.active[row]];
        self.caches.get(sequence.slot).block(self.block)[sequence.batch_row].page(index)
    }
}
