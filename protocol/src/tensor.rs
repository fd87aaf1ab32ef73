//! A tensor as it travels: element type, shape, codec and the packed bytes.
//!
//! Elements are little-endian in C order (last axis fastest). The buffer is what
//! the codec made of them; [`crate::compression`] turns it into numbers and back.
//!
//! | field         | wire                     | here                                      |
//! |---------------|--------------------------|-------------------------------------------|
//! | buffer        | 1: bytes                 | `buffer`, packed by `compression`         |
//! | size          | 2: repeated uint32       | `shape`; empty = a scalar                 |
//! | requires_grad | 3: bool                  | copied, never acted upon                  |
//! | dtype         | 4: string, torch's name  | [`DType`]; "" = a later part of a tensor  |
//! | compression   | 5: enum                  | [`Compression`]                           |
//! | chunks        | 6: int32                 | parts of a streamed tensor; informative   |
//!
//! Source: hivemind 1.1.12, `proto/runtime.proto`. Golden bytes: `tests/golden_tensor.rs`.

use bytes::Bytes;

use crate::compression::Compression;

/// Element type that a tensor has once it is unpacked.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// 64-bit IEEE float.
    F64,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte per element, 0 or 1.
    Bool,
    /// No type of its own: the buffer continues the tensor before it (see [`crate::parts`]).
    Continued,
}

impl DType {
    /// The name on the wire: torch's, without its prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
            Self::F64 => "float64",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::Bool => "bool",
            Self::Continued => "",
        }
    }

    /// The type with that name on the wire; `None` for one we do not know.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "float32" => Self::F32,
            "float16" => Self::F16,
            "bfloat16" => Self::BF16,
            "float64" => Self::F64,
            "int64" => Self::I64,
            "int32" => Self::I32,
            "int16" => Self::I16,
            "int8" => Self::I8,
            "uint8" => Self::U8,
            "bool" => Self::Bool,
            "" => Self::Continued,
            _ => return None,
        })
    }

    /// Bytes per unpacked element; 0 for [`Continued`](Self::Continued).
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Continued => 0,
        }
    }

    /// True for the four float types.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16 | Self::F64)
    }
}

/// One tensor, or one part of a streamed one, with its bytes still packed.
///
/// The fields are what the sender claims; nothing relates `buffer` to `shape`
/// until a decoder has checked them against each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WireTensor {
    /// Element type after unpacking.
    pub dtype: DType,
    /// Axis lengths, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// How `buffer` is packed.
    pub compression: Compression,
    /// Parts the sender cut the buffer into: 0 unless streamed. Only a hint.
    pub chunks: u32,
    /// Torch's autograd flag. We send false.
    pub requires_grad: bool,
    /// The packed elements.
    pub buffer: Bytes,
}

impl WireTensor {
    /// Elements that the shape promises; `None` if the product overflows.
    pub fn numel(&self) -> Option<usize> {
        element_count(&self.shape)
    }

    /// True for the placeholder of an absent argument: a tensor without elements.
    pub fn is_dummy(&self) -> bool {
        self.dtype != DType::Continued && self.shape.contains(&0)
    }
}

/// Product of the axis lengths (1 for a scalar); `None` if it overflows.
///
/// A zero anywhere makes the product zero, whatever the other axes claim.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .try_fold(1_usize, |count, &length| count.checked_mul(length))
}
