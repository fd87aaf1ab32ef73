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

/// What a shape's blocks consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama,
    /// Norms on each head.
    Qwen3,
    /// Norms before and after, soft caps, a window in every other block.
    Gemma2,
    /// Eight experts of which a token uses two.
    Mixtral,
}

/// Sizes of a model's blocks.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The size of the original, for example `1B`.
    pub(crate) name: &'static str,
    pub(crate) family: Family,
    pub(crate) hidden: usize,
    pub(crate) ffn: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
}

/// Llama 3.2 1B: 16 blocks in the original.
pub(crate) const ONE_BILLION: Shape = Shape {
    name: "1B",
    family: Family::Llama,
    hidden: 2048,
    ffn: 8192,
    heads: 32,
    kv_heads: 8,
    head_dim: 64,
};

/// Llama 3 8B: 32 blocks in the original.
pub(crate) const EIGHT_BILLION: Shape = Shape {
    name: "8B",
    family: Family::Llama,
    hidden: 4096,
    ffn: 14336,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
};

/// Qwen3 1.7B: 28 blocks in the original.
const QWEN3: Shape = Shape {
    name: "Qwen3 1.7B",
    family: Family::Qwen3,
    hidden: 2048,
    ffn: 6144,
    heads: 16,
    kv_heads: 8,
    head_dim: 128,
};

/// Gemma 2 2B: 26 blocks in the original.
const GEMMA2: Shape = Shape {
    name: "Gemma 2 2B",
    family: Family::Gemma2,
    hidden: 2304,
    ffn: 9216,
    heads: 8,
    kv_heads: 4,
    head_dim: 256,
};

/// Mixtral 8x7B: 32 blocks in the original.
const MIXTRAL: Shape = Shape {
    name: "Mixtral 8x7B",
    family: Family::Mixtral,
    hidden: 4096,
    ffn: 14336,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
};

/// Of Mixtral: all, and those that a token uses.
const EXPERTS: usize = 8;
const CHOSEN_EXPERTS: usize = 2;

impl Shape {
    /// Matrices of attention by their names in a checkpoint, each `[outputs, inputs]`.
    fn attention(&self) -> [(String, [usize; 2]); 4] {
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        [
            ("q_proj", [queries, self.hidden]),
            ("k_proj", [keys, self.hidden]),
            ("v_proj", [keys, self.hidden]),
            ("o_proj", [self.hidden, queries]),
        ]
        .map(|(name, size)| (format!("self_attn.{name}"), size))
    }

    /// Matrices of one MLP.
    fn mlp(&self, expert: usize) -> [(String, [usize; 2]); 3] {
        let names = match self.family {
            Family::Mixtral => {
                ["w1", "w3", "w2"].map(|name| format!("block_sparse_moe.experts.{expert}.{name}"))
            }
            Family::Llama | Family::Qwen3 | Family::Gemma2 => {
                ["gate_proj", "up_proj", "down_proj"].map(|name| format!("mlp.{name}"))
            }
        };
        let [gate, up, down] = names;
        let (hidden, ffn) = (self.hidden, self.ffn);
        [
            (gate, [ffn, hidden]),
            (up, [ffn, hidden]),
            (down, [hidden, ffn]),
        ]
    }

    /// All matrices of a block.
    fn matrices(&self) -> Vec<(String, [usize; 2])> {
        let mut matrices = self.attention().to_vec();
        let experts = if self.family == Family::Mixtral {
            matrices.push(("block_sparse_moe.gate".to_owned(), [EXPERTS, self.hidden]));
            EXPERTS
        } else {
            1
        };
        matrices.extend((0..experts).flat_map(|expert| self.mlp(expert)));
        matrices
    }

    /// Norms of a block by their names in a checkpoint, and their widths.
    fn norms(&self) -> Vec<(&'static str, usize)> {
        let mut norms = vec![
            ("input_layernorm", self.hidden),
            ("post_attention_layernorm", self.hidden),
        ];
        match self.family {
            Family::Llama | Family::Mixtral => {}
            Family::Qwen3 => norms.extend([
                ("self_attn.q_norm", self.head_dim),
                ("self_attn.k_norm", self.head_dim),
            ]),
            Family::Gemma2 => norms.extend([
                ("pre_feedforward_layernorm", self.hidden),
                ("post_feedforward_layernorm", self.hidden),
            ]),
        }
        norms
    }

    /// Weights of one block's matrices that a token is multiplied with.
    pub(crate) fn weights(&self) -> usize {
        let used = if self.family == Family::Mixtral {
            CHOSEN_EXPERTS
        } else {
            1
        };
        let mlps = (0..used).flat_map(|expert| self.mlp(expert));
        let matrices = self.attention().into_iter().chain(mlps);
        matrices
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

    /// One of each family that differs from Llama in what it computes.
    pub(crate) fn families() -> [Self; 3] {
        let stack = |shape, blocks| Self { shape, blocks };
        [stack(&QWEN3, 4), stack(&GEMMA2, 4), stack(&MIXTRAL, 1)]
    }

    /// Weights of all matrices that a token is multiplied with.
    pub(crate) fn weights(self) -> usize {
        self.blocks * self.shape.weights()
    }

    /// For example `llama-1b-8-blocks`.
    pub(crate) fn file_name(self) -> String {
        let Shape { family, name, .. } = self.shape;
        let name = format!(
            "{family:?}-{}-{}-blocks",
            name.replace(' ', "-"),
            self.blocks
        );
        name.to_lowercase()
    }

    /// What the Python programs in `scripts/peers` need to know.
    pub(crate) fn json(self) -> Value {
        let Shape {
            name: _,
            family: _,
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
    let (architecture, activation) = match shape.family {
        Family::Llama => ("LlamaForCausalLM", "silu"),
        Family::Qwen3 => ("Qwen3ForCausalLM", "silu"),
        Family::Gemma2 => ("Gemma2ForCausalLM", "gelu_pytorch_tanh"),
        Family::Mixtral => ("MixtralForCausalLM", "silu"),
    };
    json!({
        "architectures": [architecture],
        "model_type": architecture.trim_end_matches("ForCausalLM").to_lowercase(),
        "vocab_size": VOCAB,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": blocks,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": activation,
        "hidden_activation": activation,
        "sliding_window": (shape.family == Family::Gemma2).then_some(4096),
        "num_local_experts": EXPERTS,
        "num_experts_per_tok": CHOSEN_EXPERTS,
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
        for (norm, width) in shape.norms() {
            tensors.push((name(norm), vec![width]));
        }
        for (matrix, size) in shape.matrices() {
            tensors.push((name(&matrix), size.to_vec()));
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
