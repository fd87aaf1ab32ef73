use std::path::Path;

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::text_codec::test_codecs::fable_folder;

fn load(folder: &Path) -> Result<LocalModel, LocalModelError> {
    LocalModel::load(&ModelSource::directory(folder).unwrap())
}

/// The embedded model's folder without the weights of any block, and whatever `edit` changes.
fn folder_without_blocks() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "generation_config.json", "tokenizer.json"] {
        std::fs::copy(fable_folder().join(file), folder.path().join(file)).unwrap();
    }
    let weights = std::fs::read(fable_folder().join("model.safetensors")).unwrap();
    let weights = SafeTensors::deserialize(&weights).unwrap();
    let kept = weights
        .iter()
        .filter(|(name, _)| !name.starts_with("model.layers."));
    safetensors::serialize_to_file(kept, None, &folder.path().join("model.safetensors")).unwrap();
    folder
}

fn write_json(folder: &TempDir, file: &str, json: &Value) {
    std::fs::write(folder.path().join(file), json.to_string()).unwrap();
}

#[test]
fn needs_nothing_of_the_blocks() {
    let folder = folder_without_blocks();
    let size = |folder: &Path| {
        std::fs::metadata(folder.join("model.safetensors"))
            .unwrap()
            .len()
    };
    assert!(size(folder.path()) * 4 < size(&fable_folder()));
    let model = load(folder.path()).unwrap();
    assert_eq!((model.bos, model.eos.as_slice()), (Some(0), [1].as_slice()));
    assert_eq!(model.head.vocab(), model.config.vocab);
    let advised = SamplingConfig {
        temperature: 0.7,
        top_k: 40,
        top_p: 0.95,
        ..SamplingConfig::default()
    };
    assert_eq!(model.sampling, advised);
}

#[test]
fn ends_of_answers_come_from_the_generation_config_first() {
    let folder = folder_without_blocks();
    write_json(
        &folder,
        "generation_config.json",
        &json!({"eos_token_id": [3, 4], "top_k": 40}),
    );
    let model = load(folder.path()).unwrap();
    assert_eq!((model.bos, model.eos), (Some(0), vec![3, 4]));
    assert!(model.sampling.is_greedy());

    std::fs::remove_file(folder.path().join("generation_config.json")).unwrap();
    let model = load(folder.path()).unwrap();
    assert_eq!((model.bos, model.eos), (Some(0), vec![1]));
    assert!(model.sampling.is_greedy());
}

#[test]
fn advice_out_of_range_is_left_out() {
    let folder = folder_without_blocks();
    write_json(
        &folder,
        "generation_config.json",
        &json!({"do_sample": true, "top_p": 3.0}),
    );
    assert!(load(folder.path()).unwrap().sampling.is_greedy());
}

#[test]
fn errors_name_the_file() {
    let folder = folder_without_blocks();
    let text = |folder: &TempDir| load(folder.path()).unwrap_err().to_string();
    write_json(
        &folder,
        "generation_config.json",
        &json!({"eos_token_id": "one"}),
    );
    assert!(text(&folder).contains("generation_config.json"));
    write_json(&folder, "generation_config.json", &json!({}));
    write_json(&folder, "tokenizer.json", &json!({}));
    assert!(text(&folder).contains("tokenizer.json"));
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(text(&folder).contains("tokenizer.json: not found"));
}
