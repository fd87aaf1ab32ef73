//! Gemma 2: norms before and after attention and MLP, soft caps, a window in every other block. Names as in
//! transformers' `Gemma2ForCausalLM`.

use super::layout::{BlockLayout, NormKind, NormLayout};
use super::llama;
use crate::config::{ConfigError, Family, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    let soft_caps = (
        raw.attn_logit_softcapping.or(Some(50.0)),
        raw.final_logit_softcapping.or(Some(30.0)),
    );
    raw.sliding_window.get_or_insert(4096);
    let mut config = base(&mut raw, Family::Gemma2)?;
    config.windows = raw.windows(|block| block.is_multiple_of(2))?;
    (config.attention_soft_cap, config.logit_soft_cap) = soft_caps;
    Ok(config)
}

/// What Gemma 2 and 3 have in common.
pub(super) fn base(raw: &mut RawConfig, family: Family) -> Result<ModelConfig, ConfigError> {
    raw.head_dim.get_or_insert(256);
    raw.tie_word_embeddings.get_or_insert(true);
    let mut config = raw.base(family)?;
    config.attention_bias = raw.attention_bias.unwrap_or(false);
    config.output_bias = config.attention_bias;
    config.attention_scale = raw.query_pre_attn_scalar.unwrap_or(256.0).powf(-0.5);
    let activation = raw.hidden_activation.as_deref();
    config.activation = raw.activation("hidden_activation", activation, "gelu_pytorch_tanh")?;
    config.embedding_scale = Some((config.hidden as f64).sqrt());
    Ok(config)
}

pub(super) fn block(config: &ModelConfig, number: usize) -> BlockLayout {
    let name = |part: &str| format!("model.layers.{number}.{part}");
    let norm = |part: &str| NormLayout::new(NormKind::RmsPlusOne, name(part), config.hidden);
    let mut block = llama::block(config, number);
    block.attention.norm = norm("input_layernorm");
    block.attention.post_norm = Some(norm("post_attention_layernorm"));
    block.mlp.norm = Some(norm("pre_feedforward_layernorm"));
    block.mlp.post_norm = Some(norm("post_feedforward_layernorm"));
    block
}
