use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{Architecture, Heads, config_json};
use crate::config::ModelConfig;
use crate::error::LoadError;
use crate::source::gguf::file::GgufFile;
use crate::source::gguf::test_file::TestFile;

/// A file with what every model has: 8 heads of 4, 2 KV heads, 2 blocks.
fn base(architecture: &str) -> TestFile {
    let mut file = TestFile::new();
    file.text("general.architecture", architecture);
    for (name, size) in [
        ("context_length", 64),
        ("embedding_length", 32),
        ("block_count", 2),
        ("feed_forward_length", 64),
        ("attention.head_count", 8),
        ("attention.head_count_kv", 2),
    ] {
        file.u32(&format!("{architecture}.{name}"), size);
    }
    file.singles("token_embd.weight", &[10, 32], &[0.0; 320]);
    file.singles("blk.0.attn_q.weight", &[32, 32], &[0.0; 1024]);
    file
}

fn config(file: &TestFile) -> Json {
    let file = file.open().unwrap();
    let architecture = Architecture::of(&file).unwrap();
    let heads = Heads::of(&file, architecture).unwrap();
    config_json(&file, architecture, heads).unwrap()
}

#[test]
fn a_llama_without_anything_special_is_one() {
    let mut file = base("llama");
    file.u32("tokenizer.ggml.eos_token_id", 9);
    let config = config(&file);
    assert_eq!(config["architectures"], json!(["LlamaForCausalLM"]));
    assert_eq!(
        (&config["vocab_size"], &config["head_dim"]),
        (&json!(10), &json!(4))
    );
    assert_eq!(config["tie_word_embeddings"], json!(true));
    assert_eq!(config["torch_dtype"], json!("float32"));
    assert_eq!(config["eos_token_id"], json!(9));
    assert_eq!(config.get("rope_scaling"), None);
}

#[test]
fn models_that_share_llamas_architecture_are_told_apart() {
    let name = |change: &dyn Fn(&mut TestFile)| {
        let mut file = base("llama");
        change(&mut file);
        config(&file)["architectures"][0]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        name(&|file| file.u32("llama.attention.sliding_window", 16)),
        "MistralForCausalLM"
    );
    assert_eq!(
        name(&|file| {
            file.u32("llama.expert_count", 4);
            file.u32("llama.expert_used_count", 2);
        }),
        "MixtralForCausalLM"
    );
    let bias = |file: &mut TestFile| file.singles("blk.0.attn_q.bias", &[32], &[0.0; 32]);
    assert_eq!(name(&|file| bias(file)), "Qwen2ForCausalLM");
    assert_eq!(
        name(&|file| {
            bias(file);
            file.singles("blk.0.attn_output.bias", &[32], &[0.0; 32]);
        }),
        "LlamaForCausalLM"
    );
    assert_eq!(
        name(&|file| file.u32("llama.expert_count", 0)),
        "LlamaForCausalLM"
    );
}

#[test]
fn every_way_of_stretching_is_said_in_transformers_words() {
    let scaling = |change: &dyn Fn(&mut TestFile)| {
        let mut file = base("llama");
        change(&mut file);
        config(&file).get("rope_scaling").cloned()
    };
    assert_eq!(
        scaling(&|file| {
            file.text("llama.rope.scaling.type", "linear");
            file.f32("llama.rope.scaling.factor", 4.0);
        }),
        Some(json!({"rope_type": "linear", "factor": 4.0}))
    );
    assert_eq!(
        scaling(&|file| file.f32("llama.rope.scale_linear", 2.0)),
        Some(json!({"rope_type": "linear", "factor": 2.0}))
    );
    assert_eq!(
        scaling(&|file| file.text("llama.rope.scaling.type", "none")),
        None
    );
    let yarn = scaling(&|file| {
        file.text("llama.rope.scaling.type", "yarn");
        file.f32("llama.rope.scaling.factor", 4.0);
        file.u32("llama.rope.scaling.original_context_length", 16);
        file.f32("llama.rope.scaling.yarn_beta_fast", 16.0);
    });
    let yarn = yarn.unwrap();
    assert_eq!(
        (&yarn["rope_type"], &yarn["factor"]),
        (&json!("yarn"), &json!(4.0))
    );
    assert_eq!(yarn["original_max_position_embeddings"], json!(16));
    assert_eq!(
        (&yarn["beta_fast"], &yarn["beta_slow"]),
        (&json!(16.0), &Json::Null)
    );
    assert_eq!(
        scaling(&|file| file.text("llama.rope.scaling.type", "spiral")),
        Some(json!({"rope_type": "spiral"}))
    );
}

