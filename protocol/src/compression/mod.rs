//! How the elements of a tensor are packed.
//!
//! The receiver unpacks by the tensor's own [`Compression`], never by agreement.
//!
//! | module       | what is in it                                                |
//! |--------------|--------------------------------------------------------------|
//! | `floats`     | checks and dispatch for float tensors                        |
//! | `integers`   | integer and boolean tensors, never compressed                |
//! | `none` … `blockwise8_implied` | one codec each, with its byte table         |
//! | `codebook`   | layout shared by the two codecs with a codebook              |
//! | `dynamic_map`| the fixed code of the two blockwise codecs                    |
//! | `layout`     | sizes promised by a header                                   |

mod blockwise8;
mod blockwise8_implied;
mod codebook;
mod dynamic_map;
mod float16;
mod floats;
mod halves;
mod integers;
mod layout;
mod mean_std;
mod none;
mod quantile8;
mod statistics;
mod uniform8;

pub use floats::{decode_f32, encode_f32};
pub use integers::{decode_i64, encode_i64};
pub use layout::longest_buffer;

use crate::tensor::DType;

/// A codec, numbered as on the wire.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(i32)]
pub enum Compression {
    /// The elements as they are.
    #[default]
    None = 0,
    /// 16-bit floats, normalised by mean and deviation of each last-axis row.
    MeanStd16 = 1,
    /// 16-bit floats.
    Float16 = 2,
    /// 8-bit indices into a codebook of quantile averages.
    Quantile8 = 3,
    /// 8-bit indices into a codebook of evenly spaced buckets.
    Uniform8 = 4,
    /// 8-bit indices into a fixed code, scaled by each block's largest magnitude.
    Blockwise8 = 5,
    /// Each last-axis row as [`Blockwise8`](Self::Blockwise8), without the code: both sides know it. Ours, from [`FIRST_OWN`](Self::FIRST_OWN) up.
    Blockwise8Implied = 69,
}

impl Compression {
    /// The lowest number of a codec that the reference does not know. Such a codec goes only to a peer that lists it.
    pub const FIRST_OWN: i32 = 64;

    /// Every codec, in wire order. All of them are encoded and decoded.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::MeanStd16,
        Self::Float16,
        Self::Quantile8,
        Self::Uniform8,
        Self::Blockwise8,
        Self::Blockwise8Implied,
    ];

    /// The number on the wire.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The codec's name in flags and in the key `codecs` of records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MeanStd16 => "meanstd16",
            Self::Float16 => "float16",
            Self::Quantile8 => "quantile8",
            Self::Uniform8 => "uniform8",
            Self::Blockwise8 => "blockwise8",
            Self::Blockwise8Implied => "blockwise8-implied",
        }
    }

    /// The codec with that name; `None` for one we do not know.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Whether the reference reads and writes it, too.
    pub const fn in_reference(self) -> bool {
        self.number() < Self::FIRST_OWN
    }

    /// Whether tensors of float type `dtype` can be packed so. The reference defines the codecs made of 2-byte
    /// IEEE floats for the other float types only: bf16 has a wider range.
    pub const fn packs(self, dtype: DType) -> bool {
        !matches!(
            (self, dtype),
            (Self::Float16 | Self::MeanStd16, DType::BF16)
        )
    }

    /// Names of the codecs in which a server of `dtype` hidden states reads and writes, for the key `codecs`.
    pub fn names_for(dtype: DType) -> Vec<String> {
        let packing = Self::ALL.into_iter().filter(|codec| codec.packs(dtype));
        packing.map(|codec| codec.name().to_owned()).collect()
    }
}

/// A number that names no codec.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("unknown compression {0}")]
pub struct UnknownCompression(pub i32);

impl TryFrom<i32> for Compression {
    type Error = UnknownCompression;

    fn try_from(number: i32) -> Result<Self, Self::Error> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.number() == number)
            .ok_or(UnknownCompression(number))
    }
}
