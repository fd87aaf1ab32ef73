use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::SamplingConfig;
use crate::chat_template::{ChatMessage, RenderOptions};
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
    let defaults = model.generation_defaults();
    let advised = SamplingConfig {
        temperature: 0.7,
        top_k: 40,
        top_p: 0.95,
        ..SamplingConfig::default()
    };
    assert_eq!(defaults.sampling(), advised);
    assert_eq!(defaults.max_tokens(10), Some(200));
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
    assert_eq!((model.bos, &model.eos), (Some(0), &vec![3, 4]));
    assert!(model.generation_defaults().sampling().is_greedy());

    std::fs::remove_file(folder.path().join("generation_config.json")).unwrap();
    let model = load(folder.path()).unwrap();
    assert_eq!((model.bos, &model.eos), (Some(0), &vec![1]));
    assert!(model.generation_defaults().sampling().is_greedy());
}

#[test]
fn advice_out_of_range_is_an_error_that_names_its_key() {
    let folder = folder_without_blocks();
    write_json(
        &folder,
        "generation_config.json",
        &json!({"do_sample": true, "top_p": 3.0}),
    );
    let text = load(folder.path()).unwrap_err().to_string();
    assert!(
        text.contains("generation_config.json: top_p must be"),
        "{text}"
    );
}

#[test]
fn the_first_chat_template_in_order_is_taken() {
    let folder = folder_without_blocks();
    let rendered = |folder: &TempDir| {
        let model = load(folder.path()).unwrap();
        let template = model.chat_template()?;
        template.render(&[ChatMessage::new("user", "x")], &RenderOptions::default())
    };
    assert_eq!(rendered(&folder), Err(ChatTemplateError::Missing));
    write_json(
        &folder,
        "tokenizer_config.json",
        &json!({"bos_token": {"content": "<s>"}, "chat_template": [
            {"name": "rag", "template": "no"}, {"name": "default", "template": "config{{ bos_token }}"}]}),
    );
    assert_eq!(rendered(&folder).unwrap(), "config<s>");
    write_json(
        &folder,
        "special_tokens_map.json",
        &json!({"bos_token": "no", "eos_token": "</s>"}),
    );
    write_json(
        &folder,
        "chat_template.json",
        &json!({"chat_template": "json{{ bos_token }}{{ eos_token }}"}),
    );
    assert_eq!(rendered(&folder).unwrap(), "json<s></s>");
    std::fs::write(folder.path().join("chat_template.jinja"), "jinja").unwrap();
    assert_eq!(rendered(&folder).unwrap(), "jinja");
}

#[test]
fn a_damaged_chat_template_matters_only_when_it_is_asked_for() {
    let folder = folder_without_blocks();
    write_json(
        &folder,
        "tokenizer_config.json",
        &json!({"chat_template": 5}),
    );
    let model = load(folder.path()).unwrap();
    let text = model.chat_template().unwrap_err().to_string();
    assert!(
        text.contains("tokenizer_config.json: chat_template must be"),
        "{text}"
    );
}

fn tokenizer_fixture(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tokenizers")
        .join(file)
}

#[test]
fn a_tokenizer_model_stands_in_for_a_tokenizer_json() {
    let folder = folder_without_blocks();
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let model = folder.path().join("tokenizer.model");
    std::fs::copy(tokenizer_fixture("spm-bpe.model"), &model).unwrap();
    let encode = |config: Value| {
        write_json(&folder, "tokenizer_config.json", &config);
        let model = load(folder.path()).map_err(|error| error.to_string())?;
        Ok::<_, String>(model.tokenizer.encode("a<pad>b").unwrap())
    };
    let plain = encode(json!({})).unwrap();
    assert_eq!(plain[0], 1);
    assert_eq!(encode(json!({"add_bos_token": false})).unwrap(), plain[1..]);
    let both = encode(json!({"add_eos_token": true, "eos_token": {"content": "</s>"}})).unwrap();
    assert_eq!(both[..both.len() - 1], plain);
    assert_eq!(both.last(), Some(&2));

    let vocab = u32::try_from(load(folder.path()).unwrap().tokenizer.vocab()).unwrap();
    let padding =
        json!({"added_tokens_decoder": {vocab.to_string(): {"content": "<pad>", "special": true}}});
    let padded = encode(padding).unwrap();
    assert!(padded.contains(&vocab) && padded.len() < plain.len());
    write_json(&folder, "added_tokens.json", &json!({"<pad>": vocab}));
    assert_eq!(encode(json!({})).unwrap(), padded);

    let refused = encode(json!({"tokenizer_class": "T5Tokenizer"})).unwrap_err();
    assert!(
        refused.contains("T5Tokenizer") && refused.contains("tokenizer.json"),
        "{refused}"
    );
    let refused =
        encode(json!({"added_tokens_decoder": {"7000": {"content": "<far>"}}})).unwrap_err();
    assert!(refused.contains("<far>"), "{refused}");
    let refused = encode(json!({"added_tokens_decoder": {"seven": {}}})).unwrap_err();
    assert!(refused.contains("tokenizer_config.json"), "{refused}");
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

mod gguf;
