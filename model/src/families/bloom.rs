//! BLOOM: Falcon's blocks one part after the other, with ALiBi and biases everywhere, and a norm after the embeddings.
//! Names as in transformers' `BloomForCausalLM`.

use super::ends::Ends;
use super::falcon;
use super::layout::NormLayout;
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

pub(super) fn ends(config: &ModelConfig) -> Ends {
    let mut ends = falcon::ends(config);
    ends.embedding_norm = Some(NormLayout {
        name: "transformer.word_embeddings_layernorm".to_owned(),
        ..ends.norm.clone()
    });
    ends
}
