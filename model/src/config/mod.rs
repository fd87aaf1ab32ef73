//! `config.json` of a checkpoint: which family a model is and how large its parts are.
//!
//! Read as transformers writes it, before version 5 (`rope_theta`, `rope_scaling`) and since
//! (`rope_parameters`).

mod rope;

pub use rope::{RopeConfig, RopeScaling};

use std::fmt;

use serde::Deserialize;
use thiserror::Error;

use crate::dtype::SpanDType;

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

/// What is wrong with a `config.json`. The model's publisher must act, or the operator must
/// choose another model.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not JSON, or a field is missing or of another type.
    #[error("cannot be read: {0}")]
    Malformed(#[source] serde_json::Error),
    /// A family that is not implemented.
    #[error("architecture {found} is not supported; supported: {supported}")]
    UnsupportedArchitecture {
        /// What the file names.
        found: String,
        /// All that would work, separated by commas.
        supported: String,
    },
    /// A field whose value makes no sense or is not implemented.
    #[error("{field}: {reason}")]
    Invalid {
        /// Name of the field as written in the file.
        field: &'static str,
        /// Value and accepted range.
        reason: String,
    },
}

impl ConfigError {
    fn malformed(error: serde_json::Error) -> Self {
        Self::Malformed(error)
    }

    fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }
}

/// The fields that say what the rest means.
#[derive(Deserialize)]
struct Named {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
}

impl Named {
    fn family(&self) -> Result<Family, ConfigError> {
        let architecture = self.architectures.iter().flatten().next();
        let known = Family::ARCHITECTURES.iter().find(|(name, family)| {
            match (architecture, &self.model_type) {
                (Some(architecture), _) => architecture == name,
                (None, Some(model_type)) => model_type == family.model_type(),
                (None, None) => false,
            }
        });
        if let Some((_, family)) = known {
            return Ok(*family);
        }
        let names: Vec<_> = Family::ARCHITECTURES
            .iter()
            .map(|(name, _)| *name)
            .collect();
        let found = architecture.or(self.model_type.as_ref());
        Err(ConfigError::UnsupportedArchitecture {
            found: found.map_or_else(|| "(none named)".to_owned(), |name| format!("{name:?}")),
            supported: names.join(", "),
        })
    }
}

/// `config.json` with transformers' names and defaults.
#[derive(Deserialize)]
struct RawConfig {
    num_hidden_layers: usize,
    hidden_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: usize,
    vocab_size: usize,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<usize>,
    original_max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
    rope_theta: Option<f64>,
    rope_scaling: Option<rope::RawRope>,
    rope_parameters: Option<rope::RawRope>,
    partial_rotary_factor: Option<f64>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    torch_dtype: Option<String>,
    dtype: Option<String>,
}

impl RawConfig {
    /// Fills in the defaults of transformers' `LlamaConfig`.
    fn into_llama(self) -> Result<ModelConfig, ConfigError> {
        let activation = self.hidden_act.as_deref().unwrap_or("silu");
        if activation != "silu" {
            return Err(ConfigError::invalid(
                "hidden_act",
                format!("{activation:?} is not supported; supported: silu"),
            ));
        }
        let max_positions = self.max_position_embeddings.unwrap_or(2048);
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None => self
                .hidden_size
                .checked_div(self.num_attention_heads)
                .unwrap_or(0),
        };
        let rope = rope::RopeContext {
            theta: self.rope_theta,
            partial: self.partial_rotary_factor,
            max_positions,
            original_max_positions: self.original_max_position_embeddings,
            head_dim,
        }
        .resolve(self.rope_parameters.or(self.rope_scaling))?;
        Ok(ModelConfig {
            family: Family::Llama,
            num_blocks: self.num_hidden_layers,
            hidden: self.hidden_size,
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim,
            ffn: self.intermediate_size,
            vocab: self.vocab_size,
            norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            max_positions,
            rope,
            attention_bias: self.attention_bias.unwrap_or(false),
            mlp_bias: self.mlp_bias.unwrap_or(false),
            tied_head: self.tie_word_embeddings.unwrap_or(false),
            dtype: self
                .dtype
                .or(self.torch_dtype)
                .and_then(|name| SpanDType::parse(&name)),
        })
    }
}

/// Largest size of any dimension: no known model is near it, and products of two cannot overflow.
const MAX_SIZE: usize = 1 << 28;

/// Smallest head: dynamic NTK scaling divides by `head_dim - 2`.
const MIN_HEAD_DIM: usize = 4;

#[cfg(test)]
mod tests;
