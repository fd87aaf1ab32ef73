//! Rotary frequencies under every kind of scaling.
//!
//! Where a scaling depends on the length (dynamic NTK, LongRoPE), a token's angle follows from its
//! own position, as if the text ended with it. That is what transformers computes token by token;
//! in one pass over a long prompt it takes the prompt's whole length instead, which would make a
//! token's output depend on how the prompt was cut.

use std::f64::consts::TAU;
use std::ops::Range;

use crate::config::{RopeConfig, RopeScaling};

impl RopeConfig {
    /// Cosines and sines of the angles at some positions, `[positions, half_dim]` each.
    pub(crate) fn cos_and_sin(
        &self,
        half_dim: usize,
        positions: Range<usize>,
    ) -> (Vec<f32>, Vec<f32>) {
        let count = positions.len() * half_dim;
        let (mut cos, mut sin) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let scale = self.attention_factor() as f32;
        let mut frequencies = self.frequencies(half_dim, positions.start);
        for position in positions {
            if self.changes_at(position) {
                frequencies = self.frequencies(half_dim, position);
            }
            for frequency in &frequencies {
                // In single precision, because that is how the models were trained.
                let angle = position as f32 * frequency;
                cos.push(angle.cos() * scale);
                sin.push(angle.sin() * scale);
            }
        }
        (cos, sin)
    }

    /// Radians per position of each pair of dimensions, for the token at `position`.
    pub(crate) fn frequencies(&self, half_dim: usize, position: usize) -> Vec<f32> {
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
    pub(crate) fn changes_at(&self, position: usize) -> bool {
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
