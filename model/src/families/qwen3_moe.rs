//! Qwen3-MoE: Qwen3 with many small experts. Names as in transformers' `Qwen3MoeForCausalLM`.

use super::layout::{BlockLayout, MlpBody, Part};
use super::{llama, qwen2, qwen3};
use crate::config::{ConfigError, Family, MixtureConfig, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    raw.num_key_value_heads.get_or_insert(4);
    let mut config = raw.base(Family::Qwen3Moe)?;
    config.attention_bias = raw.attention_bias.unwrap_or(false);
    config.output_bias = config.attention_bias;
    config.windows = qwen2::later_windows(&raw)?;
    config.mixture = Some(MixtureConfig {
        experts: raw.num_experts.unwrap_or(128),
        chosen: raw.num_experts_per_tok.unwrap_or(8),
        is_renormalized: raw.norm_topk_prob.unwrap_or(false),
        every: raw.decoder_sparse_step.unwrap_or(1),
        dense_blocks: raw.mlp_only_layers.take().unwrap_or_default(),
        dense_ffn: config.ffn,
    });
    config.ffn = raw.moe_intermediate_size.unwrap_or(768);
    Ok(config)
}

pub(super) fn block(config: &ModelConfig, mixture: &MixtureConfig, number: usize) -> BlockLayout {
    let name = |part: &str| format!("model.layers.{number}.mlp.{part}");
    let projections = ["gate_proj", "up_proj", "down_proj"];
    let mut block = qwen3::block(config, number);
    block.mlp.body = if mixture.is_sparse(number) {
        MlpBody::Mixture {
            router: Part::whole(name("gate"), [mixture.experts, config.hidden], false),
            experts: (0..mixture.experts)
                .map(|expert| {
                    let names = projections.map(|part| name(&format!("experts.{expert}.{part}")));
                    llama::gated(config, config.ffn, names)
                })
                .collect(),
        }
    } else {
        MlpBody::Gated(llama::gated(
            config,
            mixture.dense_ffn,
            projections.map(name),
        ))
    };
    block
}
