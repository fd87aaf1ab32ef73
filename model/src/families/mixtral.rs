//! Mixtral: Mistral with experts. Names as in the published checkpoints.

use super::layout::{BlockLayout, MlpBody, Part};
use super::llama;
use crate::config::{ConfigError, Family, MixtureConfig, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    raw.num_key_value_heads.get_or_insert(8);
    let mut config = raw.base(Family::Mixtral)?;
    config.windows = raw.windows(|_| true)?;
    config.mixture = Some(MixtureConfig {
        experts: raw.num_experts.unwrap_or(8),
        chosen: raw.num_experts_per_tok.unwrap_or(2),
        is_renormalized: true,
        every: 1,
        dense_blocks: Vec::new(),
        dense_ffn: config.ffn,
    });
    Ok(config)
}

pub(super) fn block(config: &ModelConfig, mixture: &MixtureConfig, number: usize) -> BlockLayout {
    let name = |part: &str| format!("model.layers.{number}.block_sparse_moe.{part}");
    let mut block = llama::block(config, number);
    block.mlp.body = MlpBody::Mixture {
        router: Part::whole(name("gate"), [mixture.experts, config.hidden], false),
        experts: (0..mixture.experts)
            .map(|expert| {
                let names =
                    ["w1", "w3", "w2"].map(|part| name(&format!("experts.{expert}.{part}")));
                llama::gated(config, config.ffn, names)
            })
            .collect(),
    };
    block
}
