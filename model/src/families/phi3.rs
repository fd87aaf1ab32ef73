//! Phi-3 and 4: Llama with one tensor for queries, keys and values, and one for gate and up. Names as in transformers'
//! `Phi3ForCausalLM`.

use super::layout::{BlockLayout, GatedLayout, MlpBody, Part};
use super::llama;
use crate::config::{ConfigError, Family, ModelConfig, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    let mut config = raw.base(Family::Phi3)?;
    config.windows = raw.windows(|_| true)?;
    Ok(config)
}

pub(super) fn block(config: &ModelConfig, number: usize) -> BlockLayout {
    let name = |part: &str| format!("model.layers.{number}.{part}");
    let [query_width, key_width] = config.query_and_key_width();
    let qkv_width = query_width + 2 * key_width;
    let qkv = Part::whole(
        name("self_attn.qkv_proj"),
        [qkv_width, config.hidden],
        false,
    );
    let gate_up = Part::whole(
        name("mlp.gate_up_proj"),
        [2 * config.ffn, config.hidden],
        false,
    );
    let mut block = llama::block(config, number);
    block.attention.query = qkv.slice(0, query_width);
    block.attention.key = qkv.slice(query_width, key_width);
    block.attention.value = qkv.slice(query_width + key_width, key_width);
    block.mlp.body = MlpBody::Gated(GatedLayout {
        gate: gate_up.slice(0, config.ffn),
        up: gate_up.slice(config.ffn, config.ffn),
        down: Part::whole(name("mlp.down_proj"), [config.hidden, config.ffn], false),
    });
    block
}
