//! The tokenizer among a model's files.

use block_model::ModelSource;
use serde_json::Value as Json;

use super::LocalModelError;
use crate::text_codec::TextCodec;

/// Reads the model's tokenizer.
///
/// # Errors
/// There is none that can be read.
pub(super) fn load(
    source: &ModelSource,
    _tokenizer_config: Option<&Json>,
) -> Result<TextCodec, LocalModelError> {
    let path = source.file(TOKENIZER_FILE)?;
    TextCodec::read(&path).map_err(|source| LocalModelError::Tokenizer { path, source })
}

const TOKENIZER_FILE: &str = "tokenizer.json";
