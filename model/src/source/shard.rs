//! One safetensors file: its checked header and its tensors, as floats or as bytes.
//!
//! | offset | size | field  | value                                                  |
//! |-------:|-----:|--------|--------------------------------------------------------|
//! |      0 |    8 | length | u64, little-endian, of the header                      |
//! |      8 |    n | header | JSON: name -> dtype, shape, offsets into what follows  |
//! |  8 + n |      | bytes  | the tensors, little-endian, without gaps               |

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorInfo};

use super::mapped_file::MappedFile;
use super::small_file::io_error;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families::spellings;

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
    /// A shorter file is none.
    pub(crate) const MIN_BYTES: u64 = HEADER_START;

    /// Opens the file and checks its header; touches no tensor.
    ///
    /// # Errors
    /// [`LoadError::NotFound`], [`LoadError::Damaged`], [`LoadError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |source| io_error(path, source);
        let damaged = |reason: String| LoadError::damaged(path, reason);
        let file = MappedFile::open(path).map_err(io)?;
        let size_bytes = file.size_bytes().map_err(io)?;
        if size_bytes < HEADER_START {
            return Err(damaged(format!("only {size_bytes} bytes long")));
        }
        // Maps the whole file, but reads only the header's pages.
        let whole = file.map(0..size_bytes).map_err(io)?;
        let (tensors_start, metadata) = parse(&whole).map_err(damaged)?;
        drop(whole);
        Ok(Self {
            path: path.to_owned(),
            file,
            tensors_start,
            metadata,
        })
    }

    /// Where the header of a file ends that may not be there beyond the first eight bytes.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] if no header can end there, [`LoadError::NotFound`], [`LoadError::Io`].
    pub(crate) fn header_end(path: &Path) -> Result<u64, LoadError> {
        let io = |source| io_error(path, source);
        let mut file = File::open(path).map_err(io)?;
        let size_bytes = file.metadata().map_err(io)?.len();
        let mut length = [0; HEADER_START as usize];
        if size_bytes >= HEADER_START {
            file.read_exact(&mut length).map_err(io)?;
        }
        let header_bytes = u64::from_le_bytes(length);
        let end = header_bytes.saturating_add(HEADER_START);
        if header_bytes == 0 || header_bytes > MAX_HEADER_BYTES || end > size_bytes {
            return Err(LoadError::damaged(
                path,
                describe(&SafeTensorError::InvalidHeaderLength),
            ));
        }
        Ok(end)
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name that a tensor has in this file, of those that it may have.
    pub(crate) fn spelling(&self, tensor: &str) -> Option<String> {
        spellings(tensor).find(|name| self.metadata.info(name).is_some())
    }

    /// Which bytes of the file a tensor is; `None` if the header does not name it.
    pub(crate) fn range(&self, tensor: &str) -> Option<Range<u64>> {
        Some(self.range_of(self.metadata.info(tensor)?))
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`].
    pub(crate) fn shape(&self, tensor: &str) -> Result<&[usize], LoadError> {
        Ok(&self.info(tensor)?.shape)
    }

    /// Type of a tensor as stored.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`].
    pub(crate) fn dtype(&self, tensor: &str) -> Result<SpanDType, LoadError> {
        match self.info(tensor)?.dtype {
            Dtype::F32 => Ok(SpanDType::F32),
            Dtype::BF16 => Ok(SpanDType::BF16),
            Dtype::F16 => Ok(SpanDType::F16),
            other => Err(self.unsupported(tensor, other)),
        }
    }

    /// Reads a tensor of exactly `shape`.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`], [`LoadError::UnsupportedDType`], [`LoadError::WrongShape`],
    /// [`LoadError::Io`].
    pub(crate) fn read(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let stored = self.dtype(tensor)?;
        let bytes = self.map(tensor, shape)?;
        let mut values = vec![0.0; bytes.len() / stored.size_bytes()];
        decode(&bytes, stored, &mut values);
        Ok(values)
    }

    /// Maps a matrix of exactly `shape`, `[rows, values]`, to be read row by row.
    ///
    /// # Errors
    /// As [`Shard::read`].
    pub(crate) fn rows(&self, tensor: &str, shape: [usize; 2]) -> Result<FloatRows, LoadError> {
        let stored = self.dtype(tensor)?;
        let bytes = self.map(tensor, &shape)?;
        Ok(FloatRows { bytes, stored })
    }

    /// Maps the bytes of a tensor of exactly this type and shape.
    ///
    /// # Errors
    /// As [`Shard::read`].
    pub(crate) fn bytes(
        &self,
        tensor: &str,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<Mmap, LoadError> {
        match self.info(tensor)?.dtype {
            found if found == dtype => self.map(tensor, shape),
            other => Err(self.unsupported(tensor, other)),
        }
    }

    fn map(&self, tensor: &str, shape: &[usize]) -> Result<Mmap, LoadError> {
        let info = self.info(tensor)?;
        if info.shape != shape {
            return Err(LoadError::WrongShape {
                path: self.path.clone(),
                tensor: tensor.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        self.file
            .map(self.range_of(info))
            .map_err(|source| LoadError::Io {
                path: self.path.clone(),
                source,
            })
    }

    fn range_of(&self, info: &TensorInfo) -> Range<u64> {
        let (start, end) = info.data_offsets;
        self.tensors_start + start as u64..self.tensors_start + end as u64
    }

    fn info(&self, tensor: &str) -> Result<&TensorInfo, LoadError> {
        let info = self.metadata.info(tensor);
        info.ok_or_else(|| LoadError::MissingTensor {
            path: self.path.clone(),
            tensor: tensor.to_owned(),
        })
    }

    fn unsupported(&self, tensor: &str, found: Dtype) -> LoadError {
        LoadError::UnsupportedDType {
            path: self.path.clone(),
            tensor: tensor.to_owned(),
            found: format!("{found:?}"),
            supported: SUPPORTED,
        }
    }
}

/// A mapped matrix of floats.
#[derive(Debug)]
pub(crate) struct FloatRows {
    bytes: Mmap,
    stored: SpanDType,
}

impl FloatRows {
    /// Reads row `row`, which has as many values as `values`.
    pub(crate) fn read(&self, row: usize, values: &mut [f32]) {
        let row_bytes = values.len() * self.stored.size_bytes();
        decode(
            &self.bytes[row * row_bytes..(row + 1) * row_bytes],
            self.stored,
            values,
        );
    }
}

/// Checks a file's header against its size: the offset of its first tensor, and its table.
///
/// # Errors
/// What is wrong, in words that an operator understands.
fn parse(file: &[u8]) -> Result<(u64, Metadata), String> {
    let (header_bytes, metadata) =
        SafeTensors::read_metadata(file).map_err(|error| describe(&error))?;
    Ok((HEADER_START + header_bytes as u64, metadata))
}

/// Widens stored values; every value of a half type is one of single precision.
pub(super) fn decode(bytes: &[u8], stored: SpanDType, values: &mut [f32]) {
    let halves = bytes.as_chunks::<2>().0.iter().zip(values.iter_mut());
    match stored {
        SpanDType::F32 => {
            let singles = bytes.as_chunks::<4>().0.iter().zip(values.iter_mut());
            singles.for_each(|(bytes, value)| *value = f32::from_le_bytes(*bytes));
        }
        SpanDType::BF16 => {
            halves.for_each(|(bytes, value)| *value = bf16::from_le_bytes(*bytes).to_f32())
        }
        SpanDType::F16 => {
            halves.for_each(|(bytes, value)| *value = f16::from_le_bytes(*bytes).to_f32())
        }
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

/// What is read without a `quantization_config` that fits the tensor.
const SUPPORTED: &str =
    "F32, F16, BF16, and with a quantization_config in config.json 4-bit GPTQ and AWQ, and F8_E4M3";

/// Bytes before the header.
const HEADER_START: u64 = 8;

/// Longest header that the safetensors crate reads.
const MAX_HEADER_BYTES: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Shard, SpanDType, decode, parse};

    /// A file with one tensor `w` of shape `[2, 2]`.
    fn small_file() -> Vec<u8> {
        let header = br#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(&[0; 16]);
        bytes
    }

    /// Opens a file of these bytes and reads its tensor, if there is one.
    fn read(bytes: &[u8]) -> Option<Vec<f32>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        std::fs::write(&path, bytes).unwrap();
        Shard::open(&path).ok()?.read("w", &[2, 2]).ok()
    }

    #[test]
    fn every_prefix_is_an_error() {
        let bytes = small_file();
        assert_eq!(read(&bytes), Some(vec![0.0; 4]));
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_an_error_or_another_value(place in 0usize..81, byte: u8) {
            let mut bytes = small_file();
            bytes[place] = byte;
            if let Some(values) = read(&bytes) {
                prop_assert_eq!(values.len(), 4);
            }
        }
    }

    /// A file whose header is these bytes, with `tensor_bytes` behind it.
    fn with_header(header: &[u8], tensor_bytes: usize) -> Vec<u8> {
        let length = (header.len() as u64).to_le_bytes();
        [&length, header, &vec![0; tensor_bytes]].concat()
    }

    /// Parses a file, and checks that all its tensors lie inside it.
    fn assert_inside(file: &[u8]) {
        let Ok((start, metadata)) = parse(file) else {
            return;
        };
        for info in metadata.tensors().values() {
            let (first, end) = info.data_offsets;
            assert!(first <= end && start + end as u64 <= file.len() as u64);
        }
    }

    /// Two tensors, one after the other.
    const TWO: &str = r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"F16","shape":[4],"data_offsets":[16,24]}}"#;

    #[test]
    fn tensors_that_overlap_or_leave_the_file_are_refused() {
        assert!(parse(&with_header(TWO.as_bytes(), 24)).is_ok());
        for (from, to) in [
            ("[16,24]", "[8,16]"),
            ("[16,24]", "[24,32]"),
            ("[16,24]", "[24,16]"),
            ("[16,24]", "[16,18446744073709551615]"),
            ("[4]", "[5]"),
            ("[2,2]", "[4611686018427387904,4]"),
            ("\"F16\"", "\"F17\""),
        ] {
            let header = TWO.replace(from, to);
            assert!(parse(&with_header(header.as_bytes(), 24)).is_err(), "{to}");
        }
        for length in [u64::MAX, 1 << 40, 1 << 27] {
            let file = [&length.to_le_bytes()[..], &[b'{'; 64]].concat();
            assert!(parse(&file).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn damaged_headers_never_panic(
            changes in prop::collection::vec((0usize..200, any::<u8>()), 0..8),
            cut in 0usize..200,
            digits in "[0-9]{0,20}",
            place in 0usize..200,
        ) {
            let mut header = TWO.as_bytes().to_vec();
            let place = place % header.len();
            header.splice(place..place, digits.bytes());
            assert_inside(&with_header(&header, 24));
            for (place, byte) in changes {
                let place = place % header.len();
                header[place] = byte;
            }
            assert_inside(&with_header(&header, 24));
            let file = with_header(&header, 24);
            assert_inside(&file[..cut % file.len()]);
        }

        #[test]
        fn headers_of_json_never_panic(
            header in r#"\{("[a-c]{1,2}":\{"dtype":"(F32|I8|BF16|F8_E4M3)","shape":\[[0-9]{1,20}(,[0-9]{1,3})?\],"data_offsets":\[[0-9]{1,3},[0-9]{1,20}\]\},?){0,4}\}"#,
            bytes in 0usize..64,
        ) {
            assert_inside(&with_header(header.as_bytes(), bytes));
        }
    }

    #[test]
    fn values_are_widened_exactly() {
        let value = 1.003_906_3_f32;
        let mut single = [0.0];
        decode(&value.to_le_bytes(), SpanDType::F32, &mut single);
        assert_eq!(single, [value]);
        let mut pair = [0.0; 2];
        decode(&[0x80, 0x3f, 0x00, 0xc0], SpanDType::BF16, &mut pair);
        assert_eq!(pair, [1.0, -2.0]);
        decode(&[0x00, 0x3c, 0x01, 0x00], SpanDType::F16, &mut pair);
        assert_eq!(pair, [1.0, 2f32.powi(-24)]);
    }
}
