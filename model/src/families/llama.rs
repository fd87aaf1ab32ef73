//! Llama: names as in transformers' `LlamaForCausalLM`.

use crate::config::ModelConfig;

/// The norms before attention and before the MLP.
pub(crate) const NORMS: [&str; 2] = ["input_layernorm", "post_attention_layernorm"];

/// Query, key, value and output projections.
pub(crate) const ATTENTION: [&str; 4] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
];

/// Gate, up and down projections.
pub(crate) const MLP: [&str; 3] = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];

/// A part of a block by its full name, without `.weight` or `.bias`.
pub(crate) fn prefixed(block: usize, part: &str) -> String {
    format!("model.layers.{block}.{part}")
}

/// A part's weight by its full name.
pub(crate) fn weight(block: usize, part: &str) -> String {
    format!("{}.weight", prefixed(block, part))
}

pub(super) fn tensor_names(config: &ModelConfig, block: usize) -> Vec<String> {
    let mut names: Vec<String> = NORMS.iter().map(|norm| weight(block, norm)).collect();
    for (projections, has_bias) in [
        (&ATTENTION[..], config.attention_bias),
        (&MLP[..], config.mlp_bias),
    ] {
        for projection in projections {
            names.push(weight(block, projection));
            if has_bias {
                names.push(format!("{}.bias", prefixed(block, projection)));
            }
        }
    }
    names
}
