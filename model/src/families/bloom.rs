//! BLOOM: ALiBi, LayerNorm, biases everywhere, a norm after the embeddings. Names as in transformers'
//! `BloomForCausalLM`.

use super::ends::Ends;
use super::falcon::{joined_attention, plain_mlp};
use super::layout::{BlockLayout, NormKind, NormLayout};
use crate::config::{Activation, ConfigError, Family, ModelConfig, Positions, RawConfig};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    if raw.apply_residual_connection_post_layernorm == Some(true) {
        return Err(ConfigError::invalid(
            "apply_residual_connection_post_layernorm",
            "true is not supported; supported: false",
        ));
    }
    raw.intermediate_size = raw.hidden_size.checked_mul(4);
    raw.tie_word_embeddings.get_or_insert(true);
    let mut config = raw.base(Family::Bloom)?;
    config.norm_eps = raw.layer_norm_epsilon.unwrap_or(1e-5);
    config.positions = Positions::alibi(config.heads, 1.0);
    config.activation = Activation::GeluTanh;
    config.attention_bias = true;
    config.output_bias = true;
    config.mlp_bias = true;
    Ok(config)
}

pub(super) fn block(config: &ModelConfig, number: usize) -> BlockLayout {
    let name = |part: &str| format!("transformer.h.{number}.{part}");
    let norm = |part: &str| NormLayout {
        kind: NormKind::Layer,
        name: name(part),
        width: config.hidden,
    };
    let mlp_norm = norm("post_attention_layernorm");
    BlockLayout {
        attention: joined_attention(config, norm("input_layernorm"), &name),
        mlp: plain_mlp(config, Some(mlp_norm), &name),
    }
}

pub(super) fn ends(config: &ModelConfig) -> Ends {
    let embeddings = "transformer.word_embeddings";
    let mut ends = Ends::named(config, embeddings, "transformer.ln_f", NormKind::Layer);
    ends.embedding_norm = Some(NormLayout {
        name: format!("{embeddings}_layernorm"),
        ..ends.norm.clone()
    });
    ends
}
