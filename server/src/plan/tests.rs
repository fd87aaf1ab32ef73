//! Plans for the embedded model's shape.

use block_program::{Exit, Folders};

use super::*;
use crate::cli;

const MODEL: &str = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4096,
    "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 8, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "torch_dtype": "float32"}"#;

/// A machine on which everything fits.
const ROOMY: Memory = Memory {
    available: Some(1 << 50),
    limit: None,
};

fn draft(line: &str, memory: Memory) -> Result<Draft, Failure> {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::under(root.path());
    let args = std::iter::once("block-server")
        .chain(line.split_whitespace())
        .map(Into::into);
    let parsed = cli::parse(args, &folders).unwrap();
    let config = Config::from_cli(parsed.cli, &folders, &|_| None)?;
    Draft::new(
        &config,
        &ModelConfig::parse(MODEL).unwrap(),
        &StoredWeights::default(),
        memory,
    )
}

fn plan(line: &str) -> Result<Plan, Failure> {
    draft(line, ROOMY).map(|draft| draft.placed(&[]))
}

#[test]
fn blocks_are_a_range_a_capped_count_all_or_what_fits() {
    assert_eq!(plan("org/name --blocks 2:5").unwrap().blocks, 2..5);
    assert_eq!(plan("org/name --num_blocks 3").unwrap().blocks, 0..3);
    assert_eq!(plan("org/name --num_blocks 80").unwrap().blocks, 0..8);
    assert_eq!(plan("org/name --blocks all").unwrap().blocks, 0..8);
    assert_eq!(plan("org/name").unwrap().blocks, 0..8);
    let failure = plan("org/name --blocks 0:40").unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage);
    assert!(
        failure
            .to_string()
            .contains("the model has 8 blocks, 0:8 is all of them"),
        "{failure}"
    );
}

#[test]
fn a_count_goes_where_the_swarm_is_weakest_and_a_range_stays() {
    let others = [Holding {
        blocks: 0..5,
        throughput: 10.0,
    }];
    let placed = |line: &str| {
        let draft = draft(line, ROOMY).unwrap();
        assert_eq!(draft.is_open(), draft.fixed().is_none());
        draft.placed(&others).blocks
    };
    assert_eq!(placed("org/name --blocks 3"), 5..8);
    assert_eq!(placed("org/name --blocks 0:3"), 0..3);
    assert_eq!(placed("org/name --blocks auto"), 0..8);
    assert_eq!(placed("org/name --blocks all"), 0..8);
    let memory = of_blocks(3);
    let auto = draft("org/name --blocks auto", memory).unwrap();
    assert_eq!(auto.placed(&others).blocks, 5..8);
    assert_eq!(auto.begun_at(2).blocks, 2..5);
}

/// Just the memory for `count` blocks of our choice.
fn of_blocks(count: u64) -> Memory {
    let plan = plan("org/name --blocks 1").unwrap();
    let each = plan.largest_block_bytes + plan.block_cache_bytes;
    Memory {
        available: None,
        limit: Some(count * each + plan.reserve_bytes),
    }
}

#[test]
fn auto_fills_nine_tenths_of_the_memory_or_the_whole_limit() {
    let count = |memory| {
        let draft = draft("org/name", memory);
        draft.map(|draft| draft.placed(&[]).blocks.len())
    };
    let limit = of_blocks(3).limit;
    assert_eq!(count(of_blocks(3)).unwrap(), 3);
    assert_eq!(count(of_blocks(80)).unwrap(), 8);
    let less = Memory {
        limit: limit.map(|bytes| bytes - 1),
        available: None,
    };
    assert_eq!(count(less).unwrap(), 2);
    let free = |bytes| Memory {
        available: Some(bytes),
        limit: None,
    };
    let three = limit.unwrap();
    assert_eq!(count(free(three)).unwrap(), 2);
    assert_eq!(count(free(three / 9 * 10 + 20)).unwrap(), 3);
    // The narrower of the two counts.
    let both = Memory {
        available: Some(three),
        limit,
    };
    assert_eq!(count(both).unwrap(), 2);

    let unknown = Memory {
        available: None,
        limit: None,
    };
    let failure = count(unknown).unwrap_err();
    assert_eq!(failure.exit(), Exit::Unavailable);
    assert!(failure.to_string().contains("--memory-limit"), "{failure}");
    let failure = count(free(1000)).unwrap_err();
    assert_eq!(failure.exit(), Exit::Unavailable);
    assert!(
        failure.to_string().contains("not even one block"),
        "{failure}"
    );
    let failure = count(of_blocks(0)).unwrap_err();
    assert!(
        !failure.to_string().contains("--attn-cache-tokens"),
        "{failure}"
    );
}

