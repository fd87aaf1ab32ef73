//! From a model of transformers to a GGUF file, as llama.cpp's converters do it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::SafeTensors;
use serde_json::Value as Json;

use crate::config::{MixtureConfig, ModelConfig, Positions, RopeScaling};
use crate::source::ModelSource;
use crate::source::gguf::kind::GgufKind;
use crate::source::gguf::test_file::TestFile;

/// Names of the fixtures' tensors by gguf-py 0.19.0; see the folder's README.
pub(super) const NAMES: &str = include_str!("../../../../../tests/fixtures/gguf/names.json");

pub(super) fn crate_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A tensor of transformers: shape and values.
pub(super) type Tensor = (Vec<usize>, Vec<f32>);

/// All tensors of a folder with safetensors files, as singles.
pub(super) fn tensors(folder: &Path) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("model") || !name.ends_with(".safetensors") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
            let values = match view.dtype() {
                safetensors::Dtype::BF16 => {
                    let halves = view.data().as_chunks::<2>().0.iter();
                    halves
                        .map(|bytes| bf16::from_le_bytes(*bytes).to_f32())
                        .collect()
                }
                _ => {
                    let singles = view.data().as_chunks::<4>().0.iter();
                    singles.map(|bytes| f32::from_le_bytes(*bytes)).collect()
                }
            };
            tensors.insert(name.to_owned(), (view.shape().to_vec(), values));
        }
    }
    tensors
}

/// The rows of a tensor in the order of `order`, which has the old place of each.
pub(super) fn reordered((shape, values): &Tensor, order: &[usize]) -> Tensor {
    let width = values.len() / shape[0];
    let rows = order
        .iter()
        .flat_map(|row| &values[row * width..(row + 1) * width]);
    (shape.clone(), rows.copied().collect())
}

/// Of each head, the rows of its first and second half in turn.
pub(super) fn halves_in_turn(rows: usize, heads: usize) -> Vec<usize> {
    let half = rows / heads / 2;
    let head = |head: usize| {
        (0..half).flat_map(move |row| [head * 2 * half + row, (head * 2 + 1) * half + row])
    };
    (0..heads).flat_map(head).collect()
}

/// All queries, then all keys, then all values.
pub(super) fn by_kind(config: &ModelConfig) -> Vec<usize> {
    let queries = config.heads / config.kv_heads;
    let head = |number: usize| number * config.head_dim..(number + 1) * config.head_dim;
    let of_groups = |parts: std::ops::Range<usize>| {
        (0..config.kv_heads)
            .flat_map(move |group| parts.clone().map(move |part| group * (queries + 2) + part))
    };
    of_groups(0..queries)
        .chain(of_groups(queries..queries + 1))
        .chain(of_groups(queries + 1..queries + 2))
        .flat_map(head)
        .collect()
}

/// Adds a model's tensors to a file.
///
/// - `stored`: transformers' names to GGUF's; `kind`: of matrices
pub(super) fn add_tensors(
    file: &mut TestFile,
    config: &ModelConfig,
    architecture: &str,
    tensors: &BTreeMap<String, Tensor>,
    stored: impl Fn(&str) -> String,
    kind: GgufKind,
) {
    let mut stacks: BTreeMap<String, Vec<&Tensor>> = BTreeMap::new();
    for (name, tensor) in tensors {
        let stored = stored(name);
        if stored.contains("_exps") {
            stacks.entry(stored).or_default().push(tensor);
            continue;
        }
        let rows = tensor.0[0];
        let (shape, mut values) = match architecture {
            "llama" if name.contains("q_proj") => {
                reordered(tensor, &halves_in_turn(rows, config.heads))
            }
            "llama" if name.contains("k_proj") => {
                reordered(tensor, &halves_in_turn(rows, config.kv_heads))
            }
            "falcon" | "bloom" if name.contains("query_key_value") => {
                reordered(tensor, &by_kind(config))
            }
            _ => tensor.clone(),
        };
        if architecture.starts_with("gemma") && name.ends_with("norm.weight") {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        add(file, &stored, &shape, &values, kind);
    }
    for (name, parts) in stacks {
        let shape = [&[parts.len()], &parts[0].0[..]].concat();
        let values: Vec<f32> = parts.iter().flat_map(|part| &part.1).copied().collect();
        add(file, &name, &shape, &values, kind);
    }
}

pub(super) fn add(
    file: &mut TestFile,
    name: &str,
    shape: &[usize],
    values: &[f32],
    kind: GgufKind,
) {
    match kind {
        GgufKind::F16 if shape.len() > 1 => {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| f16::from_f32(*value).to_le_bytes())
                .collect();
            file.tensor(name, kind, shape, &bytes);
        }
        _ => file.singles(name, shape, values),
    }
}

