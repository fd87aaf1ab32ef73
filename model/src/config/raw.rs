//! `config.json` as written: transformers' field names, of all families together.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::raw_rope::{RawRope, RawRopes, RopeContext};
use super::{
    Activation, ConfigError, Family, MAX_BLOCKS, MAX_SIZE, ModelConfig, Positions, Wiring,
    check_size,
};
use crate::dtype::SpanDType;

/// The fields that say what the rest means.
#[derive(Deserialize)]
pub(super) struct Named {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
    /// Where models that also see pictures keep what concerns the text.
    text_config: Option<Map<String, Value>>,
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

    /// All fields; what concerns the text wins over what concerns the whole, and a field's usual name over others.
    pub(super) fn into_raw(self, text: &str) -> Result<RawConfig, ConfigError> {
        let mut fields: Map<String, Value> =
            serde_json::from_str(text).map_err(ConfigError::malformed)?;
        let inner = self.text_config.into_iter().flatten();
        fields.extend(inner.filter(|(_, value)| !value.is_null()));
        for (other, usual) in OTHER_NAMES {
            if let Some(value) = fields.remove(other) {
                fields.entry(usual).or_insert(value);
            }
        }
        serde_json::from_value(Value::Object(fields)).map_err(ConfigError::malformed)
    }
}

/// Names that some families, or older files, have for a field.
const OTHER_NAMES: [(&str, &str); 6] = [
    ("n_layer", "num_hidden_layers"),
    ("n_embed", "hidden_size"),
    ("n_head", "num_attention_heads"),
    ("n_head_kv", "num_kv_heads"),
    ("num_local_experts", "num_experts"),
    ("_sliding_window_pattern", "sliding_window_pattern"),
];

/// `config.json` with transformers' names. Defaults are the families' affair.
#[derive(Deserialize)]
pub(crate) struct RawConfig {
    pub(crate) num_hidden_layers: usize,
    pub(crate) hidden_size: usize,
    pub(crate) num_attention_heads: Option<usize>,
    pub(crate) num_key_value_heads: Option<usize>,
    pub(crate) head_dim: Option<usize>,
    pub(crate) intermediate_size: Option<usize>,
    pub(crate) vocab_size: Option<usize>,
    pub(crate) rms_norm_eps: Option<f64>,
    pub(crate) layer_norm_epsilon: Option<f64>,
    pub(crate) max_position_embeddings: Option<usize>,
    pub(crate) original_max_position_embeddings: Option<usize>,
    pub(crate) hidden_act: Option<String>,
    pub(crate) hidden_activation: Option<String>,
    pub(crate) activation: Option<String>,
    pub(crate) rope_theta: Option<f64>,
    pub(crate) rope_local_base_freq: Option<f64>,
    pub(crate) rope_scaling: Option<RawRope>,
    pub(crate) rope_parameters: Option<RawRopes>,
    pub(crate) partial_rotary_factor: Option<f64>,
    pub(crate) attention_bias: Option<bool>,
    pub(crate) mlp_bias: Option<bool>,
    pub(crate) bias: Option<bool>,
    pub(crate) tie_word_embeddings: Option<bool>,
    pub(crate) sliding_window: Option<usize>,
    pub(crate) use_sliding_window: Option<bool>,
    pub(crate) max_window_layers: Option<usize>,
    pub(crate) sliding_window_pattern: Option<usize>,
    pub(crate) layer_types: Option<Vec<String>>,
    pub(crate) query_pre_attn_scalar: Option<f64>,
    pub(crate) attn_logit_softcapping: Option<f64>,
    pub(crate) final_logit_softcapping: Option<f64>,
    pub(crate) num_experts: Option<usize>,
    pub(crate) num_experts_per_tok: Option<usize>,
    pub(crate) norm_topk_prob: Option<bool>,
    pub(crate) decoder_sparse_step: Option<usize>,
    pub(crate) mlp_only_layers: Option<Vec<usize>>,
    pub(crate) moe_intermediate_size: Option<usize>,
    pub(crate) alibi: Option<bool>,
    pub(crate) multi_query: Option<bool>,
    pub(crate) new_decoder_architecture: Option<bool>,
    pub(crate) parallel_attn: Option<bool>,
    pub(crate) num_ln_in_parallel_attn: Option<usize>,
    pub(crate) num_kv_heads: Option<usize>,
    pub(crate) ffn_hidden_size: Option<usize>,
    pub(crate) apply_residual_connection_post_layernorm: Option<bool>,
    pub(crate) torch_dtype: Option<String>,
    pub(crate) dtype: Option<String>,
}