#[test]
fn the_files_type_of_weights_beats_the_configurations() {
    let root = tempfile::tempdir().unwrap();
    let folders = Folders::under(root.path());
    let args = ["block-server", "org/name"].map(Into::into);
    let cli = cli::parse(args, &folders).unwrap().cli;
    let config = Config::from_cli(cli, &folders, &|_| None).unwrap();
    let model = ModelConfig::parse(MODEL).unwrap();
    let bytes = |stored| {
        let weights = StoredWeights::floats(stored);
        let draft = Draft::new(&config, &model, &weights, ROOMY).unwrap();
        draft.placed(&[]).largest_block_bytes
    };
    let singles = bytes(None);
    assert_eq!(bytes(Some(SpanDType::F32)), singles);
    let halves = bytes(Some(SpanDType::F16)) as f64 / singles as f64;
    assert!((halves - 0.5).abs() < 0.01, "{halves}");
}

#[test]
fn defaults_follow_grouped_attention() {
    let plan = plan("org/name --blocks all").unwrap();
    assert_eq!(
        (
            plan.attn_cache_tokens,
            plan.inference_max_length,
            plan.max_batch_tokens
        ),
        (16384, 8192, 8192)
    );
}

#[test]
fn float32_checkpoints_are_served_in_bfloat16_unless_told() {
    assert_eq!(
        plan("org/name --blocks all").unwrap().dtype,
        SpanDType::BF16
    );
    assert_eq!(
        plan("org/name --blocks all --dtype f32").unwrap().dtype,
        SpanDType::F32
    );
    assert_eq!(automatic_dtype(Some(SpanDType::F16)), SpanDType::F16);
    assert_eq!(automatic_dtype(None), SpanDType::BF16);
}

#[test]
fn prefixes_follow_petals_rule_also_for_folders() {
    let hub = plan("meta/Llama-3.1-8B --blocks all").unwrap();
    assert_eq!(
        (hub.prefix.as_str(), hub.prefix_is_derived),
        ("Llama-3-1-8B-hf", true)
    );
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("fable-7m");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(
        plan(&folder.display().to_string()).unwrap().prefix,
        "fable-7m-hf"
    );
    assert_eq!(
        plan(&format!("{}/", folder.display())).unwrap().prefix,
        "fable-7m-hf"
    );
    let given = plan("org/name --blocks all --dht_prefix tiny").unwrap();
    assert_eq!(
        (given.prefix.as_str(), given.prefix_is_derived),
        ("tiny", false)
    );
}

#[test]
fn what_does_not_fit_names_the_levers() {
    let whole = plan("org/name --blocks all").unwrap();
    assert_eq!(
        whole.weight_bytes(),
        8 * 4 * 256 * (2 * 256 + 2 * 128 + 3 * 768 + 2)
    );
    assert_eq!(whole.cache_bytes(), 8 * 16384 * 2 * 2 * 128);
    let of = |bytes| Memory {
        available: Some(bytes),
        limit: None,
    };
    let check = |bytes| draft("org/name --blocks all", of(bytes));
    let held = whole.weight_bytes() + whole.cache_bytes();
    assert!(check(held + whole.reserve_bytes).is_ok());
    let failure = check(held / 2 + whole.reserve_bytes).unwrap_err();
    assert_eq!(failure.exit(), Exit::Unavailable);
    let text = failure.to_string();
    assert!(text.contains("--blocks 0:4"), "{text}");
    assert!(text.contains("--attn-cache-tokens"), "{text}");
    let text = check(1000).unwrap_err().to_string();
    assert!(text.contains("more memory"), "{text}");
}

#[test]
fn formats_decide_the_size_and_pages_are_whole() {
    let line = "org/name --blocks all --attn-cache-tokens 65";
    let weights = |flags: &str| plan(&format!("{line} {flags}")).unwrap().weight_bytes() as f64;
    let none = weights("");
    for (quant, bytes) in [("int8", 1.0625), ("int4", 0.5625), ("nf4", 0.53125)] {
        let share = weights(&format!("--quant {quant}")) / none;
        assert!((share - bytes / 4.0).abs() < 0.01, "{quant}: {share}");
    }
    for (kv, bytes) in [("f32", 4), ("bf16", 2)] {
        let plan = plan(&format!("{line} --kv-dtype {kv}")).unwrap();
        assert_eq!(plan.cache_bytes(), 8 * 128 * 2 * bytes * 128, "{kv}");
        assert_eq!(plan.engine().kv_budget_bytes, plan.cache_bytes());
    }
    assert!(
        plan(&format!("{line} --kv-dtype int8"))
            .unwrap()
            .cache_bytes()
            < 8 * 128 * 2 * 2 * 128
    );
    let f32 = plan("org/name --blocks all --dtype f32").unwrap();
    assert_eq!(f32.kv_dtype, KvDType::F32);
}

#[test]
fn a_compression_that_the_dtype_rules_out_is_refused() {
    let failure = plan("org/name --blocks all --dtype bf16 --compression FLOAT16").unwrap_err();
    assert_eq!(failure.exit(), Exit::Usage);
    assert!(
        failure
            .to_string()
            .contains("--compression float16 does not pack bfloat16"),
        "{failure}"
    );
    assert!(plan("org/name --blocks all --dtype f32 --compression FLOAT16").is_ok());
}
