//! The weights of one span: only what holds its tensors is fetched and opened.

use std::collections::HashMap;
use std::path::PathBuf;

use super::index::WeightIndex;
use super::model_source::ModelSource;
use super::shard::{Shard, TensorRows};
use crate::dtype::SpanDType;
use crate::error::LoadError;

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
    /// [`LoadError::NotFound`], [`LoadError::PickleOnly`], [`LoadError::Hub`], [`LoadError::Io`].
    pub(crate) fn open(source: &ModelSource, tensors: &[String]) -> Result<Self, LoadError> {
        let index = source.weight_index()?;
        let wanted = index.files_of(tensors)?;
        let shards = source.shards(&wanted)?;
        let mut places = HashMap::with_capacity(tensors.len());
        for (number, (wanted, shard)) in wanted.iter().zip(&shards).enumerate() {
            for tensor in &wanted.tensors {
                let name = shard.spelling(tensor);
                let name = name.unwrap_or_else(|| tensor.clone());
                places.insert(tensor.clone(), (number, name));
            }
        }
        let table = match index {
            WeightIndex::Single => shards.first().map(|shard| shard.path().to_owned()),
            WeightIndex::Sharded { path, .. } => Some(path),
        };
        Ok(Self {
            shards,
            places,
            table: table.unwrap_or_default(),
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
