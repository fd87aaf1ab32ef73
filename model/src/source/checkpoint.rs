//! The weights of one span, by the tensors' names, however a model keeps them.

use std::sync::Arc;

use super::gguf::GgufModel;
use super::model_source::ModelSource;
use super::shards::Shards;
use super::stored::Stored;
use super::tensor_rows::TensorRows;
use crate::dtype::SpanDType;
use crate::error::LoadError;

/// Open files that between them hold a set of tensors.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    files: Files,
}

#[derive(Debug)]
enum Files {
    Gguf(Arc<GgufModel>),
    Safetensors(Shards),
}

impl Checkpoint {
    /// Finds, fetches and opens what holds `tensors`; reads no weights yet.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::MissingShard`], [`LoadError::Damaged`],
    /// [`LoadError::NotFound`], [`LoadError::PickleOnly`], [`LoadError::Hub`], [`LoadError::Io`].
    pub(crate) fn open(source: &ModelSource, tensors: &[String]) -> Result<Self, LoadError> {
        let files = match source.gguf_model() {
            Some(model) => Files::Gguf(Arc::clone(model)),
            None => Files::Safetensors(Shards::open(source, tensors)?),
        };
        Ok(Self { files })
    }

    /// Type of a tensor as stored; of one of integers in a GGUF file, single precision, which holds its weights without
    /// loss; of a packed one of safetensors, that in which its publisher unpacks it.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`].
    pub(crate) fn dtype(&self, tensor: &str) -> Result<SpanDType, LoadError> {
        match &self.files {
            Files::Gguf(model) => model.dtype(tensor),
            Files::Safetensors(shards) => shards.dtype(tensor),
        }
    }

    /// How a matrix of exactly `shape` is stored.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub(crate) fn stored(&self, tensor: &str, shape: [usize; 2]) -> Result<Stored, LoadError> {
        match self.rows(tensor, shape)?.format() {
            Some(format) => Ok(Stored::Integers(format)),
            None => self.dtype(tensor).map(Stored::Floats),
        }
    }

    /// Reads a tensor of exactly `shape` in row-major order.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`], [`LoadError::WrongShape`],
    /// [`LoadError::Damaged`], [`LoadError::Io`].
    pub(crate) fn read(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        match &self.files {
            Files::Gguf(model) => model.read(tensor, shape),
            Files::Safetensors(shards) => shards.read(tensor, shape),
        }
    }

    /// Maps a matrix of exactly `shape`, `[rows, values]`, to be read row by row. If it is packed, the rows'
    /// [`TensorRows::format`] tell how.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub(crate) fn rows(&self, tensor: &str, shape: [usize; 2]) -> Result<TensorRows, LoadError> {
        match &self.files {
            Files::Gguf(model) => model.rows(tensor, shape).map(TensorRows::Gguf),
            Files::Safetensors(shards) => shards.rows(tensor, shape),
        }
    }
}
