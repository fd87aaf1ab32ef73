//! The tokenizer among a model's files: `tokenizer.json`, or else SentencePiece's `tokenizer.model`.

use block_model::{LoadError, ModelSource};
use serde_json::Value as Json;
use tokenizers::AddedToken;

use super::LocalModelError;
use super::small_files::{malformed, optional_json, optional_path, read_bytes};
use crate::chat_template::spelling;
use crate::text_codec::{SentencePieceOptions, TextCodec, TextError};

/// Reads the model's tokenizer.
///
/// # Errors
/// There is none that can be read.
pub(super) fn load(
    source: &ModelSource,
    tokenizer_config: Option<&Json>,
) -> Result<TextCodec, LocalModelError> {
    if let Some(path) = optional_path(source, TOKENIZER_FILE)? {
        return TextCodec::read(&path)
            .map_err(|source| LocalModelError::Tokenizer { path, source });
    }
    let Some(path) = optional_path(source, SENTENCEPIECE_FILE)? else {
        // The error of the file that a model should have.
        return Err(missing(source));
    };
    let unusable = |source: TextError| LocalModelError::Tokenizer {
        path: path.clone(),
        source,
    };
    let config = tokenizer_config.unwrap_or(&Json::Null);
    let class = config.get("tokenizer_class").and_then(Json::as_str);
    if let Some(class) = class.filter(|class| !CLASSES.contains(class)) {
        return Err(unusable(TextError::of_class(class)));
    }
    let mut options = options(config).map_err(|reason| {
        let path = path.with_file_name(super::TOKENIZER_CONFIG_FILE);
        malformed(&path, reason)
    })?;
    let more = optional_json(source, ADDED_TOKENS_FILE)?;
    for (text, id) in more.iter().filter_map(Json::as_object).flatten() {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        if let Some(id) = id.filter(|id| options.added.iter().all(|(known, _)| known != id)) {
            let token = AddedToken::from(text.clone(), true).normalized(false);
            options.added.push((id, token));
        }
    }
    let bytes = read_bytes(&path, MAX_SENTENCEPIECE_BYTES)?;
    TextCodec::sentencepiece(&bytes, options).map_err(unusable)
}

fn missing(source: &ModelSource) -> LocalModelError {
    match source.file(TOKENIZER_FILE) {
        Err(error) => LocalModelError::Load(error),
        Ok(path) => LocalModelError::Load(LoadError::NotFound { path }),
    }
}

/// What transformers' Llama and Gemma tokenizers read of their configuration, with its defaults.
///
/// # Errors
/// A token that is added is not one.
fn options(config: &Json) -> Result<SentencePieceOptions, String> {
    let flag =
        |key: &str, default: bool| config.get(key).and_then(Json::as_bool).unwrap_or(default);
    let token = |key: &str| config.get(key).and_then(spelling);
    let mut added = Vec::new();
    let listed = config.get("added_tokens_decoder").and_then(Json::as_object);
    for (id, token) in listed.into_iter().flatten() {
        let text = spelling(token).filter(|text| !text.is_empty());
        let (Ok(id), Some(text)) = (id.parse(), text) else {
            return Err(format!("added_tokens_decoder has no token under {id:?}"));
        };
        let flag = |key: &str| token.get(key).and_then(Json::as_bool).unwrap_or(false);
        let token = AddedToken::from(text, flag("special"))
            .single_word(flag("single_word"))
            .lstrip(flag("lstrip"))
            .rstrip(flag("rstrip"))
            .normalized(flag("normalized"));
        added.push((id, token));
    }
    Ok(SentencePieceOptions {
        add_bos: flag("add_bos_token", true),
        add_eos: flag("add_eos_token", false),
        bos: token("bos_token"),
        eos: token("eos_token"),
        legacy: flag("legacy", true),
        added,
    })
}

pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";
const SENTENCEPIECE_FILE: &str = "tokenizer.model";
const ADDED_TOKENS_FILE: &str = "added_tokens.json";

/// Classes of transformers that do no more with the file than what is done here.
const CLASSES: [&str; 7] = [
    "LlamaTokenizer",
    "LlamaTokenizerFast",
    "GemmaTokenizer",
    "GemmaTokenizerFast",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
];

/// Largest `tokenizer.model` that is read: that of Gemma 3 has 4.7 MB.
const MAX_SENTENCEPIECE_BYTES: u64 = 32 * 1024 * 1024;
