//! A block whose output depends on every bit of its input and of its whole cache, so that a wrong cache always shows.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// Width of the hidden states: divides nothing evenly, so that shapes that are mixed up show, too.
pub(crate) const HIDDEN: usize = 24;

/// The caches of some blocks: for each block and row, one digest per token.
#[derive(Debug, Clone)]
pub(crate) struct Toy {
    blocks: Range<usize>,
    rows: Vec<Vec<Vec<u64>>>,
}

impl Toy {
    pub(crate) fn new(blocks: Range<usize>, batch: usize) -> Self {
        let rows = vec![vec![Vec::new(); batch]; blocks.len()];
        Self { blocks, rows }
    }

    pub(crate) fn position(&self) -> usize {
        let row = self.rows.first().and_then(|rows| rows.first());
        row.map_or(0, Vec::len)
    }

    pub(crate) fn cut(&mut self, position: usize) {
        for row in self.rows.iter_mut().flatten() {
            row.truncate(position);
        }
    }

    pub(crate) fn reorder(&mut self, order: &[usize]) {
        for rows in &mut self.rows {
            *rows = order.iter().map(|&row| rows[row].clone()).collect();
        }
    }

    /// `[batch, seq, HIDDEN]` through all blocks.
    pub(crate) fn step(&mut self, hidden: &[f32]) -> Vec<f32> {
        let mut hidden = hidden.to_vec();
        if hidden.is_empty() {
            return hidden;
        }
        for (block, rows) in self.blocks.clone().zip(&mut self.rows) {
            let batch = rows.len();
            let row_width = hidden.len() / batch;
            for (cache, tokens) in rows.iter_mut().zip(hidden.chunks_mut(row_width)) {
                for token in tokens.chunks_mut(HIDDEN) {
                    cache.push(digest(block, token));
                    let all = hash(&*cache);
                    for (index, value) in token.iter_mut().enumerate() {
                        *value = 0.5 * *value + 0.5 * unit(hash(&(all, index)));
                    }
                }
            }
        }
        hidden
    }
}

/// Numbers for test inputs, always the same for the same seed.
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    (0..count).map(|index| unit(hash(&(seed, index)))).collect()
}

fn digest(block: usize, token: &[f32]) -> u64 {
    let bits: Vec<u32> = token.iter().map(|value| value.to_bits()).collect();
    hash(&(block, bits))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// In -1..1.
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}
