//! What `block-server plan` says is what a span then takes: its weights and its cache in resident memory, and the bytes
//! that a hub sends. The only test of its process, which measures itself.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use block_model::{
    BlockSpan, CpuOptions, CpuSpan, HiddenStates, HubOptions, ModelSource, Quant, Row, SpanDType,
};
use block_testing::{Home, MockHub};
use serde_json::{Value, json};

/// A block has 15 MB in 16 bits and keeps 4 KiB for a token: large beside what a process takes by itself.
const HIDDEN: usize = 1024;
const FFN: usize = 1024;
const HEADS: usize = 16;
const NUM_BLOCKS: usize = 6;
/// As every file of the checkpoint holds.
const BLOCKS_PER_FILE: usize = 2;

/// The project's promise for every figure of a plan.
const TOLERANCE: f64 = 0.1;

#[test]
fn a_plan_is_what_is_then_measured() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path());
    let hub = MockHub::of_folder(folder.path());
    let home = Home::new("block-server");
    let cache = home.path().join("hub").join("hub");

    let planned = plan(&home, &hub, &["--blocks", "0:4"]);
    assert_eq!(hub.sent_bytes("model-"), 0, "a plan fetches no weights");
    let mut options = HubOptions::new("own/model");
    options.endpoint = Some(hub.endpoint.clone());
    options.cache_dir = Some(cache);
    options.progress_bar = false;
    let source = ModelSource::hub(options).unwrap();
    source.fetch(0..4).unwrap();
    is_near(&planned, "download_bytes", hub.sent_bytes("model-"));
    let fetched = plan(&home, &hub, &["--blocks", "0:4"]);
    assert_eq!(fetched["download_bytes"], 0);
    let more = plan(&home, &hub, &["--blocks", "2:6"]);
    assert_eq!(
        more["download_bytes"].as_u64(),
        planned["download_bytes"].as_u64().map(|bytes| bytes / 2)
    );

    for (name, quant) in [("int8", Quant::Int8), ("none", Quant::None)] {
        let planned = plan(&home, &hub, &["--blocks", "0:4", "--quant", name]);
        let before = resident_bytes();
        let options = CpuOptions {
            quant,
            ..CpuOptions::new(SpanDType::BF16)
        };
        let mut span = CpuSpan::load(&source, 0..4, &options).unwrap();
        is_near(&planned, "weight_bytes", resident_bytes() - before);
        let block = span.description().weight_bytes / 4;
        is_near(&planned, "bytes_per_block", block);
        if quant == Quant::None {
            let (tokens, bytes) = fill_cache(&mut span);
            is_near(&planned, "bytes_per_1k_tokens", bytes * 1024 / tokens);
        }
    }
}

/// The plan for the hub's model, as the program says it.
fn plan(home: &Home, hub: &MockHub, flags: &[&str]) -> Value {
    let words = ["plan", "--json", "own/model", "--dtype", "bf16"];
    let mut command = home.command(words.iter().chain(flags).copied());
    command
        .env_remove("HF_HUB_OFFLINE")
        .env("HF_ENDPOINT", &hub.endpoint);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_near(planned: &Value, key: &str, measured: u64) {
    let said = planned[key].as_f64().unwrap();
    let off = (measured as f64 - said) / said;
    eprintln!(
        "{key}: {said} planned, {measured} measured, {:+.1} %",
        100.0 * off
    );
    assert!(
        off.abs() <= TOLERANCE,
        "{key}: {said} planned, {measured} measured"
    );
}

/// Runs tokens through the span; how many they were and what memory they took. The first step is not counted, as it
/// also takes the engine's working memory.
fn fill_cache(span: &mut CpuSpan) -> (u64, u64) {
    const BATCH: usize = 32;
    const STEP: usize = 32;
    const STEPS: usize = 4;
    let cache = span.open_cache(0..4, BATCH, STEP * STEPS * 2).unwrap();
    let values = vec![0.5; BATCH * STEP * HIDDEN];
    let mut step = |number: usize| {
        let row = Row {
            cache,
            blocks: 0..4,
            position: number * STEP,
            hidden_states: HiddenStates {
                values: &values,
                shape: [BATCH, STEP, HIDDEN],
            },
            prompts: None,
            reorder: None,
        };
        for output in span.step(&[row]) {
            output.unwrap();
        }
    };
    // A page of every row is full after two steps.
    step(0);
    step(1);
    let before = resident_bytes();
    for number in 2..2 + STEPS {
        step(number);
    }
    ((BATCH * STEP * STEPS) as u64, resident_bytes() - before)
}

/// Memory of this process that is in the machine's.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.unwrap().trim().trim_end_matches("kB").trim();
    kibibytes.parse::<u64>().unwrap() * 1024
}

/// A Llama of [`NUM_BLOCKS`] blocks without embeddings and head, which a server never reads.
fn write_model(folder: &Path) {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 260,
        "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": NUM_BLOCKS,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 2048, "torch_dtype": "bfloat16"
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut places = serde_json::Map::new();
    for first in (0..NUM_BLOCKS).step_by(BLOCKS_PER_FILE) {
        let file = format!("model-{first}.safetensors");
        let tensors: Vec<_> = (first..first + BLOCKS_PER_FILE)
            .flat_map(block_tensors)
            .collect();
        for (name, _) in &tensors {
            places.insert(name.clone(), json!(file));
        }
        write_shard(&folder.join(file), &tensors);
    }
    let index = json!({"metadata": {}, "weight_map": places});
    std::fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
}

fn block_tensors(block: usize) -> Vec<(String, Vec<usize>)> {
    let tensor = |part: &str, shape: &[usize]| {
        let name = format!("model.layers.{block}.{part}.weight");
        (name, shape.to_vec())
    };
    vec![
        tensor("input_layernorm", &[HIDDEN]),
        tensor("post_attention_layernorm", &[HIDDEN]),
        tensor("self_attn.q_proj", &[HIDDEN, HIDDEN]),
        tensor("self_attn.k_proj", &[HIDDEN, HIDDEN]),
        tensor("self_attn.v_proj", &[HIDDEN, HIDDEN]),
        tensor("self_attn.o_proj", &[HIDDEN, HIDDEN]),
        tensor("mlp.gate_proj", &[FFN, HIDDEN]),
        tensor("mlp.up_proj", &[FFN, HIDDEN]),
        tensor("mlp.down_proj", &[HIDDEN, FFN]),
    ]
}

/// Writes bfloat16 tensors of small numbers.
fn write_shard(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    for place in 0..end / 2 {
        let value = ((place * 31) % 127) as f32 / 4096.0 - 1.0 / 64.0;
        let value = half::bf16::from_f32(value);
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}
