//! Rotary position embedding: each pair of head dimensions turns by an angle that grows with the
//! position.
//!
//! Where a scaling depends on the length (dynamic NTK, LongRoPE), a token's angle follows from its
//! own position, as if the text ended with it. That is what transformers computes token by token;
//! in one pass over a long prompt it takes the prompt's whole length instead, which would make a
//! token's output depend on how the prompt was cut.

use std::f64::consts::TAU;

use candle_core::{D, DType, Device, Result, Tensor};

use crate::config::{RopeConfig, RopeScaling};

/// Cosines and sines of all positions so far asked for.
#[derive(Debug)]
pub(crate) struct RopeTable {
    config: RopeConfig,
    half_dim: usize,
    cos: Tensor, // [positions, 1, half_dim]
    sin: Tensor, // [positions, 1, half_dim]
}

/// Cosines and sines of the tokens of one call, the same for all its blocks.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    cos: Tensor, // [seq, 1, half_dim]
    sin: Tensor, // [seq, 1, half_dim]
}

impl RopeTable {
    /// An empty table.
    pub(crate) fn new(
        config: RopeConfig,
        head_dim: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let half_dim = head_dim / 2;
        let empty = Tensor::zeros((0, 1, half_dim), dtype, device)?;
        Ok(Self {
            config,
            half_dim,
            cos: empty.clone(),
            sin: empty,
        })
    }

    /// The rotation of `seq` tokens from `position` on.
    pub(crate) fn rotation(&mut self, position: usize, seq: usize) -> Result<Rotation> {
        let end = position + seq;
        let known = self.cos.dim(0)?;
        if end > known {
            self.grow(end.max(known * 2).max(FIRST_POSITIONS))?;
        }
        Ok(Rotation {
            cos: self.cos.narrow(0, position, seq)?,
            sin: self.sin.narrow(0, position, seq)?,
        })
    }

    fn grow(&mut self, positions: usize) -> Result<()> {
        let count = positions * self.half_dim;
        let mut cos = Vec::with_capacity(count);
        let mut sin = Vec::with_capacity(count);
        let scale = self.config.attention_factor() as f32;
        let mut frequencies = self.config.frequencies(self.half_dim, 0);
        for position in 0..positions {
            if self.config.changes_at(position) {
                frequencies = self.config.frequencies(self.half_dim, position);
            }
            for frequency in &frequencies {
                // In single precision, because that is how the models were trained.
                let angle = position as f32 * frequency;
                cos.push(angle.cos() * scale);
                sin.push(angle.sin() * scale);
            }
        }
        let shape = (positions, 1, self.half_dim);
        let (dtype, device) = (self.cos.dtype(), self.cos.device().clone());
        self.cos = Tensor::from_vec(cos, shape, &device)?.to_dtype(dtype)?;
        self.sin = Tensor::from_vec(sin, shape, &device)?.to_dtype(dtype)?;
        Ok(())
    }
}

impl Rotation {
    /// Turns dimension `i` of each head with dimension `i + head_dim / 2`.
    ///
    /// - `heads`, result: `[batch, seq, heads, head_dim]`
    pub(crate) fn apply(&self, heads: &Tensor) -> Result<Tensor> {
        let half_dim = self.cos.dim(D::Minus1)?;
        let first = heads.narrow(D::Minus1, 0, half_dim)?;
        let second = heads.narrow(D::Minus1, half_dim, half_dim)?;
        let turned_first = (first.broadcast_mul(&self.cos)? - second.broadcast_mul(&self.sin)?)?;
        let turned_second = (second.broadcast_mul(&self.cos)? + first.broadcast_mul(&self.sin)?)?;
        Tensor::cat(&[turned_first, turned_second], D::Minus1)
    }
}

