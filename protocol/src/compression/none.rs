//! NONE (0): the elements as they are.
//!
//! | offset | size          | field    | value                               |
//! |-------:|--------------:|----------|-------------------------------------|
//! |      0 | numel × width | elements | little-endian; width = `dtype.size()` |
//!
//! bfloat16 has two forms: raw (width 2), and float32 (width 4) from plain hivemind and
//! old Petals servers. The receiver tells them apart by length. We send raw, as Petals does.
//!
//! Source: hivemind 1.1.12, `compression/base.py`, `NoCompression`. Golden: `tensor.none.*`, `tensor.bf16.*`.

use super::layout::wrong_length;
use super::{halves, statistics};
use crate::error::DecodeError;
use crate::tensor::DType;

/// Bytes of a float32, and of a bfloat16 in its legacy form.
const F32_BYTES: usize = 4;

/// The longest buffer of elements that are `bytes` long as `dtype`.
pub(super) fn longest(dtype: DType, bytes: usize) -> usize {
    if dtype == DType::BF16 {
        bytes.saturating_mul(2)
    } else {
        bytes
    }
}

/// Packs `values` as `dtype`; `None` if that is not a float type.
pub(super) fn encode(values: &[f32], dtype: DType) -> Option<Vec<u8>> {
    match dtype {
        DType::F32 => Some(f32_bytes(values)),
        DType::BF16 => Some(halves::bf16_bytes(values)),
        DType::F16 => {
            let mut out = Vec::with_capacity(values.len().saturating_mul(2));
            halves::append_f16(values, |value| value, &mut out);
            Some(out)
        }
        DType::F64 => {
            let words: Vec<[u8; 8]> = values
                .iter()
                .map(|&value| f64::from(value).to_le_bytes())
                .collect();
            Some(words.into_flattened())
        }
        DType::I64
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U8
        | DType::Bool
        | DType::Continued => None,
    }
}

/// Unpacks `numel` floats of type `dtype`.
pub(super) fn decode(buffer: &[u8], dtype: DType, numel: usize) -> Result<Vec<f32>, DecodeError> {
    let legacy = dtype == DType::BF16 && Some(buffer.len()) == numel.checked_mul(F32_BYTES);
    if !legacy && Some(buffer.len()) != numel.checked_mul(dtype.size()) {
        return Err(wrong_length(buffer.len(), numel));
    }
    match dtype {
        DType::BF16 if legacy => {
            let mut values = read_f32(buffer);
            halves::round_bf16(&mut values);
            Ok(values)
        }
        DType::BF16 => Ok(halves::read_bf16(buffer)),
        DType::F32 => Ok(read_f32(buffer)),
        DType::F16 => {
            let mut values = vec![0.0; numel];
            halves::read_f16(buffer, &mut values);
            Ok(values)
        }
        DType::F64 => {
            let (words, _) = buffer.as_chunks::<8>();
            Ok(words
                .iter()
                .map(|&word| statistics::narrow(f64::from_le_bytes(word)))
                .collect())
        }
        DType::I64
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U8
        | DType::Bool
        | DType::Continued => Err(DecodeError::WrongType {
            what: "tensor dtype",
            expected: "a float type",
        }),
    }
}

/// The bytes of each value.
pub(super) fn f32_bytes(values: &[f32]) -> Vec<u8> {
    let words: Vec<[u8; 4]> = values.iter().map(|value| value.to_le_bytes()).collect();
    words.into_flattened()
}

/// The values of a whole number of 4-byte floats.
pub(super) fn read_f32(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|&word| f32::from_le_bytes(word)).collect()
}
