//! Llama: names as in transformers' `LlamaForCausalLM`.

use super::layout::{
    AttentionLayout, BlockLayout, GatedLayout, MlpBody, MlpLayout, NormKind, NormLayout, Part,
};
use crate::config::{ConfigError, Family, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    let mut config = raw.base(Family::Llama)?;
    config.attention_bias = raw.attention_bias.unwrap_or(false);
    config.output_bias = config.attention_bias;
    config.mlp_bias = raw.mlp_bias.unwrap_or(false);
    Ok(config)
}

pub(super) fn block(config: &ModelConfig, number: usize) -> BlockLayout {
    let name = |part: &str| format!("model.layers.{number}.{part}");
    let norm = |part: &str| NormLayout::new(NormKind::Rms, name(part), config.hidden);
    let [query_width, key_width] = config.query_and_key_width();
    let into_heads = |part: &str, width: usize| {
        Part::whole(name(part), [width, config.hidden], config.attention_bias)
    };
    BlockLayout {
        attention: AttentionLayout {
            norm: norm("input_layernorm"),
            query: into_heads("self_attn.q_proj", query_width),
            key: into_heads("self_attn.k_proj", key_width),
            value: into_heads("self_attn.v_proj", key_width),
            head_norms: None,
            output: Part::whole(
                name("self_attn.o_proj"),
                [config.hidden, query_width],
                config.output_bias,
            ),
            post_norm: None,
        },
        mlp: MlpLayout {
            norm: Some(norm("post_attention_layernorm")),
            body: MlpBody::Gated(gated(
                config,
                config.ffn,
                ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"].map(name),
            )),
            post_norm: None,
        },
    }
}

/// A gated MLP by the names of gate, up and down.
pub(super) fn gated(config: &ModelConfig, ffn: usize, names: [String; 3]) -> GatedLayout {
    let [gate, up, down] = names;
    GatedLayout {
        gate: Part::whole(gate, [ffn, config.hidden], config.mlp_bias),
        up: Part::whole(up, [ffn, config.hidden], config.mlp_bias),
        down: Part::whole(down, [config.hidden, ffn], config.mlp_bias),
    }
}
