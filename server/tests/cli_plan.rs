//! `block-server plan`: what it says, in both forms, alone and beside a swarm.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use block_model::{BlockSpan, CpuOptions, CpuSpan, ModelSource, SpanDType};
use block_testing::{Home, fable, repository};
use serde_json::{Value, json};

fn plan(home: &Home, flags: &[&str]) -> Value {
    let model = fable();
    let mut words = vec!["plan", "--json", "--model", model.to_str().unwrap()];
    words.extend(flags);
    let output = home.output(words);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(output.stderr, "", "an answer comes without chatter");
    assert_eq!(output.stdout.lines().count(), 1, "{}", output.stdout);
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn the_figures_are_those_of_the_formats() {
    let home = Home::new("block-server");
    let report = plan(&home, &[]);
    for (key, value) in [
        ("family", json!("llama")),
        ("dht_prefix", json!("fable-7m-hf")),
        ("num_blocks", json!(8)),
        ("hidden", json!(256)),
        ("dtype", json!("bfloat16")),
        ("quant", json!("none")),
        ("kv_dtype", json!("bf16")),
        ("blocks", json!(8)),
        ("range", json!("0:8")),
        ("download_bytes", json!(0)),
        ("attn_cache_tokens", json!(16384)),
        // 2 of keys and values, 2 heads of 64 values, 2 bytes.
        ("bytes_per_1k_tokens", json!(8 * 1024 * 2 * 2 * 64 * 2)),
        ("cache_bytes", json!(8 * 16384 * 2 * 2 * 64 * 2)),
    ] {
        assert_eq!(report[key], value, "{key} of {report}");
    }
    let sum = |keys: &[&str]| -> u64 {
        let figures = keys.iter().map(|key| report[*key].as_u64().unwrap());
        figures.sum()
    };
    assert_eq!(
        sum(&["weight_bytes", "cache_bytes", "reserve_bytes"]),
        sum(&["memory_bytes"])
    );
    assert_eq!(sum(&["weight_bytes"]), 8 * sum(&["bytes_per_block"]));
    assert!(report["memory_available_bytes"].as_u64() > report["memory_bytes"].as_u64());

    let small = plan(
        &home,
        &["--quant", "int4", "--kv-dtype", "int8", "--blocks", "2:4"],
    );
    assert_eq!(
        (&small["range"], &small["blocks"]),
        (&json!("2:4"), &json!(2))
    );
    let share = |key: &str| small[key].as_f64().unwrap() / report[key].as_f64().unwrap();
    assert!(share("bytes_per_block") < 0.3, "{small}");
    assert!(share("bytes_per_1k_tokens") < 0.15, "{small}");
}

/// Within 10 %, as for every checkpoint: here exactly, since the file's header is at hand.
#[test]
fn the_figures_of_gguf_files_are_what_is_then_held() {
    let home = Home::new("block-server");
    let folder = repository().join("models/fable-cut2");
    for kind in ["f16", "q8_0", "q4_0", "q4_k", "q5_k", "q6_k"] {
        let file = folder.join(format!("fable-cut2-{kind}.gguf"));
        let model = file.to_str().unwrap();
        let output = home.output(["plan", "--json", "--model", model, "--blocks", "1:2"]);
        assert_eq!(output.code, Some(0), "{kind}: {}", output.stderr);
        let report: Value = serde_json::from_str(&output.stdout).unwrap();
        let source = ModelSource::gguf(&file).unwrap();
        let options = CpuOptions::new(SpanDType::BF16);
        let span = CpuSpan::load(&source, 1..2, &options).unwrap();
        let held = span.description().weight_bytes;
        assert_eq!(report["weight_bytes"], json!(held), "{kind}");
        assert_eq!(report["download_bytes"], json!(0), "{kind}");
    }
}

#[test]
fn a_person_reads_a_table() {
    let home = Home::new("block-server");
    let model = fable();
    let table = home.output(["plan", model.to_str().unwrap(), "--num_blocks", "3"]);
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    for line in [
        "blocks    0:3 (3): at the beginning of a new swarm",
        "shape     llama, 8 blocks of width 256",
        "download  nothing",
    ] {
        assert!(table.stdout.contains(line), "{line} in {}", table.stdout);
    }
    let whole = home.output(["plan", model.to_str().unwrap(), "--blocks", "all"]);
    assert!(
        whole.stdout.contains("0:8 (8): as asked for"),
        "{}",
        whole.stdout
    );
}

#[test]
fn a_limit_decides_how_many_blocks_fit() {
    let home = Home::new("block-server");
    let whole = plan(&home, &[]);
    let bytes = |key: &str| whole[key].as_u64().unwrap();
    let three = bytes("reserve_bytes") + (bytes("weight_bytes") + bytes("cache_bytes")) / 8 * 3;
    let report = plan(&home, &["--memory-limit", &three.to_string()]);
    assert_eq!(report["range"], "0:3");
    assert_eq!(report["memory_available_bytes"], three);
    assert_eq!(report["memory_bytes"], three);
    assert!(
        report["reason"]
            .as_str()
            .unwrap()
            .contains("as many as fit"),
        "{report}"
    );
    let model = fable();
    home.output(["plan", model.to_str().unwrap(), "--memory-limit", "1MiB"])
        .fails_with(
            69,
            &["not even one block fits in memory", "1.0 MiB", "hint:"],
        );
}

#[test]
fn the_swarm_decides_where_blocks_begin() {
    let home = Home::new("block-server");
    let server = home.serve(&["--blocks", "0:5"]);
    // Without a limit the plan says what is available at the moment.
    let limit = ["--memory-limit", "1GiB"];
    let flags = [
        "--blocks",
        "3",
        limit[0],
        limit[1],
        "--initial-peers",
        &server.address,
    ];
    let report = plan(&home, &flags);
    assert_eq!(report["range"], "5:8");
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("beside 1 server"), "{reason}");
    // Nobody has noticed: nothing was announced.
    let again = plan(&home, &flags);
    assert_eq!(again, report);

    let mut dry = vec![fable().display().to_string(), "--dry-run".to_owned()];
    dry.extend(flags.map(ToOwned::to_owned));
    dry.extend(["--identity", "other.key", "--admin-listen", "off"].map(ToOwned::to_owned));
    let dry = home.output(dry.iter().map(String::as_str));
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert!(
        dry.stderr.contains("start_block=5 end_block=8"),
        "{}",
        dry.stderr
    );
}
