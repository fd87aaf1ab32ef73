//! What a client keeps of a model: tokenizer, embeddings, norm and head. No block.

use std::path::PathBuf;
use std::sync::OnceLock;

use block_model::{ClientHead, LoadError, ModelConfig, ModelSource};

use crate::chat_template::{ChatTemplate, ChatTemplateError};
use crate::constraint::{ConstraintError, Vocabulary};
use crate::text_codec::{TextCodec, TextError};

mod chat;
mod generation_config;
mod gguf;
mod small_files;
mod tokenizer;

use generation_config::GenerationFile;
pub use generation_config::{GenerationDefaults, SamplingOverrides};
use small_files::{malformed, optional_json, optional_path, read_text};

/// A model without its blocks. Share it by `Arc`: the matrices are large.
#[derive(Debug)]
pub struct LocalModel {
    /// What `config.json` says.
    pub config: ModelConfig,
    /// Embeddings, norm and head.
    pub head: ClientHead,
    /// Text ↔ ids.
    pub tokenizer: TextCodec,
    /// Ids that end an answer; may be empty.
    pub eos: Vec<u32>,
    /// Id that begins a sequence. [`TextCodec::encode`] puts it there by itself if the model wants that.
    pub bos: Option<u32>,
    generation: GenerationDefaults,
    /// Built when the first answer needs it.
    vocabulary: OnceLock<Result<Vocabulary, ConstraintError>>,
    chat: Result<ChatTemplate, ChatTemplateError>,
}

/// Why a model cannot be used at home.
#[derive(Debug, thiserror::Error)]
pub enum LocalModelError {
    /// A file is missing or damaged; the text names it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer cannot be read: of another format, or damaged.
    #[error("{}: {source}", .path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: TextError,
    },
    /// A file beside the weights is not the JSON that it should be.
    #[error("{}: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
}

impl LocalModel {
    /// Reads what a client needs, fetching it first if need be; weights of blocks are not touched. Of a GGUF file all of it
    /// comes from the file. Blocks the thread.
    ///
    /// # Errors
    /// [`LocalModelError`]; each text names the file.
    pub fn load(source: &ModelSource) -> Result<Self, LocalModelError> {
        let texts = match gguf::texts(source)? {
            Some(texts) => texts,
            None => Texts::of_folder(source)?,
        };
        Ok(Self {
            config: source.config().clone(),
            head: ClientHead::load(source)?,
            tokenizer: texts.tokenizer,
            eos: texts.eos,
            bos: texts.bos,
            generation: texts.generation,
            vocabulary: OnceLock::new(),
            chat: texts.chat,
        })
    }

    /// Fetches what [`LocalModel::load`] would fetch, and reads no weights. Blocks the thread.
    ///
    /// # Errors
    /// As [`LocalModel::load`].
    pub fn fetch(source: &ModelSource) -> Result<(), LocalModelError> {
        let tokenizer_config = optional_json(source, TOKENIZER_CONFIG_FILE)?;
        tokenizer::load(source, tokenizer_config.as_ref())?;
        optional_path(source, GENERATION_FILE)?;
        // What is wrong with a template is said when it is used.
        let _ = chat::load(source, tokenizer_config.as_ref())?;
        Ok(source.fetch_ends()?)
    }

    /// How a conversation becomes a prompt.
    ///
    /// # Errors
    /// [`ChatTemplateError`]: the model has no template, or one that cannot be used.
    pub fn chat_template(&self) -> Result<&ChatTemplate, ChatTemplateError> {
        self.chat.as_ref().map_err(Clone::clone)
    }

    /// Its tokens, prepared for constrained answers: for the first of them this may take half a second. Blocks the thread.
    ///
    /// # Errors
    /// [`ConstraintError::Model`].
    pub(crate) fn vocabulary(&self) -> Result<Vocabulary, ConstraintError> {
        let build = || Vocabulary::new(&self.tokenizer, self.head.vocab(), &self.eos);
        self.vocabulary.get_or_init(build).clone()
    }

    /// How the model's makers would have it answer: `generation_config.json`.
    #[must_use]
    pub fn generation_defaults(&self) -> &GenerationDefaults {
        &self.generation
    }
}

/// What a model says of texts.
struct Texts {
    tokenizer: TextCodec,
    eos: Vec<u32>,
    bos: Option<u32>,
    generation: GenerationDefaults,
    chat: Result<ChatTemplate, ChatTemplateError>,
}

impl Texts {
    /// Reads the files beside the weights.
    fn of_folder(source: &ModelSource) -> Result<Self, LocalModelError> {
        let tokenizer_config = optional_json(source, TOKENIZER_CONFIG_FILE)?;
        let tokenizer = tokenizer::load(source, tokenizer_config.as_ref())?;
        let advice = match optional_path(source, GENERATION_FILE)? {
            Some(path) => {
                let text = read_text(&path, MAX_CONFIG_BYTES)?;
                GenerationFile::parse(&text).map_err(|reason| malformed(&path, reason))?
            }
            None => GenerationFile::default(),
        };
        let path = source.file(CONFIG_FILE)?;
        let basic = GenerationFile::parse_ends(&read_text(&path, MAX_CONFIG_BYTES)?)
            .map_err(|reason| malformed(&path, reason))?;
        Ok(Self {
            tokenizer,
            eos: advice.eos.or(basic.eos).unwrap_or_default(),
            bos: advice.bos.or(basic.bos),
            generation: advice.defaults,
            chat: chat::load(source, tokenizer_config.as_ref())?,
        })
    }
}

const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
const CONFIG_FILE: &str = "config.json";
const GENERATION_FILE: &str = "generation_config.json";

/// Largest configuration that is read: real ones are a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
