//! A model by its files, wherever they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::gguf::{GgufModel, GgufTokenizer};
use super::hub::{HubRepository, ShardAtHand};
use super::hub_options::HubOptions;
use super::index::{INDEX_FILE, PICKLED_FILES, SINGLE_FILE, WantedTensors, WeightIndex};
use super::is_gguf_file;
use super::packed::Packing;
use super::shard::Shard;
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
    /// Opens a model of this machine: a GGUF file by its name, or else a directory.
    ///
    /// # Errors
    /// As [`ModelSource::gguf`] and [`ModelSource::directory`].
    pub fn local(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        if is_gguf_file(path) {
            Self::gguf(path)
        } else {
            Self::directory(path)
        }
    }

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
        let is_known_to_be_sharded = !self.files.knows(SINGLE_FILE) && self.files.knows(INDEX_FILE);
        if is_known_to_be_sharded {
            return WeightIndex::read(&self.file(INDEX_FILE)?);
        }
        let no_single_file = match self.files.find(SINGLE_FILE) {
            Ok(()) => return Ok(WeightIndex::Single),
            Err(error) if is_absence(&error) => error,
            Err(error) => return Err(error),
        };
        match self.file(INDEX_FILE) {
            Ok(path) => return WeightIndex::read(&path),
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(error),
        }
        match PICKLED_FILES
            .into_iter()
            .find(|name| self.files.find(name).is_ok())
        {
            Some(file) => Err(LoadError::PickleOnly {
                model: self.name(),
                file: file.to_owned(),
            }),
            None => Err(no_single_file),
        }
    }

    /// A file of weights, if its header is on this machine; nothing is fetched.
    pub(super) fn shard_at_hand(&self, file: &str) -> Result<Option<ShardAtHand>, LoadError> {
        match self.files.place(file) {
            Place::Local(path) => {
                let path = Some(path).filter(|path| path.exists());
                path.map(|path| ShardAtHand::whole(&path)).transpose()
            }
            Place::Hub(repository) => repository.shard_at_hand(file),
        }
    }

    /// Whether a file, or a part of it, is on this machine.
    pub(super) fn knows(&self, file: &str) -> bool {
        self.files.knows(file)
    }

    /// Opens files that hold tensors, each with the bytes of these; on the hub they are fetched first
    /// if need be, and nothing else of the files.
    pub(super) fn shards(&self, wanted: &[WantedTensors]) -> Result<Vec<Shard>, LoadError> {
        if let Files::Hub(repository) = &self.files {
            return repository.shards(wanted);
        }
        let open = |wanted: &WantedTensors| {
            let opened = self.file(&wanted.file).and_then(|path| Shard::open(&path));
            opened.map_err(|error| missing_shard(error, wanted))
        };
        wanted.iter().map(open).collect()
    }
}

/// Where one of a model's files is, or would be.
enum Place<'a> {
    Local(PathBuf),
    Hub(&'a HubRepository),
}

impl Files {
    fn place(&self, name: &str) -> Place<'_> {
        match self {
            Self::Directory(directory) => Place::Local(directory.join(name)),
            Self::Gguf(model) => Place::Local(model.path().with_file_name(name)),
            Self::Hub(repository) => Place::Hub(repository),
        }
    }

    fn file(&self, name: &str) -> Result<PathBuf, LoadError> {
        match self.place(name) {
            Place::Local(path) => existing(path),
            Place::Hub(repository) => Ok(repository.file(name)?),
        }
    }

    /// Whether the file, or a part of it, is here.
    fn knows(&self, name: &str) -> bool {
        match self.place(name) {
            Place::Local(path) => path.exists(),
            Place::Hub(repository) => repository.knows(name),
        }
    }

    /// Checks that there is such a file; fetches none of it.
    fn find(&self, name: &str) -> Result<(), LoadError> {
        match self.place(name) {
            Place::Local(path) => existing(path).map(drop),
            Place::Hub(repository) => Ok(repository.find(name)?),
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

/// A file that is not there is, if the index names it, a missing shard.
fn missing_shard(error: LoadError, wanted: &WantedTensors) -> LoadError {
    match error {
        LoadError::NotFound { path } if wanted.file != SINGLE_FILE => LoadError::MissingShard {
            path,
            tensor: wanted.tensors.first().cloned().unwrap_or_default(),
        },
        other => other,
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
