//! Text ↔ token ids, by the model's own `tokenizer.json`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use tokenizers::Tokenizer;

/// A model's tokenizer. Clones share it.
#[derive(Clone)]
pub struct TextCodec {
    tokenizer: Arc<Tokenizer>,
}

/// The tokenizer could not take a text or ids; the text is the tokenizer's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tokenizer: {0}")]
pub struct TextError(String);

impl TextCodec {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError`] if there is no such file or it is not one of `tokenizers`.
    pub fn read(path: &Path) -> Result<Self, TextError> {
        Self::with(Tokenizer::from_file(path).map_err(text_error)?)
    }

    /// Parses the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError`] if it is not one of `tokenizers`.
    pub fn parse(json: &[u8]) -> Result<Self, TextError> {
        Self::with(Tokenizer::from_bytes(json).map_err(text_error)?)
    }

    /// Truncation and padding are those of training and are left out, as transformers does unless asked for them.
    fn with(mut tokenizer: Tokenizer) -> Result<Self, TextError> {
        tokenizer.with_truncation(None).map_err(text_error)?;
        tokenizer.with_padding(None);
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
        })
    }

    /// Ids of a text at the start of a sequence, with the special tokens that the model expects there.
    ///
    /// # Errors
    /// [`TextError`], for example for a character that the vocabulary cannot express.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_with(text, true)
    }

    /// Ids of a text that continues a sequence: no special tokens are added.
    ///
    /// # Errors
    /// As for [`TextCodec::encode`].
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_with(text, false)
    }

    /// Text of ids. Special tokens and ids outside the vocabulary have no text; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`TextError`] if the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        self.tokenizer.decode(ids, true).map_err(text_error)
    }

    fn encode_with(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self
            .tokenizer
            .encode_fast(text, add_special_tokens)
            .map_err(text_error)?;
        Ok(encoding.get_ids().to_vec())
    }
}

impl fmt::Debug for TextCodec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vocab = self.tokenizer.get_vocab_size(true);
        formatter
            .debug_struct("TextCodec")
            .field("vocab", &vocab)
            .finish()
    }
}

fn text_error(error: tokenizers::Error) -> TextError {
    TextError(error.to_string())
}

#[cfg(test)]
pub(crate) mod test_codecs;
#[cfg(test)]
mod tests;
