//! `config.json` as written: transformers' field names and defaults.

use serde::Deserialize;

use super::raw_rope::{RawRope, RopeContext};
use super::{ConfigError, Family, ModelConfig};
use crate::dtype::SpanDType;

/// The fields that say what the rest means.
#[derive(Deserialize)]
pub(super) struct Named {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
}

impl Named {
    pub(super) fn family(&self) -> Result<Family, ConfigError> {
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
pub(super) struct RawConfig {
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
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    partial_rotary_factor: Option<f64>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    tie_word_embeddings: Option<bool>,
    torch_dtype: Option<String>,
    dtype: Option<String>,
}

impl RawConfig {
    /// Fills in the defaults of transformers' `LlamaConfig`.
    pub(super) fn into_llama(self) -> Result<ModelConfig, ConfigError> {
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
        let rope = RopeContext {
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
