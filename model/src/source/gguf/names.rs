//! Tensors by transformers' names: under which names GGUF has them.
//!
//! Source: llama.cpp, `gguf-py/gguf/tensor_mapping.py` and its converters.

use super::architecture::{Architecture, Heads};
use super::row_order::RowOrder;

/// Where a tensor is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// Name in the file.
    pub(super) tensor: String,
    /// Which of several tensors that the file has stacked in one.
    pub(super) slice: Option<usize>,
    pub(super) order: RowOrder,
    /// The file has 1 added to the values.
    pub(super) is_one_more: bool,
}

/// Where a tensor may be, the usual place first; empty for a name that no architecture knows.
///
/// - `name`: as in transformers, with `.weight` or `.bias`
pub(super) fn places(architecture: Architecture, heads: Heads, name: &str) -> Vec<Place> {
    let Some((stem, kind)) = name.rsplit_once('.') else {
        return Vec::new();
    };
    let place = |part: &str, prefix: &str, slice| Place {
        tensor: format!("{prefix}{part}.{kind}"),
        slice,
        order: heads.row_order(architecture, part),
        is_one_more: is_gemma(architecture) && part.ends_with("norm"),
    };
    if let Some(part) = find(&ENDS, stem) {
        return vec![place(part, "", None)];
    }
    let Some((number, part)) = block_and_part(stem) else {
        return Vec::new();
    };
    let prefix = format!("blk.{number}.");
    if let Some((part, slice)) = part_of_several(part) {
        // Files of before 2024-04 have a tensor for each.
        let single = format!("{part}.{slice}");
        let stacked = place(&format!("{part}_exps"), &prefix, Some(slice));
        return vec![stacked, place(&single, &prefix, None)];
    }
    let own: &[(&str, &str)] = match architecture {
        Architecture::Gemma2 | Architecture::Gemma3 => &GEMMA,
        Architecture::Falcon | Architecture::Bloom => &JOINED,
        Architecture::Llama
        | Architecture::Qwen2
        | Architecture::Qwen3
        | Architecture::Qwen3Moe
        | Architecture::Phi3 => &[],
    };
    let found = find(own, part).or_else(|| find(&LLAMA, part));
    found
        .map(|part| place(part, &prefix, None))
        .into_iter()
        .collect()
}

fn is_gemma(architecture: Architecture) -> bool {
    matches!(architecture, Architecture::Gemma2 | Architecture::Gemma3)
}

fn find<'a>(table: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    table
        .iter()
        .find(|(theirs, _)| *theirs == name)
        .map(|(_, ours)| *ours)
}

/// A block's number, and what comes after it.
fn block_and_part(stem: &str) -> Option<(usize, &str)> {
    let rest = BLOCK_PREFIXES
        .iter()
        .find_map(|prefix| stem.strip_prefix(prefix))?;
    let (number, part) = rest.split_once('.')?;
    Some((number.parse().ok()?, part))
}

/// One of several MLPs of a block: what part of it, and its number.
fn part_of_several(part: &str) -> Option<(&'static str, usize)> {
    let rest = SEVERAL_PREFIXES
        .iter()
        .find_map(|prefix| part.strip_prefix(prefix))?;
    let (number, part) = rest.split_once('.')?;
    Some((find(&SEVERAL, part)?, number.parse().ok()?))
}

const BLOCK_PREFIXES: [&str; 2] = ["model.layers.", "transformer.h."];

const SEVERAL_PREFIXES: [&str; 2] = ["mlp.experts.", "block_sparse_moe.experts."];

/// What is outside blocks.
const ENDS: [(&str, &str); 7] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("transformer.word_embeddings", "token_embd"),
    ("transformer.word_embeddings_layernorm", "token_embd_norm"),
    ("transformer.ln_f", "output_norm"),
    ("transformer.lm_head", "output"),
];

/// Parts of a block of Llama and all that are named after it.
const LLAMA: [(&str, &str); 15] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate", "ffn_gate_inp"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Where Gemma differs from Llama.
const GEMMA: [(&str, &str); 3] = [
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];

/// Parts of a block of Falcon or BLOOM, where they differ from Llama's.
const JOINED: [(&str, &str); 6] = [
    ("ln_mlp", "attn_norm"),
    ("ln_attn", "attn_norm_2"),
    ("self_attention.query_key_value", "attn_qkv"),
    ("self_attention.dense", "attn_output"),
    ("mlp.dense_h_to_4h", "ffn_up"),
    ("mlp.dense_4h_to_h", "ffn_down"),
];

/// Parts of one of several MLPs.
const SEVERAL: [(&str, &str); 6] = [
    ("gate_proj", "ffn_gate"),
    ("up_proj", "ffn_up"),
    ("down_proj", "ffn_down"),
    ("w1", "ffn_gate"),
    ("w3", "ffn_up"),
    ("w2", "ffn_down"),
];

