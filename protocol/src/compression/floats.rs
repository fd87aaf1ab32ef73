//! Tensors of floats: checks and dispatch around the codecs.
//!
//! Values travel through the crate as f32 whatever the tensor's dtype is: every float16 and
//! bfloat16 is one.

use bytes::Bytes;

use super::layout::checked_tensor;
use super::{
    Compression, blockwise8, blockwise8_implied, codebook, float16, halves, mean_std, none,
    quantile8, uniform8,
};
use crate::error::{DecodeError, EncodeError};
use crate::limits::{MAX_TENSOR_BYTES, MAX_TENSOR_DIMS, MAX_TENSOR_ELEMENTS};
use crate::tensor::{DType, WireTensor, element_count};

/// Packs `values` of `shape`, in C order. `dtype` is what the receiver gets back, a float type.
///
/// A tensor without elements is always sent uncompressed: statistics of nothing are NaN.
/// Values that are not finite never fail; the codecs say what becomes of them.
///
/// # Errors
/// `Invalid` if the shape has not as many elements as there are values, if `dtype` is not a
/// float type, or for bfloat16 under FLOAT16 or MEANSTD_16BIT, which receivers refuse.
/// `LimitExceeded` over the limits on axes, elements or bytes.
pub fn encode_f32(
    values: &[f32],
    shape: &[usize],
    dtype: DType,
    compression: Compression,
) -> Result<WireTensor, EncodeError> {
    EncodeError::check_len("tensor axes", shape.len(), MAX_TENSOR_DIMS)?;
    EncodeError::check_len("tensor elements", values.len(), MAX_TENSOR_ELEMENTS)?;
    if element_count(shape) != Some(values.len()) {
        return Err(EncodeError::invalid(
            "tensor",
            "its shape does not fit its values",
        ));
    }
    if !dtype.is_float() {
        return Err(EncodeError::invalid(
            "tensor dtype",
            "floats need a float type",
        ));
    }
    let compression = if values.is_empty() {
        Compression::None
    } else {
        compression
    };
    let buffer = pack(values, shape, dtype, compression)?;
    EncodeError::check_len("tensor bytes", buffer.len(), MAX_TENSOR_BYTES)?;
    Ok(WireTensor {
        dtype,
        shape: shape.to_vec(),
        compression,
        chunks: 0,
        requires_grad: false,
        buffer: Bytes::from(buffer),
    })
}

/// The elements of a float tensor, in C order, unpacked by its own compression alone.
///
/// Every value is representable in the tensor's dtype, except that float64 is narrowed. A tensor
/// without elements is empty whatever its buffer contains, since codecs still write their headers.
///
/// # Errors
/// `WrongType` if the dtype is not a float type, `Malformed` if the buffer does not fit the
/// shape or contradicts itself, `LimitExceeded` over a limit. Nothing was allocated for the
/// elements then.
pub fn decode_f32(tensor: &WireTensor) -> Result<Vec<f32>, DecodeError> {
    if !tensor.dtype.is_float() {
        return Err(DecodeError::WrongType {
            what: "tensor dtype",
            expected: "a float type",
        });
    }
    let numel = checked_tensor(tensor)?;
    if numel == 0 {
        return Ok(Vec::new());
    }
    let buffer = &*tensor.buffer;
    let mut values = match tensor.compression {
        Compression::None => return none::decode(buffer, tensor.dtype, numel),
        Compression::MeanStd16 => mean_std::decode(buffer, numel, row_length(&tensor.shape))?,
        Compression::Float16 => float16::decode(buffer, numel)?,
        Compression::Quantile8 | Compression::Uniform8 => codebook::decode(buffer, numel)?,
        Compression::Blockwise8 => blockwise8::decode(buffer, numel)?,
        Compression::Blockwise8Implied => {
            blockwise8_implied::decode(buffer, numel, row_length(&tensor.shape))?
        }
    };
    if tensor.dtype == DType::BF16 {
        halves::round_bf16(&mut values);
    } else if tensor.dtype == DType::F16 && tensor.compression != Compression::Float16 {
        halves::round_f16(&mut values);
    }
    Ok(values)
}

fn pack(
    values: &[f32],
    shape: &[usize],
    dtype: DType,
    compression: Compression,
) -> Result<Vec<u8>, EncodeError> {
    if !compression.packs(dtype) {
        return Err(EncodeError::invalid(
            "tensor compression",
            "FLOAT16 and MEANSTD_16BIT are not defined for bfloat16",
        ));
    }
    match compression {
        Compression::None => none::encode(values, dtype)
            .ok_or_else(|| EncodeError::invalid("tensor dtype", "floats need a float type")),
        Compression::MeanStd16 => Ok(mean_std::encode(values, row_length(shape))),
        Compression::Float16 => Ok(float16::encode(values)),
        Compression::Quantile8 => Ok(quantile8::encode(values)),
        Compression::Uniform8 => Ok(uniform8::encode(values)),
        Compression::Blockwise8 => Ok(blockwise8::encode(values)),
        Compression::Blockwise8Implied => Ok(blockwise8_implied::encode(values, row_length(shape))),
    }
}

/// Length of the last axis; a scalar is a row of one.
pub(super) fn row_length(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1)
}
