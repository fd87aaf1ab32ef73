//! `config.json` of a GGUF file: the metadata in transformers' words, so that there is one reader of configurations.
//!
//! Source: llama.cpp, `conversion/*.py` (what the metadata was made from) and `src/llama-model.cpp` (what is not in it).

use serde_json::{Map, Value as Json, json};

use super::architecture::{Architecture, Heads};
use super::file::GgufFile;
use super::kind::GgufKind;
use super::row_order::RowOrder;
use super::value::{Value, by_decimal};
use crate::error::LoadError;

mod rope;

/// What transformers' `config.json` says of such a model.
///
/// # Errors
/// [`LoadError::Damaged`] if the metadata lacks something, or contradicts the tensors.
pub(super) fn config_json(
    file: &GgufFile,
    architecture: Architecture,
    heads: Heads,
) -> Result<Json, LoadError> {
    let reader = Reader {
        file,
        architecture,
        heads,
    };
    let mut fields = reader.base()?;
    match architecture {
        Architecture::Llama => reader.llama(&mut fields)?,
        Architecture::Qwen2 | Architecture::Qwen3 => {}
        Architecture::Qwen3Moe => reader.qwen3_moe(&mut fields)?,
        Architecture::Gemma2 => reader.gemma(&mut fields, GEMMA2_WITH_NARROW_SCALE),
        Architecture::Gemma3 => {
            reader.gemma(&mut fields, GEMMA3_WITH_NARROW_SCALE);
            reader.gemma3(&mut fields)?;
        }
        Architecture::Phi3 => {
            let window = reader.size("attention.sliding_window");
            fields.set("sliding_window", window.filter(|window| *window > 0));
        }
        Architecture::Falcon => reader.falcon(&mut fields),
        Architecture::Bloom => {}
    }
    Ok(Json::Object(fields.0))
}

/// Fields of `config.json`.
struct Fields(Map<String, Json>);

impl Fields {
    /// Sets a field, if there is a value for it.
    fn set(&mut self, name: &str, value: Option<impl Into<Json>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }
}

/// A file and what is known of it.
struct Reader<'a> {
    file: &'a GgufFile,
    architecture: Architecture,
    heads: Heads,
}

