//! Choices in which the families differ.

use super::RopeConfig;

/// How attention knows of positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Positions {
    /// Queries and keys turn with their positions.
    Rotary {
        /// Dimensions of each head that turn, from the first on; even.
        dims: usize,
        /// In blocks that see everything, and unless `sliding` says otherwise in all.
        full: RopeConfig,
        /// In blocks with a window.
        sliding: Option<RopeConfig>,
    },
    /// Scores fall with the distance, in each head by another slope (Press et al., 2021).
    Alibi {
        /// Added to a score for each position from the query back to the key, one for each head, negative of it.
        slopes: Vec<f64>,
    },
}

impl Positions {
    /// The slopes of ALiBi for a number of heads: powers of two, and for the heads beyond the last power of two those
    /// halfway between. `scale` multiplies all of them.
    pub(crate) fn alibi(heads: usize, scale: f64) -> Self {
        let whole = 1usize << heads.max(1).ilog2();
        let powers = |count: usize| {
            let base = 2f64.powf(-8.0 / count as f64);
            (1..=count).map(move |power| base.powi(power as i32))
        };
        let between = powers(2 * whole).step_by(2).take(heads - whole);
        Self::Alibi {
            slopes: powers(whole)
                .chain(between)
                .map(|slope| slope * scale)
                .collect(),
        }
    }
}

/// A non-linear function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU in its approximation by a hyperbolic tangent.
    GeluTanh,
    /// GELU by the error function.
    Gelu,
}

impl Activation {
    /// By its name in transformers' `ACT2FN`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "silu" | "swish" => Some(Self::Silu),
            "gelu_pytorch_tanh" | "gelu_new" | "gelu_fast" => Some(Self::GeluTanh),
            "gelu" => Some(Self::Gelu),
            _ => None,
        }
    }
}

/// What the MLP works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// The stream after attention, through a norm of its own.
    Sequential,
    /// The stream before attention, through attention's norm.
    ParallelSharedNorm,
    /// The stream before attention, through a norm of its own.
    ParallelTwoNorms,
}
