//! The weights of one span: only the files that hold its tensors are fetched and opened.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use super::index::WeightIndex;
use super::model_source::ModelSource;
use super::shard::{Shard, TensorRows};
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families::spellings;

/// Open files that between them hold a set of tensors.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    shards: Vec<Shard>,
    /// Tensor name to a number in `shards` and the name there.
    places: HashMap<String, (usize, String)>,
    /// The index, or the single file: where a missing tensor should have been named.
    table: PathBuf,
}

impl Checkpoint {
    /// Finds, fetches and opens what holds `tensors`; reads no weights yet.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::MissingShard`], [`LoadError::Damaged`],
    /// [`LoadError::NotFound`], [`LoadError::Hub`], [`LoadError::Io`].
    pub(crate) fn open(source: &ModelSource, tensors: &[String]) -> Result<Self, LoadError> {
        match source.weight_index()? {
            WeightIndex::Single(path) => Self::open_single(path, tensors),
            WeightIndex::Sharded { path, files } => {
                Self::open_shards(source, path, &files, tensors)
            }
        }
    }

    fn open_single(path: PathBuf, tensors: &[String]) -> Result<Self, LoadError> {
        let shard = Shard::open(&path)?;
        let place = |tensor: &String| {
            let mut names = spellings(tensor);
            let name = names.find(|name| shard.has(name));
            (tensor.clone(), (0, name.unwrap_or_else(|| tensor.clone())))
        };
        let places = tensors.iter().map(place).collect();
        Ok(Self {
            shards: vec![shard],
            places,
            table: path,
        })
    }

    fn open_shards(
        source: &ModelSource,
        index: PathBuf,
        files: &HashMap<String, String>,
        tensors: &[String],
    ) -> Result<Self, LoadError> {
        let mut shards = Vec::new();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let mut places = HashMap::with_capacity(tensors.len());
        for tensor in tensors {
            let found = spellings(tensor).find_map(|name| Some((files.get(&name)?, name)));
            let (file, name) = found.ok_or_else(|| LoadError::MissingTensor {
                path: index.clone(),
                tensor: tensor.clone(),
            })?;
            let number = match numbers.entry(file) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let path = source
                        .file(file)
                        .map_err(|error| missing_shard(error, tensor))?;
                    shards.push(Shard::open(&path).map_err(|error| missing_shard(error, tensor))?);
                    *new.insert(shards.len() - 1)
                }
            };
            places.insert(tensor.clone(), (number, name));
        }
        Ok(Self {
            shards,
            places,
            table: index,
        })
    }

    /// Type of a tensor as stored.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`].
    pub(crate) fn dtype(&self, tensor: &str) -> Result<SpanDType, LoadError> {
        let (shard, name) = self.find(tensor)?;
        shard.dtype(name)
    }

    /// Reads a tensor of exactly `shape` in row-major order.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`], [`LoadError::WrongShape`],
    /// [`LoadError::Io`].
    pub(crate) fn read(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let (shard, name) = self.find(tensor)?;
        shard.read(name, shape)
    }

    /// Maps a matrix of exactly `shape`, `[rows, values]`, to be read row by row.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub(crate) fn rows(&self, tensor: &str, shape: [usize; 2]) -> Result<TensorRows, LoadError> {
        let (shard, name) = self.find(tensor)?;
        shard.rows(name, shape)
    }

    /// The file that holds a tensor, and its name there.
    fn find(&self, tensor: &str) -> Result<(&Shard, &str), LoadError> {
        let place = self.places.get(tensor);
        let found =
            place.and_then(|(number, name)| Some((self.shards.get(*number)?, name.as_str())));
        found.ok_or_else(|| LoadError::MissingTensor {
            path: self.table.clone(),
            tensor: tensor.to_owned(),
        })
    }
}

/// A file that is not there is, if the index names it, a missing shard.
fn missing_shard(error: LoadError, tensor: &str) -> LoadError {
    match error {
        LoadError::NotFound { path } => LoadError::MissingShard {
            path,
            tensor: tensor.to_owned(),
        },
        other => other,
    }
}
