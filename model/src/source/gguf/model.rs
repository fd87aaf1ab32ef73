//! A model in a GGUF file, by transformers' names.

use std::path::Path;

use serde_json::Value as Json;

use super::architecture::{Architecture, Heads};
use super::config_json::config_json;
use super::file::GgufFile;
use super::kind::GgufKind;
use super::names::{Place, places};
use super::rows::GgufRows;
use super::tokenizer::GgufTokenizer;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::source::stored::Stored;

/// An open GGUF file of an architecture that is supported.
#[derive(Debug)]
pub(crate) struct GgufModel {
    file: GgufFile,
    architecture: Architecture,
    heads: Heads,
}

impl GgufModel {
    /// Opens the file and reads its header; touches no tensor.
    ///
    /// # Errors
    /// [`LoadError::NotFound`], [`LoadError::Damaged`], [`LoadError::Io`]; [`LoadError::Config`] for an architecture
    /// that is not supported.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let file = GgufFile::open(path)?;
        if let Some(parts) = file.size("split.count").filter(|parts| *parts > 1) {
            return Err(file.damaged(format!(
                "one of {parts} files of a split model; merge them, with llama-gguf-split --merge"
            )));
        }
        let architecture = Architecture::of(&file)?;
        let heads = Heads::of(&file, architecture)?;
        Ok(Self {
            file,
            architecture,
            heads,
        })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// What transformers' `config.json` says of such a model.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] if the metadata lacks something, or contradicts the tensors.
    pub(crate) fn config_json(&self) -> Result<Json, LoadError> {
        config_json(&self.file, self.architecture, self.heads)
    }

    /// What the file says of its tokenizer.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] if it lacks a vocabulary.
    pub(crate) fn tokenizer(&self) -> Result<GgufTokenizer, LoadError> {
        GgufTokenizer::read(&self.file)
    }

    /// The template that makes one text of a conversation.
    pub(crate) fn chat_template(&self) -> Option<&str> {
        self.file.text("tokenizer.chat_template")
    }

    /// Type of a tensor; of a quantized one, that which holds its weights without loss.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`].
    pub(crate) fn dtype(&self, tensor: &str) -> Result<SpanDType, LoadError> {
        Ok(match self.file.kind(&self.place(tensor)?.tensor)? {
            GgufKind::F16 => SpanDType::F16,
            GgufKind::Bf16 => SpanDType::BF16,
            _ => SpanDType::F32,
        })
    }

    /// How a matrix is stored, if there is one of that name and type.
    pub(crate) fn stored(&self, tensor: &str) -> Option<Stored> {
        let kind = self.file.kind(&self.find(tensor)?.tensor).ok()?;
        let floats = || self.dtype(tensor).ok().map(Stored::Floats);
        kind.format().map(Stored::Integers).or_else(floats)
    }

    /// Reads a tensor of exactly `shape` in row-major order.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`], [`LoadError::WrongShape`],
    /// [`LoadError::Damaged`], [`LoadError::Io`].
    pub(crate) fn read(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let place = self.place(tensor)?;
        let rows = self
            .file
            .rows(&place.tensor, place.slice, place.order, shape)?;
        let mut values = vec![0.0; rows.values()];
        rows.read_all(&mut values);
        if place.is_one_more {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        Ok(values)
    }

    /// Maps a matrix of exactly `shape`, `[rows, values]`, to be read row by row.
    ///
    /// # Errors
    /// As [`GgufModel::read`].
    pub(crate) fn rows(&self, tensor: &str, shape: [usize; 2]) -> Result<GgufRows, LoadError> {
        let place = self.place(tensor)?;
        self.file
            .rows(&place.tensor, place.slice, place.order, &shape)
    }

    fn place(&self, tensor: &str) -> Result<Place, LoadError> {
        self.find(tensor).ok_or_else(|| self.file.missing(tensor))
    }

    fn find(&self, tensor: &str) -> Option<Place> {
        let mut places = places(self.architecture, self.heads, tensor).into_iter();
        places.find(|place| self.file.tensor(&place.tensor).is_some())
    }
}

#[cfg(test)]
mod tests;
