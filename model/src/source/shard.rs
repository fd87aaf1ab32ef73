//! One safetensors file: its checked header and its tensors as floats.
//!
//! | offset | size | field  | value                                                  |
//! |-------:|-----:|--------|--------------------------------------------------------|
//! |      0 |    8 | length | u64, little-endian, of the header                      |
//! |      8 |    n | header | JSON: name -> dtype, shape, offsets into what follows  |
//! |  8 + n |      | bytes  | the tensors, little-endian, without gaps               |

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError};

use super::mapped_file::MappedFile;
use super::small_file::io_error;
use crate::dtype::SpanDType;
use crate::error::LoadError;

/// An open safetensors file whose header fits its size.
#[derive(Debug)]
pub(crate) struct Shard {
    path: PathBuf,
    file: MappedFile,
    /// Offset of the first tensor in the file.
    tensors_start: u64,
    metadata: Metadata,
}

impl Shard {
    /// Opens the file and checks its header; touches no tensor.
    ///
    /// # Errors
    /// [`LoadError::NotFound`], [`LoadError::Damaged`], [`LoadError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |source| io_error(path, source);
        let damaged = |reason| LoadError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let file = MappedFile::open(path).map_err(io)?;
        let size_bytes = file.size_bytes().map_err(io)?;
        if size_bytes < HEADER_START {
            return Err(damaged(format!("only {size_bytes} bytes long")));
        }
        // Maps the whole file, but reads only the header's pages.
        let whole = file.map(0..size_bytes).map_err(io)?;
        let (header_bytes, metadata) =
            SafeTensors::read_metadata(&whole).map_err(|error| damaged(describe(&error)))?;
        drop(whole);
        Ok(Self {
            path: path.to_owned(),
            file,
            tensors_start: HEADER_START + header_bytes as u64,
            metadata,
        })
    }

    /// Type of a tensor as stored.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`].
    pub(crate) fn dtype(&self, tensor: &str) -> Result<SpanDType, LoadError> {
        let info = self.metadata.info(tensor);
        match info.ok_or_else(|| self.missing(tensor))?.dtype {
            Dtype::F32 => Ok(SpanDType::F32),
            Dtype::BF16 => Ok(SpanDType::BF16),
            Dtype::F16 => Ok(SpanDType::F16),
            other => Err(LoadError::UnsupportedDType {
                path: self.path.clone(),
                tensor: tensor.to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }

    /// Reads a tensor of exactly `shape`.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`], [`LoadError::WrongShape`],
    /// [`LoadError::Io`].
    pub(crate) fn read(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let stored = self.dtype(tensor)?;
        let info = self.metadata.info(tensor);
        let info = info.ok_or_else(|| self.missing(tensor))?;
        if info.shape != shape {
            return Err(LoadError::WrongShape {
                path: self.path.clone(),
                tensor: tensor.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        let (start, end) = info.data_offsets;
        let range = self.tensors_start + start as u64..self.tensors_start + end as u64;
        let bytes = self.file.map(range).map_err(|source| LoadError::Io {
            path: self.path.clone(),
            source,
        })?;
        Ok(decode(&bytes, stored))
    }

    fn missing(&self, tensor: &str) -> LoadError {
        LoadError::MissingTensor {
            path: self.path.clone(),
            tensor: tensor.to_owned(),
        }
    }
}

/// Widens stored values; every value of a half type is one of single precision.
fn decode(bytes: &[u8], stored: SpanDType) -> Vec<f32> {
    let halves = bytes.as_chunks::<2>().0.iter();
    match stored {
        SpanDType::F32 => {
            let singles = bytes.as_chunks::<4>().0.iter();
            singles.map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        SpanDType::BF16 => halves
            .map(|bytes| bf16::from_le_bytes(*bytes).to_f32())
            .collect(),
        SpanDType::F16 => halves
            .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
            .collect(),
    }
}

/// The header's fault in words that an operator understands.
fn describe(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => {
            "its size does not fit its header, as after an interrupted copy".to_owned()
        }
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => {
            "no safetensors header, or cut within it".to_owned()
        }
        other => format!("no valid safetensors header: {other}"),
    }
}

/// Bytes before the header.
const HEADER_START: u64 = 8;

#[cfg(test)]
mod tests {
    use super::{SpanDType, decode};

    #[test]
    fn values_are_widened_exactly() {
        let value = 1.003_906_3_f32;
        assert_eq!(decode(&value.to_le_bytes(), SpanDType::F32), [value]);
        assert_eq!(
            decode(&[0x80, 0x3f, 0x00, 0xc0], SpanDType::BF16),
            [1.0, -2.0]
        );
        assert_eq!(
            decode(&[0x00, 0x3c, 0x01, 0x00], SpanDType::F16),
            [1.0, 2f32.powi(-24)]
        );
    }
}
