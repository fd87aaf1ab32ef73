//! A model by its files, wherever they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::gguf::{GgufModel, GgufTokenizer};
use super::hub::HubRepository;
use super::hub_options::HubOptions;
use super::index::{INDEX_FILE, SINGLE_FILE, WeightIndex};
use super::packed::Packing;
use super::small_file::read_text;
use crate::config::ModelConfig;
use crate::error::{HubError, LoadError};

/// A model whose configuration has been read and whose weights can be.
///
/// Every method that names a file may fetch it from the hub, which takes as long as it takes:
/// call them where blocking is fine. They may be called inside an async runtime.
#[derive(Debug)]
pub struct ModelSource {
    files: Files,
    config: ModelConfig,
    packing: Packing,
}

#[derive(Debug)]
enum Files {
    Directory(PathBuf),
    Gguf(Arc<GgufModel>),
    Hub(HubRepository),
}

impl ModelSource {
    /// Opens a checkpoint in a local directory.
    ///
    /// # Errors
    /// [`LoadError::NotFound`] without a `config.json`, [`LoadError::Config`], [`LoadError::Io`].
    pub fn directory(path: impl Into<PathBuf>) -> Result<Self, LoadError> {
        Self::open(Files::Directory(path.into()))
    }

    /// Opens a model that is one GGUF file.
    ///
    /// # Errors
    /// [`LoadError::NotFound`], [`LoadError::Damaged`], [`LoadError::Config`], [`LoadError::Io`].
    pub fn gguf(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let model = GgufModel::open(path)?;
        let config = ModelConfig::parse(&model.config_json()?.to_string());
        let config = config.map_err(|source| LoadError::Config {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            files: Files::Gguf(Arc::new(model)),
            config,
            packing: Packing::None,
        })
    }

    /// Opens a repository of the hub at one commit.
    ///
    /// # Errors
    /// [`LoadError::Hub`], [`LoadError::Config`], [`LoadError::Io`].
    pub fn hub(options: HubOptions) -> Result<Self, LoadError> {
        Self::open(Files::Hub(HubRepository::resolve(options)?))
    }

    fn open(files: Files) -> Result<Self, LoadError> {
        let path = files.file(CONFIG_FILE)?;
        let text = read_text(&path)?;
        let parsed = ModelConfig::parse(&text).and_then(|config| {
            let packing = Packing::parse(&text)?;
            Ok((config, packing))
        });
        let (config, packing) = parsed.map_err(|source| LoadError::Config { path, source })?;
        Ok(Self {
            files,
            config,
            packing,
        })
    }

    /// What `config.json` says, or the metadata of a GGUF file.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What a GGUF file says of its tokenizer; `None` for a model of several files.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] if the file has no vocabulary, or not all of it.
    pub fn gguf_tokenizer(&self) -> Result<Option<GgufTokenizer>, LoadError> {
        self.gguf_model().map(|model| model.tokenizer()).transpose()
    }

    /// The chat template of a GGUF file; `None` if it has none, and for a model of several files.
    pub fn gguf_chat_template(&self) -> Option<&str> {
        self.gguf_model()?.chat_template()
    }

    /// The GGUF file, if the model is one.
    pub(super) fn gguf_model(&self) -> Option<&Arc<GgufModel>> {
        match &self.files {
            Files::Gguf(model) => Some(model),
            Files::Directory(_) | Files::Hub(_) => None,
        }
    }

    /// How matrices are packed, by `config.json`.
    pub(super) fn packing(&self) -> Packing {
        self.packing
    }

    /// `owner/name` on the hub, or the directory or file as given.
    pub fn name(&self) -> String {
        match &self.files {
            Files::Directory(path) => path.display().to_string(),
            Files::Gguf(model) => model.path().display().to_string(),
            Files::Hub(repository) => repository.name().to_owned(),
        }
    }

    /// The commit that every file comes from; `None` for a directory or a file.
    pub fn commit(&self) -> Option<&str> {
        match &self.files {
            Files::Directory(_) | Files::Gguf(_) => None,
            Files::Hub(repository) => Some(repository.commit()),
        }
    }

    /// Path of one of the model's files, fetched first if need be; `name` is a plain file name.
    ///
    /// # Errors
    /// [`LoadError::NotFound`] in a directory, or beside a GGUF file; [`LoadError::Hub`] on the hub.
    pub fn file(&self, name: &str) -> Result<PathBuf, LoadError> {
        self.files.file(name)
    }

    /// Finds the weights: one file if there is such, else the index of several.
    pub(super) fn weight_index(&self) -> Result<WeightIndex, LoadError> {
        let no_single_file = match self.file(SINGLE_FILE) {
            Ok(path) => return Ok(WeightIndex::Single(path)),
            Err(error) if is_absence(&error) => error,
            Err(error) => return Err(error),
        };
        match self.file(INDEX_FILE) {
            Ok(path) => WeightIndex::read(&path),
            Err(error) if is_absence(&error) => Err(no_single_file),
            Err(error) => Err(error),
        }
    }
}

impl Files {
    fn file(&self, name: &str) -> Result<PathBuf, LoadError> {
        match self {
            Self::Directory(directory) => existing(directory.join(name)),
            Self::Gguf(model) => existing(model.path().with_file_name(name)),
            Self::Hub(repository) => Ok(repository.file(name)?),
        }
    }
}

fn existing(path: PathBuf) -> Result<PathBuf, LoadError> {
    if Path::exists(&path) {
        Ok(path)
    } else {
        Err(LoadError::NotFound { path })
    }
}

/// Whether the file is simply not part of the checkpoint, as far as can be known.
pub(super) fn is_absence(error: &LoadError) -> bool {
    matches!(
        error,
        LoadError::NotFound { .. }
            | LoadError::Hub(HubError::NotFound { .. } | HubError::NotCached { .. })
    )
}

pub(super) const CONFIG_FILE: &str = "config.json";