impl Reader<'_> {
    /// What all architectures have.
    fn base(&self) -> Result<Fields, LoadError> {
        let file = self.file;
        let embeddings = file
            .tensor(EMBEDDINGS)
            .ok_or_else(|| file.missing(EMBEDDINGS))?;
        let hidden = self.needed("embedding_length")?;
        let mut fields = Fields(Map::new());
        fields.set("architectures", Some(json!([self.architecture_name()])));
        fields.set("num_hidden_layers", Some(self.needed("block_count")?));
        fields.set("hidden_size", Some(hidden));
        fields.set("num_attention_heads", Some(self.heads.queries));
        fields.set("num_key_value_heads", Some(self.heads.groups));
        fields.set("intermediate_size", self.size("feed_forward_length"));
        fields.set("vocab_size", embeddings.shape.first().copied());
        fields.set(
            "max_position_embeddings",
            Some(self.needed("context_length")?),
        );
        fields.set(
            "rms_norm_eps",
            self.number("attention.layer_norm_rms_epsilon"),
        );
        fields.set(
            "layer_norm_epsilon",
            self.number("attention.layer_norm_epsilon"),
        );
        fields.set(
            "tie_word_embeddings",
            Some(file.tensor("output.weight").is_none()),
        );
        let head_dim = self.head_dim(hidden)?;
        fields.set("head_dim", Some(head_dim));
        self.rope(head_dim, &mut fields)?;
        fields.set("torch_dtype", Some(self.dtype()));
        let id = |name| file.size(&format!("tokenizer.ggml.{name}_token_id"));
        fields.set("bos_token_id", id("bos"));
        fields.set("eos_token_id", id("eos"));
        Ok(fields)
    }

    fn architecture_name(&self) -> &'static str {
        match self.architecture {
            Architecture::Llama if self.size("expert_count").is_some_and(|count| count > 0) => {
                "MixtralForCausalLM"
            }
            Architecture::Llama if self.window().is_some() => "MistralForCausalLM",
            // Biases of queries, keys and values, but none of the output.
            Architecture::Llama if self.has("attn_q.bias") && !self.has("attn_output.bias") => {
                "Qwen2ForCausalLM"
            }
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
            Architecture::Qwen3Moe => "Qwen3MoeForCausalLM",
            Architecture::Gemma2 => "Gemma2ForCausalLM",
            Architecture::Gemma3 => "Gemma3ForCausalLM",
            Architecture::Phi3 => "Phi3ForCausalLM",
            Architecture::Falcon => "FalconForCausalLM",
            Architecture::Bloom => "BloomForCausalLM",
        }
    }

    fn llama(&self, fields: &mut Fields) -> Result<(), LoadError> {
        fields.set("attention_bias", Some(self.has("attn_q.bias")));
        fields.set("mlp_bias", Some(self.has("ffn_up.bias")));
        fields.set("sliding_window", self.window());
        if self.size("expert_count").is_some_and(|count| count > 0) {
            fields.set("num_local_experts", self.size("expert_count"));
            fields.set(
                "num_experts_per_tok",
                Some(self.needed("expert_used_count")?),
            );
        }
        Ok(())
    }

    fn qwen3_moe(&self, fields: &mut Fields) -> Result<(), LoadError> {
        let ffn = self.needed("expert_feed_forward_length")?;
        fields.set("num_experts", Some(self.needed("expert_count")?));
        fields.set(
            "num_experts_per_tok",
            Some(self.needed("expert_used_count")?),
        );
        fields.set("moe_intermediate_size", Some(ffn));
        if self.size("feed_forward_length").is_none() {
            fields.set("intermediate_size", Some(ffn));
        }
        // llama.cpp always scales the weights of this architecture to a sum of 1.
        let is_normed = self.key("expert_weights_norm");
        fields.set(
            "norm_topk_prob",
            Some(self.file.bool(&is_normed).unwrap_or(true)),
        );
        let blocks = self.needed("block_count")?.min(MAX_BLOCKS);
        let dense = |block: &u64| {
            self.file
                .tensor(&format!("blk.{block}.ffn_gate.weight"))
                .is_some()
        };
        fields.set(
            "mlp_only_layers",
            Some((0..blocks).filter(dense).collect::<Vec<_>>()),
        );
        fields.set("decoder_sparse_step", Some(1));
        Ok(())
    }

    /// - `narrow_scale`: blocks of the one model whose scores are scaled by `hidden / heads` instead of by `head_dim`
    fn gemma(&self, fields: &mut Fields, narrow_scale: u64) {
        let scalar = match (self.number("attention.scale"), self.size("block_count")) {
            (Some(scale), _) if scale > 0.0 => Some(json!(scale.powi(-2))),
            (_, Some(blocks)) if blocks == narrow_scale => {
                let hidden = self.size("embedding_length");
                hidden.map(|hidden| json!(hidden as f64 / self.heads.queries as f64))
            }
            _ => fields.0.get("head_dim").cloned(),
        };
        fields.set("query_pre_attn_scalar", scalar);
        fields.set("sliding_window", self.window());
        for (name, key) in [
            ("attn_logit_softcapping", "attn_logit_softcapping"),
            ("final_logit_softcapping", "final_logit_softcapping"),
        ] {
            fields.set(name, self.number(key).filter(|cap| *cap > 0.0));
        }
    }

    fn gemma3(&self, fields: &mut Fields) -> Result<(), LoadError> {
        let local = self
            .number("rope.freq_base_swa")
            .unwrap_or(GEMMA3_LOCAL_BASE);
        fields.set("rope_local_base_freq", Some(local));
        let key = self.key("attention.sliding_window_pattern");
        match self.file.metadata(&key) {
            None => {}
            Some(Value::Array(_)) => {
                let flags = self.file.numbers(&key);
                let flags =
                    flags.ok_or_else(|| self.file.damaged(format!("{key} has no flags")))?;
                let kinds = flags.iter().map(|flag| match *flag != 0.0 {
                    true => "sliding_attention",
                    false => "full_attention",
                });
                fields.set("layer_types", Some(kinds.collect::<Vec<_>>()));
            }
            Some(pattern) => fields.set("sliding_window_pattern", pattern.as_u64()),
        }
        Ok(())
    }

    fn falcon(&self, fields: &mut Fields) {
        let has_two_norms = self.has("attn_norm_2.weight");
        let is_new = has_two_norms || self.heads.groups > 1;
        fields.set("new_decoder_architecture", Some(is_new));
        fields.set(
            "num_ln_in_parallel_attn",
            is_new.then_some(1 + u64::from(has_two_norms)),
        );
        fields.set("multi_query", Some(true));
        fields.set("parallel_attn", Some(true));
        fields.set("num_kv_heads", Some(self.heads.groups));
        fields.set("bias", Some(self.has("attn_qkv.bias")));
        fields.set("ffn_hidden_size", self.size("feed_forward_length"));
    }

    fn window(&self) -> Option<u64> {
        self.size("attention.sliding_window")
            .filter(|window| *window > 0)
    }

    /// Width of a head: as the file says, or as the tensors have it.
    fn head_dim(&self, hidden: u64) -> Result<u64, LoadError> {
        if let Some(head_dim) = self.size("attention.key_length") {
            return Ok(head_dim);
        }
        let rows = |name| {
            self.file
                .tensor(name)
                .and_then(|tensor| tensor.shape.first().copied())
        };
        let Heads { queries, groups } = self.heads;
        let joined = queries.saturating_add(groups.saturating_mul(2));
        let head_dim = match (rows("blk.0.attn_q.weight"), rows("blk.0.attn_qkv.weight")) {
            (Some(rows), _) => (rows / queries) as u64,
            (None, Some(rows)) => (rows / joined) as u64,
            (None, None) => hidden / queries as u64,
        };
        match head_dim {
            0 => Err(self
                .file
                .damaged("its heads are more than the rows of its queries")),
            head_dim => Ok(head_dim),
        }
    }

    /// The float type that most of the model has; of a quantized one, that in which such models are published.
    fn dtype(&self) -> &'static str {
        let names = ["blk.0.attn_q.weight", "blk.0.attn_qkv.weight"];
        let tensor = names.iter().find_map(|name| self.file.tensor(name));
        match tensor.and_then(|tensor| tensor.kind()) {
            Some(GgufKind::F32) => "float32",
            Some(GgufKind::F16) => "float16",
            _ => "bfloat16",
        }
    }

    /// Whether the first block has a tensor.
    fn has(&self, part: &str) -> bool {
        self.file.tensor(&format!("blk.0.{part}")).is_some()
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture.name())
    }

    fn size(&self, name: &str) -> Option<u64> {
        self.file.size(&self.key(name))
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.file.number(&self.key(name))
    }

    fn needed(&self, name: &str) -> Result<u64, LoadError> {
        self.size(name).ok_or_else(|| {
            let key = self.key(name);
            self.file
                .damaged(format!("{key} is missing or not one number for all blocks"))
        })
    }

    /// A short list of numbers that the file has as a tensor.
    fn list(&self, tensor: &str) -> Result<Option<Vec<f64>>, LoadError> {
        let Some(entry) = self.file.tensor(tensor) else {
            return Ok(None);
        };
        let shape = entry.shape.clone();
        if shape.len() != 1 || shape[0] > MAX_LIST {
            return Err(self
                .file
                .damaged(format!("tensor {tensor:?} has shape {shape:?}")));
        }
        let rows = self.file.rows(tensor, None, RowOrder::Same, &shape)?;
        let mut values = vec![0.0; shape[0]];
        rows.read_all(&mut values);
        Ok(Some(values.into_iter().map(by_decimal).collect()))
    }
}

const EMBEDDINGS: &str = "token_embd.weight";

/// Gemma 2 27B has so many blocks.
const GEMMA2_WITH_NARROW_SCALE: u64 = 46;

/// Gemma 3 27B has so many blocks.
const GEMMA3_WITH_NARROW_SCALE: u64 = 62;

/// Rotary base of blocks with a window, in files from before it was written.
const GEMMA3_LOCAL_BASE: f64 = 10_000.0;

/// More than any model has blocks.
const MAX_BLOCKS: u64 = 1 << 12;

/// Longest list that a tensor may hold: more than half of any head.
const MAX_LIST: usize = 1 << 16;

#[cfg(test)]
mod tests;
