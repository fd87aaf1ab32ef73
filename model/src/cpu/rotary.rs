//! Rotary position embedding of queries and keys in place.

use crate::config::RopeConfig;

/// Positions of the first table: enough for a chat, small for any head.
const FIRST_POSITIONS: usize = 512;

/// Cosines and sines of all positions so far asked for; it doubles when it grows.
#[derive(Debug)]
pub(super) struct RotaryTable {
    config: RopeConfig,
    half_dim: usize,
    head_dim: usize,
    positions: usize,
    cos: Vec<f32>, // [positions, half_dim]
    sin: Vec<f32>, // [positions, half_dim]
}

impl RotaryTable {
    /// An empty table.
    ///
    /// - `dims`: dimensions of each head that turn, from the first on
    /// - `head_dim`: all dimensions of a head
    pub(super) fn new(config: RopeConfig, dims: usize, head_dim: usize) -> Self {
        Self {
            config,
            half_dim: dims / 2,
            head_dim,
            positions: 0,
            cos: Vec::new(),
            sin: Vec::new(),
        }
    }

    /// Makes sure that positions below `end` are known.
    pub(super) fn prepare(&mut self, end: usize) {
        if end <= self.positions {
            return;
        }
        let positions = end.max(2 * self.positions).max(FIRST_POSITIONS);
        let (cos, sin) = self
            .config
            .cos_and_sin(self.half_dim, self.positions..positions);
        self.cos.extend(cos);
        self.sin.extend(sin);
        self.positions = positions;
    }

    /// Turns dimension `i` of each head with dimension `i + dims / 2`.
    ///
    /// - `heads`: `[heads * head_dim]` of the token at `position`, which is prepared
    pub(super) fn turn(&self, position: usize, heads: &mut [f32]) {
        let half = self.half_dim;
        let cos = &self.cos[position * half..(position + 1) * half];
        let sin = &self.sin[position * half..(position + 1) * half];
        for head in heads.chunks_exact_mut(self.head_dim) {
            let (first, second) = head[..2 * half].split_at_mut(half);
            for (((first, second), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                let (one, two) = (*first, *second);
                *first = one * cos - two * sin;
                *second = two * cos + one * sin;
            }
        }
    }
}
