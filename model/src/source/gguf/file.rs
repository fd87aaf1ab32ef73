//! An open GGUF file.

use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::header::{GgufTensor, Header, MAX_HEADER_BYTES};
use super::kind::{GgufKind, SUPPORTED_KINDS};
use super::row_order::RowOrder;
use super::rows::GgufRows;
use super::value::Value;
use crate::error::LoadError;
use crate::source::mapped_file::MappedFile;
use crate::source::small_file::io_error;

/// An open file whose header fits its size. Only its header is in memory.
#[derive(Debug)]
pub(crate) struct GgufFile {
    path: PathBuf,
    file: MappedFile,
    header: Header,
    /// The header's bytes, for arrays.
    bytes: Mmap,
}

impl GgufFile {
    /// Opens the file and checks its header; touches no tensor.
    ///
    /// # Errors
    /// [`LoadError::NotFound`], [`LoadError::Damaged`], [`LoadError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |source| io_error(path, source);
        let file = MappedFile::open(path).map_err(io)?;
        let size_bytes = file.size_bytes().map_err(io)?;
        if size_bytes == 0 {
            return Err(LoadError::damaged(path, "an empty file"));
        }
        let start = file.map(0..size_bytes.min(MAX_HEADER_BYTES)).map_err(io)?;
        let header =
            Header::parse(&start, size_bytes).map_err(|reason| LoadError::damaged(path, reason))?;
        let bytes = file.map(0..header.bytes as u64).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            bytes,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A value of metadata.
    pub(crate) fn metadata(&self, key: &str) -> Option<&Value> {
        self.header.metadata.get(key)
    }

    /// Metadata that is text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.metadata(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Metadata that is yes or no.
    pub(crate) fn bool(&self, key: &str) -> Option<bool> {
        match self.metadata(key) {
            Some(Value::Bool(yes)) => Some(*yes),
            _ => None,
        }
    }

    /// Metadata that is a number.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.metadata(key)?.as_f64()
    }

    /// Metadata that is a size, or an array of one size for each block that are all the same.
    pub(crate) fn size(&self, key: &str) -> Option<u64> {
        match self.metadata(key)? {
            Value::Array(array) => {
                let sizes = array.numbers(&self.bytes)?;
                let first = *sizes.first()?;
                let is_size = first >= 0.0 && first.fract() == 0.0;
                let are_same = sizes.iter().all(|size| *size == first);
                (is_size && are_same).then_some(first as u64)
            }
            value => value.as_u64(),
        }
    }

    /// Metadata that is an array of numbers; of flags, yes is 1.
    pub(crate) fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        match self.metadata(key)? {
            Value::Array(array) => array.numbers(&self.bytes),
            _ => None,
        }
    }

    /// Metadata that is an array of texts.
    pub(crate) fn texts(&self, key: &str) -> Option<Vec<String>> {
        match self.metadata(key)? {
            Value::Array(array) => array.texts(&self.bytes),
            _ => None,
        }
    }

    /// A tensor's entry.
    pub(crate) fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.header.tensors.get(name)
    }

    /// How a tensor is stored.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`].
    pub(crate) fn kind(&self, name: &str) -> Result<GgufKind, LoadError> {
        let tensor = self.tensor(name).ok_or_else(|| self.missing(name))?;
        tensor.kind().ok_or_else(|| LoadError::UnsupportedDType {
            path: self.path.clone(),
            tensor: name.to_owned(),
            found: GgufKind::name_of(tensor.type_id),
            supported: SUPPORTED_KINDS,
        })
    }

    /// Maps the rows of a tensor of exactly `shape`.
    ///
    /// - `slice`: which of several such tensors that are stacked in this one
    /// - `order`: of the rows, or of the values if `shape` has one dimension
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`], [`LoadError::WrongShape`],
    /// [`LoadError::Damaged`] if `order` does not divide the rows, [`LoadError::Io`].
    pub(crate) fn rows(
        &self,
        name: &str,
        slice: Option<usize>,
        order: RowOrder,
        shape: &[usize],
    ) -> Result<GgufRows, LoadError> {
        let kind = self.kind(name)?;
        let tensor = self.tensor(name).ok_or_else(|| self.missing(name))?;
        let (slices, found) = match (slice, tensor.shape.split_first()) {
            (Some(slice), Some((slices, found))) if slice < *slices => (*slices, found),
            (Some(_), _) => return Err(self.missing(name)),
            (None, _) => (1, &tensor.shape[..]),
        };
        if found != shape {
            return Err(LoadError::WrongShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: found.to_vec(),
            });
        }
        if !order.fits(shape[0]) {
            let reason = format!(
                "tensor {name:?} has {} rows, which its heads do not divide",
                shape[0]
            );
            return Err(LoadError::damaged(&self.path, reason));
        }
        let bytes = &tensor.bytes;
        let slice_bytes = (bytes.end - bytes.start) / slices as u64;
        let start = bytes.start + slice_bytes * slice.unwrap_or(0) as u64;
        let map = self.file.map(start..start + slice_bytes);
        let map = map.map_err(|source| io_error(&self.path, source))?;
        Ok(GgufRows::new(map, kind, order, shape))
    }

    /// That a tensor should have been here.
    pub(crate) fn missing(&self, name: &str) -> LoadError {
        LoadError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        }
    }

    /// That the file is not what it should be.
    pub(crate) fn damaged(&self, reason: impl std::fmt::Display) -> LoadError {
        LoadError::damaged(&self.path, reason)
    }
}

#[cfg(test)]
mod tests;