#[cfg(test)]
mod tests {
    use super::{Architecture, Heads, places};
    use crate::source::gguf::row_order::RowOrder;

    const HEADS: Heads = Heads {
        queries: 8,
        groups: 2,
    };

    fn names(architecture: Architecture, name: &str) -> Vec<String> {
        let places = places(architecture, HEADS, name).into_iter();
        places.map(|place| place.tensor).collect()
    }

    #[test]
    fn parts_have_the_names_of_their_architecture() {
        for (architecture, name, stored) in [
            (
                Architecture::Qwen2,
                "model.layers.7.self_attn.q_proj.bias",
                "blk.7.attn_q.bias",
            ),
            (
                Architecture::Qwen3,
                "model.layers.0.self_attn.k_norm.weight",
                "blk.0.attn_k_norm.weight",
            ),
            (
                Architecture::Llama,
                "model.layers.1.post_attention_layernorm.weight",
                "blk.1.ffn_norm.weight",
            ),
            (
                Architecture::Gemma2,
                "model.layers.1.post_attention_layernorm.weight",
                "blk.1.post_attention_norm.weight",
            ),
            (
                Architecture::Gemma3,
                "model.layers.1.mlp.up_proj.weight",
                "blk.1.ffn_up.weight",
            ),
            (
                Architecture::Phi3,
                "model.layers.1.mlp.gate_up_proj.weight",
                "blk.1.ffn_up.weight",
            ),
            (
                Architecture::Falcon,
                "transformer.h.3.ln_attn.bias",
                "blk.3.attn_norm_2.bias",
            ),
            (
                Architecture::Falcon,
                "transformer.h.3.ln_mlp.bias",
                "blk.3.attn_norm.bias",
            ),
            (
                Architecture::Bloom,
                "transformer.h.3.post_attention_layernorm.bias",
                "blk.3.ffn_norm.bias",
            ),
            (
                Architecture::Bloom,
                "transformer.word_embeddings_layernorm.weight",
                "token_embd_norm.weight",
            ),
            (Architecture::Llama, "lm_head.weight", "output.weight"),
            (
                Architecture::Qwen3Moe,
                "model.layers.2.mlp.gate.weight",
                "blk.2.ffn_gate_inp.weight",
            ),
        ] {
            assert_eq!(names(architecture, name), [stored]);
        }
        for unknown in [
            "",
            "x",
            "model.layers.x.mlp.up_proj.weight",
            "model.layers.1.x.weight",
        ] {
            assert_eq!(names(Architecture::Llama, unknown), [""; 0], "{unknown}");
        }
    }

    #[test]
    fn one_of_several_is_a_slice_or_an_old_tensor() {
        let name = "model.layers.2.block_sparse_moe.experts.5.w2.weight";
        let found = places(Architecture::Llama, HEADS, name);
        assert_eq!(
            (found[0].tensor.as_str(), found[0].slice),
            ("blk.2.ffn_down_exps.weight", Some(5))
        );
        assert_eq!(
            (found[1].tensor.as_str(), found[1].slice),
            ("blk.2.ffn_down.5.weight", None)
        );
        let name = "model.layers.2.mlp.experts.11.gate_proj.weight";
        assert_eq!(
            names(Architecture::Qwen3Moe, name)[0],
            "blk.2.ffn_gate_exps.weight"
        );
    }

    #[test]
    fn only_some_tensors_are_reordered_or_one_more() {
        let place = |architecture, name| places(architecture, HEADS, name).remove(0);
        let query = "model.layers.0.self_attn.q_proj.weight";
        let key = "model.layers.0.self_attn.k_proj.weight";
        assert_eq!(
            place(Architecture::Llama, query).order,
            RowOrder::Paired { heads: 8 }
        );
        assert_eq!(
            place(Architecture::Llama, key).order,
            RowOrder::Paired { heads: 2 }
        );
        assert_eq!(place(Architecture::Qwen2, query).order, RowOrder::Same);
        let joined = "transformer.h.0.self_attention.query_key_value.bias";
        let order = RowOrder::Joined {
            groups: 2,
            queries: 4,
        };
        assert_eq!(place(Architecture::Falcon, joined).order, order);
        let norm = "model.layers.0.self_attn.q_norm.weight";
        assert!(place(Architecture::Gemma3, norm).is_one_more);
        assert!(place(Architecture::Gemma3, "model.norm.weight").is_one_more);
        assert!(!place(Architecture::Gemma3, query).is_one_more);
        assert!(!place(Architecture::Qwen3, norm).is_one_more);
    }
}
