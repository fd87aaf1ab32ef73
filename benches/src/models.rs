//! The models that are measured: the embedded one, and random ones of the shapes of larger ones.

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

/// [`hidden_states`] as a span in bf16 takes them.
pub(crate) fn hidden_states_bf16(tokens: usize, hidden: usize) -> Vec<f32> {
    let round = |value| bf16::from_f32(value).to_f32();
    hidden_states(tokens, hidden)
        .into_iter()
        .map(round)
        .collect()
}

/// Sizes of a Llama's blocks.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The size of the original, for example `1B`.
    pub(crate) name: &'static str,
    pub(crate) hidden: usize,
    pub(crate) ffn: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// Llama 3.2 1B: 16 blocks in the original.
pub(crate) const ONE_BILLION: Shape = Shape {
    name: "1B",
    hidden: 2048,
    ffn: 8192,
    heads: 32,
    kv_heads: 8,
    head_dim: 64,
};

/// Llama 3 8B: 32 blocks in the original.
pub(crate) const EIGHT_BILLION: Shape = Shape {
    name: "8B",
    hidden: 4096,
    ffn: 14336,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
};

impl Shape {
    /// Matrices of one block by their names in a checkpoint, each `[outputs, inputs]`.
    fn matrices(&self) -> [(&'static str, [usize; 2]); 7] {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        [
            ("self_attn.q_proj", [queries, self.hidden]),
            ("self_attn.k_proj", [keys, self.hidden]),
            ("self_attn.v_proj", [keys, self.hidden]),
            ("self_attn.o_proj", [self.hidden, queries]),
            ("mlp.gate_proj", [self.ffn, self.hidden]),
            ("mlp.up_proj", [self.ffn, self.hidden]),
            ("mlp.down_proj", [self.hidden, self.ffn]),
        ]
    }

    /// Weights of one block's matrices.
    pub(crate) fn weights(&self) -> usize {
        self.matrices()
            .iter()
            .map(|(_, [outputs, inputs])| outputs * inputs)
            .sum()
    }
}

/// Some blocks of a shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    pub(crate) shape: &'static Shape,
    pub(crate) blocks: usize,
}

impl Stack {
    /// What the benchmarks of single spans measure: in every weight format more than 130 MB, four times the largest
    /// cache met so far, so that each step reads memory. With `quick` only the first shape.
    pub(crate) fn measured(quick: bool) -> Vec<Self> {
        let stack = |shape, blocks| Self { shape, blocks };
        if quick {
            vec![stack(&ONE_BILLION, 4)]
        } else {
            vec![stack(&ONE_BILLION, 8), stack(&EIGHT_BILLION, 2)]
        }
    }

    /// Weights of all matrices.
    pub(crate) fn weights(self) -> usize {
        self.blocks * self.shape.weights()
    }

    /// For example `llama-1b-8-blocks`.
    pub(crate) fn file_name(self) -> String {
        format!(
            "llama-{}-{}-blocks",
            self.shape.name.to_lowercase(),
            self.blocks
        )
    }

    /// What the Python programs in `scripts/peers` need to know.
    pub(crate) fn json(self) -> Value {
        let Shape {
            name: _,
            hidden,
            ffn,
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        json!({
            "hidden": hidden,
            "ffn": ffn,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "blocks": self.blocks,
        })
    }

    /// A folder with a random model of these blocks, in bf16; made once.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn checkpoint(self) -> Result<PathBuf> {
        let folder = models_folder()?.join(self.file_name());
        if folder.join("config.json").exists() {
            return Ok(folder);
        }
        eprintln!("writing a random model to {}", folder.display());
        fs::create_dir_all(&folder)?;
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(fable().join(name), folder.join(name)).with_context(|| name.to_owned())?;
        }
        write_weights(&folder.join(WEIGHTS), &tensors(self))?;
        // Last: a folder without it is not finished.
        fs::write(folder.join("config.json"), config(self).to_string())?;
        Ok(folder)
    }
}

/// Where the random models lie: they are too large for the repository.
pub(crate) fn models_folder() -> Result<PathBuf> {
    Ok(build_folder()?.join("bench-models"))
}

/// The one file of weights of a checkpoint.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// That of the embedded model, whose tokenizer the random ones borrow. Small, so that the head costs nothing.
const VOCAB: usize = 4096;

fn config(stack: Stack) -> Value {
    let Stack { shape, blocks } = stack;
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": blocks,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
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
fn tensors(stack: Stack) -> Vec<(String, Vec<usize>)> {
    let Stack { shape, blocks } = stack;
    let mut tensors = vec![
        (
            "model.embed_tokens.weight".to_owned(),
            vec![VOCAB, shape.hidden],
        ),
        ("model.norm.weight".to_owned(), vec![shape.hidden]),
    ];
    for block in 0..blocks {
        let name = |part: &str| format!("model.layers.{block}.{part}.weight");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push((name(norm), vec![shape.hidden]));
        }
        for (matrix, size) in shape.matrices() {
            tensors.push((name(matrix), size.to_vec()));
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
