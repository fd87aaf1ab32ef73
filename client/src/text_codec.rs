//! Text ↔ token ids, by the model's own tokenizer.
//!
//! - `tokenizer.json` is read as it is
//! - `sentencepiece`, `spm`: `tokenizer.model`, where it converts exactly
//! - `gguf`, `pre_tokenizer`: the metadata of a GGUF file
//! - `assembly`: a tokenizer from its parts
//! - `token_bytes`: what each token adds to a text

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tokenizers::{AddedToken, Tokenizer};

mod assembly;
mod gguf;
mod pre_tokenizer;
mod sentencepiece;
mod spm;
mod token_bytes;

pub use gguf::GgufVocabulary;

use sentencepiece::SentencePieceFile;
use spm::SpmModel;

/// A model's tokenizer. Clones share it.
#[derive(Clone)]
pub struct TextCodec {
    tokenizer: Arc<Tokenizer>,
}

/// The tokenizer could not be read, or could not take a text or ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tokenizer: {0}")]
pub struct TextError(String);

/// What a `tokenizer_config.json` says of a `tokenizer.model`.
#[derive(Debug, Clone, Default)]
pub(crate) struct SentencePieceOptions {
    /// Puts the token before a text that begins a sequence.
    pub(crate) add_bos: bool,
    /// Puts the token behind it.
    pub(crate) add_eos: bool,
    /// Its spelling, where it is not the file's.
    pub(crate) bos: Option<String>,
    /// Its spelling, where it is not the file's.
    pub(crate) eos: Option<String>,
    /// A blank before each part between special tokens, not only the first.
    pub(crate) legacy: bool,
    /// Tokens beside the file's, or with other ways of being found, by id.
    pub(crate) added: Vec<(u32, AddedToken)>,
}

impl TextError {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The tokenizer of a class that does more than its file says.
    pub(crate) fn of_class(class: &str) -> Self {
        Self(format!(
            "what a {class} does is not in its tokenizer.model: put the model's tokenizer.json beside it"
        ))
    }
}

impl TextCodec {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError`] if there is no such file or it is not one of `tokenizers`.
    pub fn read(path: &Path) -> Result<Self, TextError> {
        let unreadable = |error: std::io::Error| TextError::new(error.to_string());
        let mut json = Vec::new();
        File::open(path)
            .map_err(unreadable)?
            .take(MAX_TOKENIZER_BYTES + 1)
            .read_to_end(&mut json)
            .map_err(unreadable)?;
        if json.len() as u64 > MAX_TOKENIZER_BYTES {
            return Err(TextError::new(format!(
                "larger than {MAX_TOKENIZER_BYTES} bytes"
            )));
        }
        Self::parse(&json)
    }

    /// Parses the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError`] if it is not one of `tokenizers`.
    pub fn parse(json: &[u8]) -> Result<Self, TextError> {
        check_charsmaps(json)?;
        let tokenizer = caught(|| Tokenizer::from_bytes(json).map_err(text_error))?;
        Self::with(tokenizer)
    }

    /// Parses the bytes of a `tokenizer.model`.
    ///
    /// # Errors
    /// [`TextError`] if it is no SentencePiece model, or one that cannot be converted exactly.
    pub(crate) fn sentencepiece(
        bytes: &[u8],
        options: SentencePieceOptions,
    ) -> Result<Self, TextError> {
        let file = SentencePieceFile::parse(bytes)?;
        let model = SpmModel::new(file, options)?;
        Self::with(caught(|| model.tokenizer())?)
    }

    /// Builds the tokenizer that the metadata of a GGUF file describes.
    ///
    /// # Errors
    /// [`TextError`] if it is of an unknown kind, or damaged.
    pub fn gguf(vocabulary: &GgufVocabulary<'_>) -> Result<Self, TextError> {
        Self::with(caught(|| vocabulary.tokenizer())?)
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
        caught(|| self.tokenizer.decode(ids, true).map_err(text_error))
    }

    /// How many ids there are, special and added ones among them.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    fn encode_with(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        let encoding = caught(|| {
            let encoding = self.tokenizer.encode_fast(text, add_special_tokens);
            encoding.map_err(text_error)
        })?;
        Ok(encoding.get_ids().to_vec())
    }
}

impl fmt::Debug for TextCodec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TextCodec")
            .field("vocab", &self.vocab())
            .finish()
    }
}

fn text_error(error: tokenizers::Error) -> TextError {
    TextError(error.to_string())
}

/// Runs what `tokenizers` does by a file that anybody may have made: on some it panics, which is then an error.
fn caught<T>(work: impl FnOnce() -> Result<T, TextError>) -> Result<T, TextError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(TextError::new("the tokenizer is damaged: it panicked")))
}

/// # Errors
/// A compiled normalization whose table is longer than itself: its reader would reserve memory for that.
fn check_charsmaps(json: &[u8]) -> Result<(), TextError> {
    let key = CHARSMAP_KEY.as_bytes();
    if !json.windows(key.len()).any(|window| window == key) {
        return Ok(());
    }
    let json: serde_json::Value =
        serde_json::from_slice(json).map_err(|error| TextError::new(error.to_string()))?;
    let mut open = vec![&json];
    while let Some(value) = open.pop() {
        match value {
            serde_json::Value::Array(items) => open.extend(items),
            serde_json::Value::Object(fields) => {
                if let Some(map) = fields.get(CHARSMAP_KEY).and_then(|map| map.as_str()) {
                    check_charsmap(&first_bytes(map, map.len() / 4 * 3))?;
                }
                // What is not an object or a list has no parts.
                open.extend(fields.values());
            }
            _ => {}
        }
    }
    Ok(())
}

/// # Errors
/// The size at its head is more than there is.
fn check_charsmap(charsmap: &[u8]) -> Result<(), TextError> {
    let size = charsmap
        .first_chunk()
        .map(|size| u32::from_le_bytes(*size) as usize);
    match size {
        Some(size) if size <= charsmap.len() - 4 => Ok(()),
        _ => Err(TextError::new("its normalization is damaged")),
    }
}

/// The first bytes of a text in base 64, and zeros for the rest of its `length` bytes.
fn first_bytes(base64: &str, length: usize) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut bits = 0_u64;
    for byte in base64.bytes().take(8) {
        bits = bits << 6 | u64::from(digit(byte));
    }
    let mut bytes = bits.to_be_bytes()[2..].to_vec();
    bytes.resize(length, 0);
    bytes
}

const CHARSMAP_KEY: &str = "precompiled_charsmap";

/// Largest `tokenizer.json` that is read: that of Gemma 3 has 33 MB.
const MAX_TOKENIZER_BYTES: u64 = 128 * 1024 * 1024;

#[cfg(test)]
pub(crate) mod test_codecs;
#[cfg(test)]
mod tests;
