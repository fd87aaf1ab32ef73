//! Falcon: attention and MLP side by side (in the first small models one after the other), LayerNorm, and one tensor for
//! queries, keys and values. Names as in transformers' `FalconForCausalLM`.

use super::ends::Ends;
use super::layout::{AttentionLayout, BlockLayout, MlpBody, MlpLayout, NormKind, NormLayout, Part};
use crate::config::{ConfigError, Family, ModelConfig, Positions, RawConfig, Wiring};

pub(super) fn config(mut raw: RawConfig) -> Result<ModelConfig, ConfigError> {
    let heads = raw.num_attention_heads.unwrap_or(0);
    let has_new_decoder = raw.new_decoder_architecture.unwrap_or(false);
    raw.num_key_value_heads = Some(match (has_new_decoder, raw.multi_query.unwrap_or(true)) {
        (true, _) => raw.num_kv_heads.unwrap_or(heads),
        (false, true) => 1,
        (false, false) => heads,
    });
    let usual = raw.hidden_size.checked_mul(4);
    raw.intermediate_size = raw.ffn_hidden_size.or(usual);
    raw.tie_word_embeddings.get_or_insert(true);
    let mut config = raw.base(Family::Falcon)?;
    config.norm_eps = raw.layer_norm_epsilon.unwrap_or(1e-5);
    config.activation = raw.activation("activation", raw.activation.as_deref(), "gelu")?;
    config.attention_bias = raw.bias.unwrap_or(false);
    config.output_bias = config.attention_bias;
    config.mlp_bias = config.attention_bias;
    config.wiring = match (has_new_decoder, raw.num_ln_in_parallel_attn) {
        (true, None | Some(2)) => Wiring::ParallelTwoNorms,
        (true, Some(_)) => Wiring::ParallelSharedNorm,
        (false, _) if raw.parallel_attn.unwrap_or(true) => Wiring::ParallelSharedNorm,
        (false, _) => Wiring::Sequential,
    };
    if raw.alibi.unwrap_or(false) {
        // Falcon scales the slopes with the scores.
        config.positions = Positions::alibi(config.heads, config.attention_scale);
    }
    Ok(config)
}

/// A block of Falcon or BLOOM.
pub(super) fn block(config: &ModelConfig, number: usize) -> BlockLayout {
    let name = |part: &str| format!("transformer.h.{number}.{part}");
    let norm = |part: &str| NormLayout::new(NormKind::Layer, name(part), config.hidden);
    let (attention_norm, mlp_norm) = match config.wiring {
        Wiring::ParallelTwoNorms => (norm("ln_attn"), Some(norm("ln_mlp"))),
        Wiring::ParallelSharedNorm => (norm("input_layernorm"), None),
        Wiring::Sequential => (
            norm("input_layernorm"),
            Some(norm("post_attention_layernorm")),
        ),
    };
    BlockLayout {
        attention: joined_attention(config, attention_norm, &name),
        mlp: plain_mlp(config, mlp_norm, &name),
    }
}

/// Attention whose joined tensor repeats, for each key and value head: its query heads, its key, its value.
fn joined_attention(
    config: &ModelConfig,
    norm: NormLayout,
    name: &dyn Fn(&str) -> String,
) -> AttentionLayout {
    let [query_width, key_width] = config.query_and_key_width();
    let queries = config.heads_per_kv_head() * config.head_dim;
    let stride = queries + 2 * config.head_dim;
    let joined = Part::whole(
        name("self_attention.query_key_value"),
        [query_width + 2 * key_width, config.hidden],
        config.attention_bias,
    );
    AttentionLayout {
        norm,
        query: joined.every(0, queries, stride),
        key: joined.every(queries, config.head_dim, stride),
        value: joined.every(queries + config.head_dim, config.head_dim, stride),
        head_norms: None,
        output: Part::whole(
            name("self_attention.dense"),
            [config.hidden, query_width],
            config.output_bias,
        ),
        post_norm: None,
    }
}

/// An MLP without gate.
fn plain_mlp(
    config: &ModelConfig,
    norm: Option<NormLayout>,
    name: &dyn Fn(&str) -> String,
) -> MlpLayout {
    let (hidden, ffn) = (config.hidden, config.ffn);
    MlpLayout {
        norm,
        body: MlpBody::Plain {
            up: Part::whole(name("mlp.dense_h_to_4h"), [ffn, hidden], config.mlp_bias),
            down: Part::whole(name("mlp.dense_4h_to_h"), [hidden, ffn], config.mlp_bias),
        },
        post_norm: None,
    }
}

/// Embeddings, final norm and head of Falcon or BLOOM.
pub(super) fn ends(config: &ModelConfig) -> Ends {
    Ends::named(
        config,
        "transformer.word_embeddings",
        "transformer.ln_f",
        NormKind::Layer,
    )
}
