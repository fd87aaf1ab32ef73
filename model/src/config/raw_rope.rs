//! Rotary position embedding as a checkpoint configures it, with transformers' defaults.
//!
//! Source: transformers v5, `modeling_rope_utils.py`; where older versions differ, said here.

use serde::Deserialize;

use super::{ConfigError, RopeConfig, RopeScaling};

/// `rope_scaling` (old spelling) or `rope_parameters` (v5), all kinds in one.
#[derive(Default, Deserialize)]
pub(crate) struct RawRope {
    rope_type: Option<String>,
    /// The first spelling of `rope_type`.
    #[serde(rename = "type")]
    old_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
}

/// `rope_parameters` (v5): one for all blocks, or one for each kind of attention.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum RawRopes {
    /// By the kind of attention.
    ByKind {
        full_attention: Box<RawRope>,
        sliding_attention: Box<RawRope>,
    },
    /// The same everywhere.
    One(Box<RawRope>),
}

impl RawRope {
    /// Share of a head's dimensions that turn, if the file says so here.
    pub(super) fn partial(&self) -> Option<f64> {
        self.partial_rotary_factor
    }
}

/// The fields beside the scaling that it depends on.
#[derive(Clone, Copy)]
pub(super) struct RopeContext {
    pub(super) theta: Option<f64>,
    pub(super) max_positions: usize,
    pub(super) original_max_positions: Option<usize>,
    /// Dimensions of a head that turn.
    pub(super) dims: usize,
}

impl RopeContext {
    pub(super) fn resolve(&self, raw: Option<RawRope>) -> Result<RopeConfig, ConfigError> {
        let raw = raw.unwrap_or_default();
        let theta = raw.rope_theta.or(self.theta).unwrap_or(DEFAULT_THETA);
        if !(theta.is_finite() && theta > 1.0) {
            return Err(invalid("rope_theta", format!("{theta} is not above 1")));
        }
        let kind = match (raw.rope_type.as_deref(), raw.old_type.as_deref()) {
            (Some(kind), _) | (None, Some(kind)) => kind,
            (None, None) if raw.factor.is_some() => {
                return Err(invalid("rope_type", "missing beside a factor"));
            }
            (None, None) => "default",
        };
        let scaling = match kind {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear {
                factor: self.factor(&raw)?,
            },
            // transformers measures against the model's own context here, not the original one.
            "dynamic" => RopeScaling::DynamicNtk {
                factor: self.factor(&raw)?,
                original_positions: self.max_positions,
            },
            "yarn" => self.yarn(&raw)?,
            "llama3" => self.llama3(&raw)?,
            "longrope" => self.longrope(raw)?,
            other => {
                return Err(invalid(
                    "rope_type",
                    format!("{other:?} is not supported; supported: {KINDS}"),
                ));
            }
        };
        Ok(RopeConfig { theta, scaling })
    }

    fn yarn(&self, raw: &RawRope) -> Result<RopeScaling, ConfigError> {
        let factor = self.factor_or_ratio(raw)?;
        let attention_factor = match (raw.attention_factor, raw.mscale, raw.mscale_all_dim) {
            (Some(given), _, _) => given,
            // A zero counts as absent, as in transformers.
            (None, Some(scale), Some(all_dim)) if scale != 0.0 && all_dim != 0.0 => {
                yarn_scale(factor, scale) / yarn_scale(factor, all_dim)
            }
            (None, _, _) => yarn_scale(factor, 1.0),
        };
        let beta =
            |value: Option<f64>, default| value.filter(|beta| *beta != 0.0).unwrap_or(default);
        Ok(RopeScaling::Yarn {
            factor,
            original_positions: self.original_positions(raw)?,
            beta_fast: positive("beta_fast", beta(raw.beta_fast, 32.0))?,
            beta_slow: positive("beta_slow", beta(raw.beta_slow, 1.0))?,
            attention_factor: positive("attention_factor", attention_factor)?,
            truncate: raw.truncate.unwrap_or(true),
        })
    }

    fn llama3(&self, raw: &RawRope) -> Result<RopeScaling, ConfigError> {
        let low_freq_factor = required("low_freq_factor", raw.low_freq_factor)?;
        let high_freq_factor = required("high_freq_factor", raw.high_freq_factor)?;
        if high_freq_factor <= low_freq_factor {
            return Err(invalid(
                "high_freq_factor",
                format!("{high_freq_factor} is not above low_freq_factor {low_freq_factor}"),
            ));
        }
        Ok(RopeScaling::Llama3 {
            factor: self.factor(raw)?,
            low_freq_factor,
            high_freq_factor,
            original_positions: self.original_positions(raw)?,
        })
    }

    fn longrope(&self, raw: RawRope) -> Result<RopeScaling, ConfigError> {
        let factor = self.factor_or_ratio(&raw)?;
        let original_positions = self.original_positions(&raw)?;
        let attention_factor = match raw.attention_factor {
            Some(given) => given,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / (original_positions as f64).ln()).sqrt(),
        };
        Ok(RopeScaling::LongRope {
            short_factor: self.divisors("short_factor", raw.short_factor)?,
            long_factor: self.divisors("long_factor", raw.long_factor)?,
            original_positions,
            attention_factor: positive("attention_factor", attention_factor)?,
        })
    }

    fn divisors(
        &self,
        field: &'static str,
        given: Option<Vec<f64>>,
    ) -> Result<Vec<f64>, ConfigError> {
        let given = given.ok_or_else(|| invalid(field, "missing"))?;
        if given.len() != self.dims / 2 {
            return Err(invalid(
                field,
                format!("{} values instead of {}", given.len(), self.dims / 2),
            ));
        }
        given
            .into_iter()
            .map(|divisor| positive(field, divisor))
            .collect()
    }

    fn factor(&self, raw: &RawRope) -> Result<f64, ConfigError> {
        required("factor", raw.factor)
    }

    /// The stretch, or if none is given the ratio of the two context lengths.
    ///
    /// transformers 4.5x takes the ratio even if both are given; v5 does as here. Published
    /// checkpoints mean the same by both.
    fn factor_or_ratio(&self, raw: &RawRope) -> Result<f64, ConfigError> {
        match raw.factor {
            Some(factor) => positive("factor", factor),
            None => Ok(self.max_positions as f64 / self.original_positions(raw)? as f64),
        }
    }

    fn original_positions(&self, raw: &RawRope) -> Result<usize, ConfigError> {
        // Beside the scaling it wins over inside, as in transformers: Phi-3 writes both.
        let original = self
            .original_max_positions
            .or(raw.original_max_position_embeddings)
            .unwrap_or(self.max_positions);
        if original < 2 {
            return Err(invalid(
                "original_max_position_embeddings",
                format!("{original} is below 2"),
            ));
        }
        Ok(original)
    }
}

/// YaRN's temperature for a stretch of `factor`.
fn yarn_scale(factor: f64, scale: f64) -> f64 {
    if factor <= 1.0 {
        1.0
    } else {
        0.1 * scale * factor.ln() + 1.0
    }
}

fn required(field: &'static str, value: Option<f64>) -> Result<f64, ConfigError> {
    positive(field, value.ok_or_else(|| invalid(field, "missing"))?)
}

fn positive(field: &'static str, value: f64) -> Result<f64, ConfigError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(invalid(field, format!("{value} is not a positive number")))
    }
}

fn invalid(field: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::invalid(field, reason)
}

/// transformers' default for Llama.
const DEFAULT_THETA: f64 = 10_000.0;

const KINDS: &str = "default, linear, dynamic, yarn, llama3, longrope";
