//! The models that are measured: the embedded one, and a random one of the shape of a larger one.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use half::bf16;
use serde_json::{Map, Value, json};

use crate::processes::build_folder;

/// The model in the repository: 8 blocks, hidden size 256.
pub(crate) fn fable() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fable-7m")
}

/// Deterministic values without meaning, `[tokens, hidden]`.
pub(crate) fn hidden_states(tokens: usize, hidden: usize) -> Vec<f32> {
    let values = (0..tokens * hidden).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0);
    values.collect()
}

/// Llama 3.2 1B: 16 blocks in the original.
pub(crate) mod one_billion {
    pub(crate) const HIDDEN: usize = 2048;
    pub(super) const FFN: usize = 8192;
    pub(super) const HEADS: usize = 32;
    pub(super) const KV_HEADS: usize = 8;
    pub(super) const HEAD_DIM: usize = 64;
}

/// That of the embedded model, whose tokenizer the random one borrows. Small, so that the head costs nothing.
const VOCAB: usize = 4096;

/// A folder with a random model of `blocks` blocks in the shape of a 1B Llama, in bf16; made once.
///
/// # Errors
/// The file system's.
pub(crate) fn one_billion(blocks: usize) -> Result<PathBuf> {
    let folder = build_folder()?.join(format!("bench-models/llama-1b-{blocks}-blocks"));
    if folder.join("config.json").exists() {
        return Ok(folder);
    }
    eprintln!("writing a random model to {}", folder.display());
    fs::create_dir_all(&folder)?;
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(fable().join(name), folder.join(name)).with_context(|| name.to_owned())?;
    }
    write_weights(&folder.join("model.safetensors"), &tensors(blocks))?;
    // Last: a folder without it is not finished.
    fs::write(folder.join("config.json"), config(blocks).to_string())?;
    Ok(folder)
}

fn config(blocks: usize) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": one_billion::HIDDEN,
        "intermediate_size": one_billion::FFN,
        "num_hidden_layers": blocks,
        "num_attention_heads": one_billion::HEADS,
        "num_key_value_heads": one_billion::KV_HEADS,
        "head_dim": one_billion::HEAD_DIM,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "attention_bias": false,
        "mlp_bias": false,
        "use_cache": true,
        "tie_word_embeddings": true,
        "torch_dtype": "bfloat16",
    })
}

/// Names and shapes, as transformers has them.
fn tensors(blocks: usize) -> Vec<(String, Vec<usize>)> {
    use one_billion::{FFN, HEAD_DIM, HEADS, HIDDEN, KV_HEADS};
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for block in 0..blocks {
        for (name, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HEADS * HEAD_DIM, HIDDEN]),
            ("self_attn.k_proj", vec![KV_HEADS * HEAD_DIM, HIDDEN]),
            ("self_attn.v_proj", vec![KV_HEADS * HEAD_DIM, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HEADS * HEAD_DIM]),
            ("mlp.gate_proj", vec![FFN, HIDDEN]),
            ("mlp.up_proj", vec![FFN, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, FFN]),
        ] {
            tensors.push((format!("model.layers.{block}.{name}.weight"), shape));
        }
    }
    tensors
}

/// A safetensors file: length of the header, header, values.
fn write_weights(path: &Path, tensors: &[(String, Vec<usize>)]) -> Result<()> {
    let mut header = Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let begin = end;
        end += shape.iter().product::<usize>() * size_of::<bf16>();
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]});
        header.insert(name.clone(), entry);
    }
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let header = Value::from(header).to_string();
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for (_, shape) in tensors {
        let is_norm = shape.len() == 1;
        for _ in 0..shape.iter().product::<usize>() {
            let value = if is_norm {
                1.0
            } else {
                small_random(&mut random)
            };
            file.write_all(&bf16::from_f32(value).to_le_bytes())?;
        }
    }
    file.flush()?;
    Ok(())
}

/// Evenly spread around 0 with the deviation that Llama's weights begin with, 0.02.
fn small_random(state: &mut u64) -> f32 {
    const WIDTH: f32 = 0.02 * 3.464;
    // xorshift64: fast, and random enough for numbers without meaning.
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    ((*state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5) * WIDTH
}