impl RopeConfig {
    /// Radians per position of each pair of dimensions, for the token at `position`.
    fn frequencies(&self, half_dim: usize, position: usize) -> Vec<f32> {
        let length = position + 1;
        let theta = self.base(half_dim, length);
        let plain = (0..half_dim).map(|pair| theta.powf(-(pair as f64) / half_dim as f64));
        let scaled = plain.enumerate().map(|(pair, plain)| match &self.scaling {
            RopeScaling::Default | RopeScaling::DynamicNtk { .. } => plain,
            RopeScaling::Linear { factor } => plain / factor,
            RopeScaling::Yarn { factor, .. } => {
                let kept = self.yarn_kept(half_dim, pair);
                plain / factor * (1.0 - kept) + plain * kept
            }
            RopeScaling::Llama3 { factor, .. } => {
                let kept = self.llama3_kept(plain);
                plain / factor * (1.0 - kept) + plain * kept
            }
            RopeScaling::LongRope {
                short_factor,
                long_factor,
                original_positions,
                ..
            } => {
                let divisors = if length > *original_positions {
                    long_factor
                } else {
                    short_factor
                };
                plain / divisors[pair]
            }
        });
        scaled.map(|frequency| frequency as f32).collect()
    }

    /// The base of the frequencies for a text of `length` tokens.
    fn base(&self, half_dim: usize, length: usize) -> f64 {
        match &self.scaling {
            RopeScaling::DynamicNtk {
                factor,
                original_positions,
            } => {
                let head_dim = (2 * half_dim) as f64;
                let excess = length.max(*original_positions) as f64 / *original_positions as f64;
                let growth = factor * excess - (factor - 1.0);
                self.theta * growth.powf(head_dim / (head_dim - 2.0))
            }
            RopeScaling::Default
            | RopeScaling::Linear { .. }
            | RopeScaling::Yarn { .. }
            | RopeScaling::Llama3 { .. }
            | RopeScaling::LongRope { .. } => self.theta,
        }
    }

    /// YaRN: how much of a pair's own frequency is kept, 1 for the fastest, 0 for the slowest.
    fn yarn_kept(&self, half_dim: usize, pair: usize) -> f64 {
        let RopeScaling::Yarn {
            original_positions,
            beta_fast,
            beta_slow,
            truncate,
            ..
        } = &self.scaling
        else {
            return 1.0;
        };
        let head_dim = (2 * half_dim) as f64;
        // The (fractional) pair that turns `rotations` times over the original context.
        let pair_turning = |rotations: f64| {
            let wave = *original_positions as f64 / (rotations * TAU);
            head_dim * wave.ln() / (2.0 * self.theta.ln())
        };
        let (mut low, mut high) = (pair_turning(*beta_fast), pair_turning(*beta_slow));
        if *truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(head_dim - 1.0));
        if low == high {
            high += 0.001; // transformers' guard against dividing by zero
        }
        1.0 - ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// Llama 3.1: how much of a frequency is kept, 1 for short waves, 0 for long ones.
    fn llama3_kept(&self, frequency: f64) -> f64 {
        let RopeScaling::Llama3 {
            low_freq_factor,
            high_freq_factor,
            original_positions,
            ..
        } = &self.scaling
        else {
            return 1.0;
        };
        let turns = *original_positions as f64 * frequency / TAU;
        ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0)
    }

    /// Whether `position` has other frequencies than the one before.
    fn changes_at(&self, position: usize) -> bool {
        match &self.scaling {
            RopeScaling::DynamicNtk {
                original_positions, ..
            } => position >= *original_positions,
            RopeScaling::LongRope {
                original_positions, ..
            } => position == *original_positions,
            RopeScaling::Default
            | RopeScaling::Linear { .. }
            | RopeScaling::Yarn { .. }
            | RopeScaling::Llama3 { .. } => false,
        }
    }

    fn attention_factor(&self) -> f64 {
        match &self.scaling {
            RopeScaling::Yarn {
                attention_factor, ..
            }
            | RopeScaling::LongRope {
                attention_factor, ..
            } => *attention_factor,
            RopeScaling::Default
            | RopeScaling::Linear { .. }
            | RopeScaling::DynamicNtk { .. }
            | RopeScaling::Llama3 { .. } => 1.0,
        }
    }
}

/// Positions of the first table: enough for a chat, small for any head.
const FIRST_POSITIONS: usize = 512;

#[cfg(test)]
mod tests;
