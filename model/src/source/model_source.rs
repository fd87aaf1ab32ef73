//! A model by its files, wherever they are.

use std::path::{Path, PathBuf};

use super::hub::HubRepository;
use super::hub_options::HubOptions;
use super::index::{INDEX_FILE, SINGLE_FILE, WeightIndex};
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
}

#[derive(Debug)]
enum Files {
    Directory(PathBuf),
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
        let config =
            ModelConfig::parse(&text).map_err(|source| LoadError::Config { path, source })?;
        Ok(Self { files, config })
    }

    /// What `config.json` says.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// `owner/name` on the hub, or the directory as given.
    pub fn name(&self) -> String {
        match &self.files {
            Files::Directory(path) => path.display().to_string(),
            Files::Hub(repository) => repository.name().to_owned(),
        }
    }

    /// The commit that every file comes from; `None` for a directory.
    pub fn commit(&self) -> Option<&str> {
        match &self.files {
            Files::Directory(_) => None,
            Files::Hub(repository) => Some(repository.commit()),
        }
    }

    /// Path of one of the model's files, fetched first if need be; `name` is a plain file name.
    ///
    /// # Errors
    /// [`LoadError::NotFound`] in a directory, [`LoadError::Hub`] on the hub.
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
