//! Gemma 3: Gemma 2 with norms on queries and keys instead of soft caps; most blocks have a window and a rotary base of
//! their own. Names as in transformers' `Gemma3ForCausalLM`.

use super::layout::{BlockLayout, NormKind};
use super::{gemma2, qwen3};
use crate::config::{ConfigError, Family, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    raw.num_attention_heads.get_or_insert(8);
    raw.num_key_value_heads.get_or_insert(4);
    raw.vocab_size.get_or_insert(262_208);
    raw.max_position_embeddings.get_or_insert(131_072);
    raw.sliding_window.get_or_insert(4096);
    raw.rope_theta.get_or_insert(1_000_000.0);
    if raw.rope_parameters.is_none() {
        raw.rope_local_base_freq.get_or_insert(10_000.0);
    }
    let mut config = gemma2::base(&mut raw, Family::Gemma3)?;
    let pattern = raw.sliding_window_pattern.unwrap_or(6).max(1);
    config.windows = raw.windows(|block| !(block + 1).is_multiple_of(pattern))?;
    config.attention_soft_cap = raw.attn_logit_softcapping;
    config.logit_soft_cap = raw.final_logit_softcapping;
    Ok(config)
}

pub(super) fn block(config: &ModelConfig, number: usize) -> BlockLayout {
    let mut block = gemma2::block(config, number);
    block.attention.head_norms = Some(qwen3::head_norms(config, number, NormKind::RmsPlusOne));
    block
}
