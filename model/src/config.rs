//! `config.json` of a checkpoint: which family a model is and how large its parts are.
//!
//! Read as transformers writes it, before version 5 (`rope_theta`, `rope_scaling`) and since
//! (`rope_parameters`).

mod error;
mod raw;
mod raw_rope;
mod rope;

pub use error::ConfigError;
pub use rope::{RopeConfig, RopeScaling};

use std::fmt;

use crate::dtype::SpanDType;
use raw::{Named, RawConfig};

/// Which implementation of a block a model needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// RMSNorm, RoPE, grouped-query attention, SwiGLU.
    Llama,
}

impl Family {
    /// Every supported family with the architecture name that checkpoints carry.
    pub const ARCHITECTURES: &'static [(&'static str, Self)] = &[("LlamaForCausalLM", Self::Llama)];

    /// The family's `model_type` in `config.json`.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.model_type())
    }
}

/// What `config.json` says, checked: no size is zero and heads divide as they must.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Which implementation of a block the model needs.
    pub family: Family,
    /// Number of blocks of the whole model.
    pub num_blocks: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads per block.
    pub heads: usize,
    /// Key and value heads per block; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even, and not always `hidden / heads`.
    pub head_dim: usize,
    /// Inner width of the MLP.
    pub ffn: usize,
    /// Number of token ids.
    pub vocab: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f64,
    /// Context length that the model was made for, tokens.
    pub max_positions: usize,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// Whether the four attention projections have biases.
    pub attention_bias: bool,
    /// Whether the three MLP projections have biases.
    pub mlp_bias: bool,
    /// Whether the head is the embedding matrix.
    pub tied_head: bool,
    /// Type of the checkpoint by its own account, if it says so.
    pub dtype: Option<SpanDType>,
}

impl ModelConfig {
    /// Parses the text of `config.json`.
    ///
    /// # Errors
    /// [`ConfigError::UnsupportedArchitecture`] before anything else is looked at; then the first
    /// field that is missing, of the wrong type or out of range.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let named: Named = serde_json::from_str(text).map_err(ConfigError::malformed)?;
        let family = named.family()?;
        let raw: RawConfig = serde_json::from_str(text).map_err(ConfigError::malformed)?;
        let config = match family {
            Family::Llama => raw.into_llama()?,
        };
        config.check()?;
        Ok(config)
    }

    /// Query heads that share one key and value head.
    pub const fn heads_per_kv_head(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Weights of one block, in values.
    pub const fn values_per_block(&self) -> u64 {
        let (hidden, ffn) = (self.hidden as u64, self.ffn as u64);
        let query_width = (self.heads * self.head_dim) as u64;
        let key_width = (self.kv_heads * self.head_dim) as u64;
        let attention = 2 * hidden * (query_width + key_width);
        let attention_biases = if self.attention_bias {
            query_width + 2 * key_width + hidden
        } else {
            0
        };
        let mlp_biases = if self.mlp_bias { 2 * ffn + hidden } else { 0 };
        let norms = 2 * hidden;
        attention + attention_biases + 3 * hidden * ffn + mlp_biases + norms
    }

    fn check(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("num_hidden_layers", self.num_blocks),
            ("hidden_size", self.hidden),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.ffn),
            ("vocab_size", self.vocab),
            ("max_position_embeddings", self.max_positions),
        ];
        for (field, size) in sizes {
            if size == 0 || size > MAX_SIZE {
                return Err(ConfigError::invalid(
                    field,
                    format!("{size} is not in 1..={MAX_SIZE}"),
                ));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::invalid(
                "num_key_value_heads",
                format!("{} does not divide {} heads", self.kv_heads, self.heads),
            ));
        }
        if !self.head_dim.is_multiple_of(2) || self.head_dim < MIN_HEAD_DIM {
            return Err(ConfigError::invalid(
                "head_dim",
                format!(
                    "{} is not an even number from {MIN_HEAD_DIM}",
                    self.head_dim
                ),
            ));
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return Err(ConfigError::invalid(
                "rms_norm_eps",
                self.norm_eps.to_string(),
            ));
        }
        Ok(())
    }
}

/// Largest size of any dimension: no known model is near it, and products of two, in bytes and
/// times the number of blocks of a span, do not overflow.
const MAX_SIZE: usize = 1 << 24;

/// Smallest head: dynamic NTK scaling divides by `head_dim - 2`.
const MIN_HEAD_DIM: usize = 4;

#[cfg(test)]
mod tests;
