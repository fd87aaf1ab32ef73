//! A GGUF file of every kind as the model of two of our servers and of our client.

use std::path::{Path, PathBuf};

use block_testing::{Ask, BlockServer, Span, SwarmRun, repository, temporary};
use half::{bf16, f16};
use serde_json::Value;

#[test]
fn every_kind_of_gguf_continues_as_transformers_does() {
    let folder = repository().join("models/fable-cut2");
    let golden = std::fs::read_to_string(folder.join("golden_gguf.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let kinds = golden["kinds"].as_object().unwrap();
    assert_eq!(kinds.len(), 7);
    for (kind, expected) in kinds {
        let file = match kind.as_str() {
            "bf16" => with_bf16(&folder.join("fable-cut2-f16.gguf")),
            file => folder.join(file),
        };
        continues(&file, &golden["prompts"], &expected["continuations"]);
    }
}

/// Every prompt's greedy ids, in float32 with exact links.
fn continues(file: &Path, prompts: &Value, continuations: &Value) {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let spawn = |blocks: &str, bootstrap: Option<&str>| {
        let span = Span {
            prefix: name,
            blocks,
            dtype: "f32",
            flags: &[],
        };
        BlockServer::spawn(&format!("{name}-{blocks}"), file, &span, bootstrap)
    };
    let first = spawn("0:1", None);
    let bootstrap = first.await_ready().address;
    let second = spawn("1:2", Some(&bootstrap));
    second.await_ready();

    let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let prompts = prompts.as_array().unwrap();
    let continuations = continuations.as_array().unwrap();
    assert_eq!(prompts.len(), continuations.len());
    for (prompt, continuation) in prompts.iter().zip(continuations) {
        let expected = ids(&continuation["greedy_ids"]);
        let ask = Ask {
            model: file.to_owned(),
            prefix: name.to_owned(),
            bootstrap: bootstrap.clone(),
            prompt: ids(&prompt["ids"]),
            max_tokens: expected.len(),
            past_the_end: true,
            codec: "none",
            push: true,
            route: Vec::new(),
        };
        let ending = SwarmRun::ask(name, &ask).finish();
        assert_eq!(ending.ids(), expected, "{name}: {}", ending.log);
        assert_eq!(ending.route().len(), 2, "{name}");
    }
}

/// The same model with bf16 where it has f16: its weights were made of bf16.
fn with_bf16(file: &Path) -> PathBuf {
    const F16: u32 = 1;
    const BF16: u32 = 30;
    let mut bytes = std::fs::read(file).unwrap();
    let (mut tensors, mut table_end) = (Vec::new(), 0);
    for name in tensor_names() {
        let at = bytes
            .windows(name.len())
            .position(|part| part == name.as_bytes());
        let at = at.unwrap_or_else(|| panic!("no {name}")) + name.len();
        // Two dimensions; then their sizes, the type, and the offset behind the table.
        assert_eq!(u32_at(&bytes, at), 2, "{name}");
        assert_eq!(u32_at(&bytes, at + 20), F16, "{name}");
        let values = u64_at(&bytes, at + 4) * u64_at(&bytes, at + 12);
        bytes[at + 20..at + 24].copy_from_slice(&BF16.to_le_bytes());
        tensors.push((u64_at(&bytes, at + 24), values));
        table_end = table_end.max(at + 32);
    }
    // The final norm's entry is the last of the table, or one of these is.
    let norm = bytes
        .windows(18)
        .position(|part| part == b"output_norm.weight")
        .unwrap();
    let start = table_end.max(norm + 18 + 24).next_multiple_of(32);
    for (offset, values) in tensors {
        let from = start + offset as usize;
        for half in bytes[from..from + 2 * values as usize].chunks_exact_mut(2) {
            let value = f16::from_le_bytes([half[0], half[1]]).to_f32();
            half.copy_from_slice(&bf16::from_f32(value).to_le_bytes());
        }
    }
    let path = temporary("fable-cut2-bf16.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The model's matrices.
fn tensor_names() -> Vec<String> {
    let of_blocks = (0..2).flat_map(|block| {
        let names = "attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split(' ');
        names.map(move |name| format!("blk.{block}.{name}.weight"))
    });
    of_blocks.chain(["token_embd.weight".to_owned()]).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