#[test]
fn what_gemma_does_not_write_is_known() {
    let scalar = |architecture: &str, blocks: Option<u32>| {
        let mut file = TestFile::new();
        file.text("general.architecture", architecture);
        for (name, size) in [
            ("context_length", 64),
            ("embedding_length", 4608),
            ("block_count", blocks.unwrap_or(2)),
            ("attention.head_count", 32),
            ("attention.key_length", 128),
        ] {
            file.u32(&format!("{architecture}.{name}"), size);
        }
        file.singles("token_embd.weight", &[1, 8], &[0.0; 8]);
        config(&file)["query_pre_attn_scalar"].as_f64()
    };
    assert_eq!(scalar("gemma2", None), Some(128.0));
    assert_eq!(scalar("gemma2", Some(46)), Some(144.0));
    assert_eq!(scalar("gemma3", Some(46)), Some(128.0));
    assert_eq!(scalar("gemma3", Some(62)), Some(144.0));
}

#[test]
fn a_pattern_of_windows_may_be_a_number_or_a_list() {
    let mut file = base("gemma3");
    file.u32("gemma3.attention.sliding_window_pattern", 6);
    let number = config(&file);
    assert_eq!(number["sliding_window_pattern"], json!(6));
    assert_eq!(number["rope_local_base_freq"], json!(10_000.0));
    let mut file = base("gemma3");
    file.bools("gemma3.attention.sliding_window_pattern", &[true, false]);
    file.f32("gemma3.rope.freq_base_swa", 5_000.0);
    let list = config(&file);
    assert_eq!(
        list["layer_types"],
        json!(["sliding_attention", "full_attention"])
    );
    assert_eq!(list["rope_local_base_freq"], json!(5_000.0));
}

#[test]
fn falcons_layouts_are_told_by_their_norms_and_heads() {
    let falcon = |groups: u32, has_two_norms: bool| {
        let mut file = TestFile::new();
        file.text("general.architecture", "falcon");
        for (name, size) in [
            ("context_length", 64),
            ("embedding_length", 32),
            ("block_count", 2),
            ("attention.head_count", 8),
            ("attention.head_count_kv", groups),
        ] {
            file.u32(&format!("falcon.{name}"), size);
        }
        file.singles("token_embd.weight", &[1, 8], &[0.0; 8]);
        if has_two_norms {
            file.singles("blk.0.attn_norm_2.weight", &[8], &[0.0; 8]);
        }
        let config = config(&file);
        let norms = config["num_ln_in_parallel_attn"].as_u64();
        (config["new_decoder_architecture"] == true, norms)
    };
    assert_eq!(falcon(1, false), (false, None));
    assert_eq!(falcon(2, true), (true, Some(2)));
    assert_eq!(falcon(2, false), (true, Some(1)));
}

/// All that is done with a file before its weights are read.
fn understand(bytes: &[u8]) -> Result<(), LoadError> {
    // In memory where that is possible: a disk takes milliseconds for each of many cases.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    let file = GgufFile::open(&path)?;
    let architecture = Architecture::of(&file)?;
    let heads = Heads::of(&file, architecture)?;
    let config = config_json(&file, architecture, heads)?;
    let _ = ModelConfig::parse(&config.to_string());
    Ok(())
}

proptest! {
    #[test]
    fn damaged_metadata_never_panics(
        architecture in prop::sample::select(vec![
            "llama", "qwen2", "qwen3moe", "gemma2", "gemma3", "phi3", "falcon", "bloom",
        ]),
        sizes in prop::collection::vec((0usize..8, prop_oneof![0u32..4, any::<u32>()]), 0..4),
        changes in prop::collection::vec((0usize..900, any::<u8>()), 0..6),
    ) {
        let mut file = base(architecture);
        for (key, value) in sizes {
            let key = [
                "attention.key_length",
                "rope.dimension_count",
                "expert_count",
                "expert_used_count",
                "expert_feed_forward_length",
                "attention.sliding_window",
                "attention.sliding_window_pattern",
                "rope.scaling.original_context_length",
            ][key];
            file.u32(&format!("{architecture}.{key}"), value);
        }
        let mut bytes = file.bytes();
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        let _ = understand(&bytes);
    }
}
