//! Sizes that every codec checks: what a header promises against what arrived.

use super::floats::row_length;
use super::{Compression, blockwise8, blockwise8_implied, codebook, float16, mean_std, none};
use crate::error::DecodeError;
use crate::limits::{MAX_TENSOR_BYTES, MAX_TENSOR_DIMS, MAX_TENSOR_ELEMENTS};
use crate::tensor::{DType, WireTensor, element_count};

/// Elements of `shape`, checked against the limits on axes and elements.
pub(super) fn checked_numel(shape: &[usize]) -> Result<usize, DecodeError> {
    DecodeError::check_len("tensor axes", shape.len(), MAX_TENSOR_DIMS)?;
    let numel = element_count(shape).unwrap_or(usize::MAX);
    DecodeError::check_len("tensor elements", numel, MAX_TENSOR_ELEMENTS)?;
    Ok(numel)
}

/// Elements of `tensor`, and its buffer within its limit.
pub(super) fn checked_tensor(tensor: &WireTensor) -> Result<usize, DecodeError> {
    DecodeError::check_len("tensor bytes", tensor.buffer.len(), MAX_TENSOR_BYTES)?;
    checked_numel(&tensor.shape)
}

/// The longest buffer that a tensor with this header can have, in bytes.
///
/// # Errors
/// `LimitExceeded` if the shape or that buffer is over its limit, `WrongType` for a
/// [`DType::Continued`], which promises nothing.
pub fn longest_buffer(
    dtype: DType,
    shape: &[usize],
    compression: Compression,
) -> Result<usize, DecodeError> {
    if dtype == DType::Continued {
        return Err(DecodeError::WrongType {
            what: "tensor dtype",
            expected: "present",
        });
    }
    let numel = checked_numel(shape)?;
    let bytes = match compression {
        Compression::None => numel.checked_mul(dtype.size()),
        Compression::MeanStd16 => mean_std::longest(shape, numel),
        Compression::Float16 => float16::longest(numel),
        Compression::Quantile8 | Compression::Uniform8 => codebook::longest(numel),
        Compression::Blockwise8 => blockwise8::longest(numel),
        Compression::Blockwise8Implied => blockwise8_implied::longest(numel, row_length(shape)),
    };
    let bytes = bytes.unwrap_or(usize::MAX);
    DecodeError::check_len("tensor bytes", bytes, MAX_TENSOR_BYTES)?;
    if compression == Compression::None {
        return Ok(none::longest(dtype, bytes).min(MAX_TENSOR_BYTES));
    }
    Ok(bytes)
}

/// The error of a buffer that does not fit its shape.
pub(super) fn wrong_length(bytes: usize, numel: usize) -> DecodeError {
    DecodeError::malformed(
        "tensor buffer",
        format!("{bytes} bytes do not hold {numel} elements"),
    )
}

/// Takes a 64-bit count off the front of `bytes`; it must be in `1..=limit`.
pub(super) fn take_count(
    bytes: &mut &[u8],
    what: &'static str,
    limit: usize,
) -> Result<usize, DecodeError> {
    let Some((word, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(DecodeError::malformed(what, "the buffer ends before it"));
    };
    *bytes = rest;
    let count = i64::from_le_bytes(*word);
    let Ok(count) = usize::try_from(count) else {
        return Err(DecodeError::malformed(what, "negative"));
    };
    if count == 0 {
        return Err(DecodeError::malformed(what, "zero"));
    }
    DecodeError::check_len(what, count, limit)?;
    Ok(count)
}

/// Takes `count` 4-byte floats off the front of `bytes`, still as bytes.
pub(super) fn take_f32<'a>(
    bytes: &mut &'a [u8],
    count: usize,
    what: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let taken = count
        .checked_mul(4)
        .and_then(|length| bytes.split_at_checked(length));
    let Some((floats, rest)) = taken else {
        return Err(DecodeError::malformed(what, "the buffer ends inside it"));
    };
    *bytes = rest;
    Ok(floats)
}
