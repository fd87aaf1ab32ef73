//! Rotary position embedding, resolved: what a model computes with.

mod frequencies;

/// Rotary position embedding of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the geometric row of frequencies; above 1.
    pub theta: f64,
    /// How frequencies are changed for long contexts.
    pub scaling: RopeScaling,
}

/// A way to stretch rotary frequencies over a longer context than the model was first made for.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Every frequency divided by `factor`.
    Linear {
        /// Stretch of the context.
        factor: f64,
    },
    /// The base grows with the position beyond `original_positions`.
    DynamicNtk {
        /// Stretch of the context.
        factor: f64,
        /// Context length up to which nothing changes, tokens.
        original_positions: usize,
    },
    /// Low frequencies divided by `factor`, high ones kept, a linear ramp between.
    Yarn {
        /// Stretch of the context.
        factor: f64,
        /// Context length before stretching, tokens.
        original_positions: usize,
        /// Rotations over the original context above which a frequency is kept.
        beta_fast: f64,
        /// Rotations over the original context below which a frequency is divided.
        beta_slow: f64,
        /// Multiplies cosine and sine, and so the attention scores by its square.
        attention_factor: f64,
        /// Whether the ends of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
    /// Llama 3.1: long waves divided by `factor`, short ones kept, a smooth step between.
    Llama3 {
        /// Stretch of the context.
        factor: f64,
        /// Original context over the wave length above which a wave is divided.
        low_freq_factor: f64,
        /// Original context over the wave length below which a wave is kept.
        high_freq_factor: f64,
        /// Context length before stretching, tokens.
        original_positions: usize,
    },
    /// One divisor per frequency, another list beyond `original_positions`.
    LongRope {
        /// Divisors of the frequencies at positions within the original context.
        short_factor: Vec<f64>,
        /// Divisors of the frequencies at positions beyond it.
        long_factor: Vec<f64>,
        /// Context length before stretching, tokens.
        original_positions: usize,
        /// Multiplies cosine and sine, and so the attention scores by its square.
        attention_factor: f64,
    },
}