/// Adds a model's configuration to a file, under the keys of its architecture.
pub(super) fn add_metadata(file: &mut TestFile, config: &ModelConfig, architecture: &str) {
    file.text("general.architecture", architecture);
    let key = |name: &str| format!("{architecture}.{name}");
    let ffn = config
        .mixture
        .as_ref()
        .map_or(config.ffn, |mixture| mixture.dense_ffn);
    for (name, size) in [
        ("context_length", config.max_positions),
        ("embedding_length", config.hidden),
        ("block_count", config.num_blocks),
        ("feed_forward_length", ffn),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
    ] {
        file.u32(&key(name), size as u32);
    }
    let eps = if ["falcon", "bloom"].contains(&architecture) {
        "attention.layer_norm_epsilon"
    } else {
        "attention.layer_norm_rms_epsilon"
    };
    file.f32(&key(eps), config.norm_eps as f32);
    if let Some(window) = config.windows.iter().flatten().next() {
        file.u32(&key("attention.sliding_window"), *window as u32);
    }
    if let Some(MixtureConfig {
        experts, chosen, ..
    }) = config.mixture
    {
        file.u32(&key("expert_count"), experts as u32);
        file.u32(&key("expert_used_count"), chosen as u32);
        file.u32(&key("expert_feed_forward_length"), config.ffn as u32);
    }
    if architecture.starts_with("gemma") {
        file.u32(&key("attention.key_length"), config.head_dim as u32);
        file.f32(&key("attention.scale"), config.attention_scale as f32);
        for (name, cap) in [
            ("attn_logit_softcapping", config.attention_soft_cap),
            ("final_logit_softcapping", config.logit_soft_cap),
        ] {
            if let Some(cap) = cap {
                file.f32(&key(name), cap as f32);
            }
        }
    }
    if architecture == "gemma3" {
        let windows: Vec<bool> = config.windows.iter().map(Option::is_some).collect();
        file.bools(&key("attention.sliding_window_pattern"), &windows);
    }
    add_rotary_metadata(file, config, &key);
}

/// Adds rotary bases and how they are stretched.
pub(super) fn add_rotary_metadata(
    file: &mut TestFile,
    config: &ModelConfig,
    key: &dyn Fn(&str) -> String,
) {
    if let Positions::Rotary { dims, full, .. } = &config.positions {
        file.u32(&key("rope.dimension_count"), *dims as u32);
        file.f32(&key("rope.freq_base"), full.theta as f32);
        match &full.scaling {
            RopeScaling::Linear { factor } => {
                file.text(&key("rope.scaling.type"), "linear");
                file.f32(&key("rope.scaling.factor"), *factor as f32);
            }
            RopeScaling::Llama3 { .. } => {
                file.singles("rope_freqs.weight", &[dims / 2], &vec![1.1; dims / 2]);
            }
            RopeScaling::LongRope {
                short_factor,
                long_factor,
                original_positions,
                attention_factor,
            } => {
                file.u32(
                    &key("rope.scaling.original_context_length"),
                    *original_positions as u32,
                );
                file.f32(&key("rope.scaling.attn_factor"), *attention_factor as f32);
                for (name, factors) in [("long", long_factor), ("short", short_factor)] {
                    let factors: Vec<f32> = factors.iter().map(|factor| *factor as f32).collect();
                    file.singles(
                        &format!("rope_factors_{name}.weight"),
                        &[factors.len()],
                        &factors,
                    );
                }
            }
            _ => {}
        }
    }
}

/// A folder's model and the same as a GGUF file.
pub(super) struct Pair {
    pub(super) folder: ModelSource,
    pub(super) file: ModelSource,
    /// Transformers' names of all tensors.
    pub(super) tensors: BTreeMap<String, Tensor>,
}

pub(super) fn converted(fixture: &str) -> Pair {
    let names: Json = serde_json::from_str(NAMES).unwrap();
    let names = &names[fixture];
    let architecture = names["architecture"].as_str().unwrap();
    let folder = crate_path("tests/fixtures").join(fixture);
    let tensors = tensors(&folder);
    let folder = ModelSource::directory(&folder).unwrap();
    let mut file = TestFile::new();
    add_metadata(&mut file, folder.config(), architecture);
    let stored = |name: &str| names["names"][name].as_str().unwrap().to_owned();
    add_tensors(
        &mut file,
        folder.config(),
        architecture,
        &tensors,
        stored,
        GgufKind::F32,
    );
    Pair {
        folder,
        file: open(&file),
        tensors,
    }
}

pub(super) fn open(file: &TestFile) -> ModelSource {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    ModelSource::gguf(&path).unwrap()
}
