//! What a client keeps of a model: tokenizer, embeddings, norm and head. No block.

use std::path::{Path, PathBuf};

use block_model::{ClientHead, HubError, LoadError, ModelConfig, ModelSource};

use crate::sampling::SamplingConfig;
use crate::text_codec::{TextCodec, TextError};

mod generation_config;

use generation_config::GenerationFile;

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
    /// How the model's makers would have its tokens chosen: `generation_config.json`.
    pub sampling: SamplingConfig,
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
    /// Reads what a client needs, fetching it first if need be; weights of blocks are not touched. Blocks the thread.
    ///
    /// # Errors
    /// [`LocalModelError`]; each text names the file.
    pub fn load(source: &ModelSource) -> Result<Self, LocalModelError> {
        let config = source.config().clone();
        let path = source.file(TOKENIZER_FILE)?;
        let tokenizer =
            TextCodec::read(&path).map_err(|source| LocalModelError::Tokenizer { path, source })?;
        let advice = match source.file(GENERATION_FILE) {
            Ok(path) => read(&path)?,
            Err(error) if is_absence(&error) => GenerationFile::default(),
            Err(error) => return Err(error.into()),
        };
        let basic = read(&source.file(CONFIG_FILE)?)?;
        Ok(Self {
            config,
            head: ClientHead::load(source)?,
            tokenizer,
            eos: advice.eos().or_else(|| basic.eos()).unwrap_or_default(),
            bos: advice.bos().or_else(|| basic.bos()),
            sampling: advice.sampling(),
        })
    }
}

fn read(path: &Path) -> Result<GenerationFile, LocalModelError> {
    let malformed = |reason: String| LocalModelError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > MAX_CONFIG_BYTES {
        return Err(malformed(format!("larger than {MAX_CONFIG_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| malformed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))
}

/// Whether the file is simply not part of the model, as far as can be known.
fn is_absence(error: &LoadError) -> bool {
    matches!(
        error,
        LoadError::NotFound { .. }
            | LoadError::Hub(HubError::NotFound { .. } | HubError::NotCached { .. })
    )
}

const TOKENIZER_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "config.json";
const GENERATION_FILE: &str = "generation_config.json";

/// Largest configuration that is read: real ones are a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests;
