//! Qwen3: Llama with a norm on each head of queries and keys. Names as in transformers' `Qwen3ForCausalLM`.

use super::layout::{BlockLayout, NormKind, NormLayout};
use super::{llama, qwen2};
use crate::config::{ConfigError, Family, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    raw.head_dim.get_or_insert(128);
    let mut config = raw.base(Family::Qwen3)?;
    config.attention_bias = raw.attention_bias.unwrap_or(false);
    config.output_bias = config.attention_bias;
    config.windows = qwen2::later_windows(&raw)?;
    Ok(config)
}

pub(super) fn block(config: &ModelConfig, number: usize) -> BlockLayout {
    let mut block = llama::block(config, number);
    block.attention.head_norms = Some(head_norms(config, number, NormKind::Rms));
    block
}

/// Norms of each head of the queries and of the keys.
pub(super) fn head_norms(config: &ModelConfig, number: usize, kind: NormKind) -> [NormLayout; 2] {
    let name = |part: &str| format!("model.layers.{number}.self_attn.{part}");
    ["q_norm", "k_norm"].map(|part| NormLayout::new(kind, name(part), config.head_dim))
}
