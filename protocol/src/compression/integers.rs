//! Tensors of integers and booleans. They travel uncompressed.
//!
//! Source: hivemind 1.1.12, `compression/base.py`. Golden: `tensor.none.{int64,uint8,bool}`.

use bytes::Bytes;

use super::Compression;
use super::layout::{checked_tensor, wrong_length};
use crate::error::{DecodeError, EncodeError};
use crate::limits::{MAX_TENSOR_BYTES, MAX_TENSOR_DIMS};
use crate::tensor::{DType, WireTensor, element_count};

/// Packs `values` of `shape` as an uncompressed int64 tensor.
///
/// # Errors
/// `Invalid` if the shape has not as many elements as there are values, `LimitExceeded` over
/// the limits on axes or bytes.
pub fn encode_i64(values: &[i64], shape: &[usize]) -> Result<WireTensor, EncodeError> {
    EncodeError::check_len("tensor axes", shape.len(), MAX_TENSOR_DIMS)?;
    if element_count(shape) != Some(values.len()) {
        return Err(EncodeError::invalid(
            "tensor",
            "its shape does not fit its values",
        ));
    }
    EncodeError::check_len("tensor bytes", size_of_val(values), MAX_TENSOR_BYTES)?;
    let words: Vec<[u8; 8]> = values.iter().map(|value| value.to_le_bytes()).collect();
    Ok(WireTensor {
        dtype: DType::I64,
        shape: shape.to_vec(),
        compression: Compression::None,
        chunks: 0,
        requires_grad: false,
        buffer: Bytes::from(words.into_flattened()),
    })
}

/// The elements of an integer or boolean tensor, in C order; true is 1.
///
/// # Errors
/// `WrongType` for a float tensor, `Unsupported` for a compressed one, `Malformed` if the
/// buffer does not fit the shape, `LimitExceeded` over a limit.
pub fn decode_i64(tensor: &WireTensor) -> Result<Vec<i64>, DecodeError> {
    let numel = checked_tensor(tensor)?;
    if tensor.compression != Compression::None && numel != 0 {
        return Err(DecodeError::unsupported(
            "integer tensor compression",
            tensor.compression.name(),
        ));
    }
    let bytes = &*tensor.buffer;
    if numel != 0 && Some(bytes.len()) != numel.checked_mul(tensor.dtype.size()) {
        return Err(wrong_length(bytes.len(), numel));
    }
    let bytes = if numel == 0 { &[] } else { bytes };
    match tensor.dtype {
        DType::I64 => Ok(read(bytes, i64::from_le_bytes)),
        DType::I32 => Ok(read(bytes, i32::from_le_bytes)),
        DType::I16 => Ok(read(bytes, i16::from_le_bytes)),
        DType::I8 => Ok(read(bytes, i8::from_le_bytes)),
        DType::U8 => Ok(read(bytes, u8::from_le_bytes)),
        DType::Bool => Ok(read(bytes, |[byte]| byte != 0)),
        DType::F32 | DType::F16 | DType::BF16 | DType::F64 | DType::Continued => {
            Err(DecodeError::WrongType {
                what: "tensor dtype",
                expected: "an integer type",
            })
        }
    }
}

fn read<const WIDTH: usize, T: Into<i64>>(
    bytes: &[u8],
    element: impl Fn([u8; WIDTH]) -> T,
) -> Vec<i64> {
    let (words, _) = bytes.as_chunks::<WIDTH>();
    words.iter().map(|&word| element(word).into()).collect()
}