impl RawConfig {
    /// What all families have in common: full attention with rotary positions and no biases, SwiGLU, a head of its own.
    /// Families change it.
    ///
    /// # Errors
    /// A field that is missing, of the wrong type or not supported.
    pub(crate) fn base(&mut self, family: Family) -> Result<ModelConfig, ConfigError> {
        // As many windows and slopes are made as there are of these: not before they are known to be few enough.
        check_size("num_hidden_layers", self.num_hidden_layers, MAX_BLOCKS)?;
        let required = |field: &'static str, value: Option<usize>| {
            value.ok_or_else(|| ConfigError::invalid(field, "missing"))
        };
        let heads = required("num_attention_heads", self.num_attention_heads)?;
        check_size("num_attention_heads", heads, MAX_SIZE)?;
        let shared = self.hidden_size.checked_div(heads).unwrap_or(0);
        let head_dim = self.head_dim.unwrap_or(shared);
        let max_positions = self.max_position_embeddings.unwrap_or(2048);
        Ok(ModelConfig {
            family,
            num_blocks: self.num_hidden_layers,
            hidden: self.hidden_size,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head_dim,
            ffn: required("intermediate_size", self.intermediate_size)?,
            vocab: required("vocab_size", self.vocab_size)?,
            norm_eps: self.rms_norm_eps.unwrap_or(1e-6),
            max_positions,
            positions: self.rotary(head_dim, max_positions)?,
            windows: vec![None; self.num_hidden_layers],
            attention_scale: (head_dim as f64).powf(-0.5),
            attention_soft_cap: None,
            attention_bias: false,
            output_bias: false,
            mlp_bias: false,
            activation: self.activation("hidden_act", self.hidden_act.as_deref(), "silu")?,
            mixture: None,
            wiring: Wiring::Sequential,
            embedding_scale: None,
            logit_soft_cap: None,
            tied_head: self.tie_word_embeddings.unwrap_or(false),
            dtype: self
                .dtype
                .as_deref()
                .or(self.torch_dtype.as_deref())
                .and_then(SpanDType::parse),
        })
    }

    /// # Errors
    /// A name of no function that is supported.
    pub(crate) fn activation(
        &self,
        field: &'static str,
        name: Option<&str>,
        default: &str,
    ) -> Result<Activation, ConfigError> {
        let name = name.unwrap_or(default);
        Activation::parse(name).ok_or_else(|| {
            ConfigError::invalid(
                field,
                format!("{name:?} is not supported; supported: silu, gelu, gelu_pytorch_tanh"),
            )
        })
    }

    fn rotary(&mut self, head_dim: usize, max_positions: usize) -> Result<Positions, ConfigError> {
        let (full, sliding) = match self.rope_parameters.take() {
            None => (self.rope_scaling.take(), None),
            Some(RawRopes::One(rope)) => (Some(*rope), None),
            Some(RawRopes::ByKind {
                full_attention,
                sliding_attention,
            }) => (Some(*full_attention), Some(*sliding_attention)),
        };
        let partial = full
            .as_ref()
            .and_then(RawRope::partial)
            .or(self.partial_rotary_factor)
            .unwrap_or(1.0);
        if !(partial > 0.0 && partial <= 1.0) {
            return Err(ConfigError::invalid(
                "partial_rotary_factor",
                format!("{partial} is not above 0 and at most 1"),
            ));
        }
        let dims = (head_dim as f64 * partial) as usize;
        if dims < head_dim && (dims < 2 || !dims.is_multiple_of(2)) {
            return Err(ConfigError::invalid(
                "partial_rotary_factor",
                format!("{dims} dimensions of a head do not make pairs"),
            ));
        }
        let context = RopeContext {
            theta: self.rope_theta,
            max_positions,
            original_max_positions: self.original_max_position_embeddings,
            dims,
        };
        let local = self.rope_local_base_freq.map(|theta| RopeContext {
            theta: Some(theta),
            ..context
        });
        let sliding = match (sliding, local) {
            (Some(rope), _) => Some(context.resolve(Some(rope))?),
            (None, Some(local)) => Some(local.resolve(None)?),
            (None, None) => None,
        };
        Ok(Positions::Rotary {
            dims,
            full: context.resolve(full)?,
            sliding,
        })
    }

    /// The window of each block by `layer_types`, or where that is missing by `slides`.
    ///
    /// # Errors
    /// A list of another length, or a kind of attention that is none of the two.
    pub(crate) fn windows(
        &self,
        slides: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<usize>>, ConfigError> {
        let kinds = match &self.layer_types {
            Some(kinds) if kinds.len() == self.num_hidden_layers => Some(kinds),
            Some(kinds) => {
                return Err(ConfigError::invalid(
                    "layer_types",
                    format!(
                        "{} entries instead of {}",
                        kinds.len(),
                        self.num_hidden_layers
                    ),
                ));
            }
            None => None,
        };
        (0..self.num_hidden_layers)
            .map(|block| {
                let is_sliding = match kinds.map(|kinds| kinds[block].as_str()) {
                    None => slides(block),
                    Some("sliding_attention") => true,
                    Some("full_attention") => false,
                    Some(other) => {
                        return Err(ConfigError::invalid(
                            "layer_types",
                            format!(
                                "{other:?} is not supported; supported: full_attention, sliding_attention"
                            ),
                        ));
                    }
                };
                Ok(self.sliding_window.filter(|_| is_sliding))
            })
            .collect()
    }
}
