//! A model that is one GGUF file, with nothing beside it.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{fable_folder, load};
use crate::chat_template::{ChatMessage, ChatTemplateError, RenderOptions};
use crate::{LocalModel, LocalModelError, ModelSource};

fn bytes() -> Vec<u8> {
    let file = "../fable-cut2/fable-cut2-q4_0.gguf";
    std::fs::read(fable_folder().join(file)).unwrap()
}

/// The file alone in a folder.
fn file_of(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn open(path: &PathBuf) -> Result<LocalModel, LocalModelError> {
    LocalModel::load(&ModelSource::local(path).unwrap())
}

/// Puts a text before all metadata, with blanks behind it that keep the tensors where they may lie.
fn insert_text(bytes: &mut Vec<u8>, key: &str, text: &str) {
    const ALIGNMENT: usize = 32;
    const VALUES_AT: usize = 16;
    const METADATA_AT: usize = 24;
    let bare = 8 + key.len() + 4 + 8 + text.len();
    let text = format!(
        "{text}{}",
        " ".repeat(bare.next_multiple_of(ALIGNMENT) - bare)
    );
    let mut entry = (key.len() as u64).to_le_bytes().to_vec();
    entry.extend(key.bytes());
    entry.extend(8u32.to_le_bytes());
    entry.extend((text.len() as u64).to_le_bytes());
    entry.extend(text.bytes());
    bytes.splice(METADATA_AT..METADATA_AT, entry);
    // Few values: their number fits into its lowest byte.
    bytes[VALUES_AT] += 1;
}

#[test]
fn tokenizer_and_ends_come_from_the_file() {
    let (_folder, path) = file_of(&bytes());
    let model = open(&path).unwrap();
    assert_eq!((model.bos, model.eos.as_slice()), (Some(0), [1].as_slice()));
    let fable = load(&fable_folder()).unwrap();
    for text in ["Once upon a time", "She said: \"É-tê 12!\"\n\n  so", ""] {
        let ids = model.tokenizer.encode(text).unwrap();
        assert_eq!(ids, fable.tokenizer.encode(text).unwrap(), "{text}");
    }
    assert_eq!(model.tokenizer.vocab(), fable.tokenizer.vocab());
    assert_eq!(model.head.vocab(), fable.head.vocab());
    assert!(model.generation_defaults().sampling().is_greedy());
    let error = model.chat_template().unwrap_err();
    assert!(matches!(error, ChatTemplateError::Missing), "{error}");
}

#[test]
fn the_template_is_the_files_with_its_special_tokens() {
    let mut bytes = bytes();
    let template = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}";
    insert_text(&mut bytes, "tokenizer.chat_template", template);
    let (_folder, path) = file_of(&bytes);
    let model = open(&path).unwrap();
    let template = model.chat_template().unwrap();
    let messages = [ChatMessage::new("user", "hello")];
    let text = template
        .render(&messages, &RenderOptions::default())
        .unwrap();
    let vocabulary = ModelSource::gguf(&path).unwrap().gguf_tokenizer();
    let tokens = vocabulary.unwrap().unwrap().tokens;
    assert_eq!(text.trim_end(), format!("{}hello{}", tokens[0], tokens[1]));
}

#[test]
fn a_tokenizer_that_cannot_be_read_calls_for_a_file_beside_it() {
    let mut bytes = bytes();
    let key = b"tokenizer.ggml.model";
    let place = bytes.windows(key.len()).position(|window| window == key);
    let kind = place.unwrap() + key.len() + 12;
    assert_eq!(&bytes[kind..kind + 4], b"gpt2");
    bytes[kind..kind + 4].copy_from_slice(b"bert");
    let (folder, path) = file_of(&bytes);
    let error = open(&path).unwrap_err().to_string();
    assert!(
        error.contains("model.gguf") && error.contains("\"bert\""),
        "{error}"
    );
    assert!(error.contains("tokenizer.json"), "{error}");
    let beside = folder.path().join("tokenizer.json");
    std::fs::copy(fable_folder().join("tokenizer.json"), beside).unwrap();
    assert!(
        !open(&path)
            .unwrap()
            .tokenizer
            .encode("Once")
            .unwrap()
            .is_empty()
    );
}
