//! Which codec the hidden states travel in between two hops, and how a tensor gets into another one. Pure.
//!
//! - Only to a server that lists a codec is anything but its schema's compression ever sent, or asked of it.
//! - What is asked for is met as far as both ends can; `none` always can be.
//! - Where a link must carry numbers that were rounded by another codec than it can, they were rounded at home:
//!   packing and unpacking is the same function everywhere, so the numbers are the same, bit for bit.

use block_protocol::compression::{decode_f32, encode_f32, longest_buffer};
use block_protocol::{Compression, DType, WireTensor};

use crate::error::HopError;

/// What a user asks of the links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ActivationCodec {
    /// For each tensor the smallest codec that both ends list.
    #[default]
    Auto,
    /// The numbers as they are, in the server's dtype.
    None,
    /// 16-bit floats where both ends list them, otherwise none.
    Float16,
    /// 8-bit where both ends list it, otherwise none.
    Blockwise8,
}

impl ActivationCodec {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::Auto, Self::None, Self::Float16, Self::Blockwise8];

    /// Its name in flags and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Float16 => "float16",
            Self::Blockwise8 => "blockwise8",
        }
    }

    /// The choice with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// The codecs that meet it, exact ones first; of equally small ones the first is taken.
    const fn candidates(self) -> &'static [Compression] {
        use Compression::{Blockwise8, Blockwise8Implied, Float16, None};
        match self {
            Self::Auto => &[None, Float16, Blockwise8Implied, Blockwise8],
            Self::None => &[None],
            Self::Float16 => &[None, Float16],
            Self::Blockwise8 => &[Blockwise8Implied, Blockwise8],
        }
    }

    /// The smallest codec that meets it, that `both_list` and that packs `dtype`, for a tensor of this shape; `None`
    /// if there is no other.
    pub(crate) fn choose(
        self,
        dtype: DType,
        shape: [usize; 3],
        both_list: impl Fn(Compression) -> bool,
    ) -> Compression {
        let fitting = self.candidates().iter().copied().filter(|&codec| {
            codec.packs(dtype) && (codec == Compression::None || both_list(codec))
        });
        fitting
            .min_by_key(|&codec| packed_bytes(dtype, shape, codec))
            .unwrap_or(Compression::None)
    }
}

/// Length of a packed tensor in bytes.
fn packed_bytes(dtype: DType, shape: [usize; 3], codec: Compression) -> usize {
    match codec {
        // The longest buffer is that of an older encoding, which nobody sends.
        Compression::None => shape
            .iter()
            .fold(dtype.size(), |bytes, &axis| bytes.saturating_mul(axis)),
        _ => longest_buffer(dtype, &shape, codec).unwrap_or(usize::MAX),
    }
}

/// How the numbers that cross a boundary between two hops are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// Their element type.
    pub(crate) dtype: DType,
    /// Their codec.
    pub(crate) codec: Compression,
}

impl Format {
    /// The tensor in this format: itself, or unpacked and packed again.
    ///
    /// # Errors
    /// `Nonsense` if it is no such tensor.
    pub(crate) fn of(self, tensor: WireTensor) -> Result<WireTensor, HopError> {
        if tensor.is_dummy() || (tensor.dtype, tensor.compression) == (self.dtype, self.codec) {
            return Ok(tensor);
        }
        let values = decode_f32(&tensor)?;
        Ok(encode_f32(&values, &tensor.shape, self.dtype, self.codec)?)
    }
}

impl Default for Format {
    fn default() -> Self {
        Self {
            dtype: DType::F32,
            codec: Compression::None,
        }
    }
}

/// What one server takes and gives, known once its session is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Codecs that it lists. Empty: it takes `input` only.
    pub(crate) codecs: Vec<Compression>,
    /// What it takes whatever it lists.
    pub(crate) input: Format,
    /// What its answers come in.
    pub(crate) output: Format,
}

impl Terms {
    /// Whether it takes the tensor as it is.
    pub(crate) fn take(&self, tensor: &WireTensor) -> bool {
        self.takes_format(Format {
            dtype: tensor.dtype,
            codec: tensor.compression,
        }) || tensor.is_dummy()
    }

    /// Whether it takes tensors of this format.
    pub(crate) fn takes_format(&self, format: Format) -> bool {
        format == self.input || self.codecs.contains(&format.codec)
    }

    /// The tensor in a form that it takes, its numbers kept.
    ///
    /// # Errors
    /// `Nonsense` if it is no such tensor.
    pub(crate) fn fit(&self, tensor: &WireTensor) -> Result<WireTensor, HopError> {
        if self.take(tensor) {
            return Ok(tensor.clone());
        }
        self.input.of(tensor.clone())
    }
}

/// Whether the buffer has the length that its header promises. Cheap for the codecs that sessions use.
pub(crate) fn is_whole(tensor: &WireTensor) -> bool {
    let Some(numel) = tensor.numel() else {
        return false;
    };
    let have = tensor.buffer.len();
    match tensor.compression {
        Compression::None => {
            have == numel * tensor.dtype.size()
                || (tensor.dtype == DType::BF16 && have == numel * 4)
        }
        Compression::Float16 | Compression::Blockwise8Implied => {
            longest_buffer(tensor.dtype, &tensor.shape, tensor.compression) == Ok(have)
        }
        _ => decode_f32(tensor).is_ok(),
    }
}

/// The first `keep` tokens of a tensor `[batch, seq, hidden]`, losslessly: unpacked numbers in its own dtype.
///
/// # Errors
/// `Nonsense` if it is no such tensor.
pub(crate) fn first_tokens(tensor: &WireTensor, keep: usize) -> Result<WireTensor, HopError> {
    let &[batch, seq, hidden] = tensor.shape.as_slice() else {
        return Err(HopError::Nonsense(
            "hidden states have three axes".to_owned(),
        ));
    };
    let values = decode_f32(tensor)?;
    let row = (seq * hidden).max(1);
    let kept: Vec<f32> = values
        .chunks(row)
        .flat_map(|row| row.iter().take(keep * hidden).copied())
        .collect();
    let shape = [batch, keep.min(seq), hidden];
    Ok(encode_f32(&kept, &shape, tensor.dtype, Compression::None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS_F32: [Compression; 7] = Compression::ALL;

    fn choose(
        codec: ActivationCodec,
        dtype: DType,
        hidden: usize,
        listed: &[Compression],
    ) -> Compression {
        codec.choose(dtype, [1, 1, hidden], |codec| listed.contains(&codec))
    }

    #[test]
    fn auto_takes_the_smallest_that_both_list() {
        use ActivationCodec::Auto;
        use Compression::{Blockwise8, Blockwise8Implied, Float16, None};
        assert_eq!(choose(Auto, DType::F32, 256, &OURS_F32), Blockwise8Implied);
        assert_eq!(choose(Auto, DType::BF16, 256, &[None, Blockwise8]), None);
        assert_eq!(
            choose(Auto, DType::BF16, 4096, &[None, Blockwise8]),
            Blockwise8
        );
        assert_eq!(choose(Auto, DType::F32, 256, &[None, Float16]), Float16);
        assert_eq!(choose(Auto, DType::F32, 4096, &[]), None);
    }

    #[test]
    fn other_choices_fall_back_to_none() {
        use ActivationCodec::{Blockwise8, Float16, None};
        for codec in [None, Float16, Blockwise8] {
            assert_eq!(
                choose(codec, DType::BF16, 4096, &[Compression::None]),
                Compression::None
            );
        }
        assert_eq!(
            choose(Float16, DType::F32, 64, &OURS_F32),
            Compression::Float16
        );
        assert_eq!(
            choose(Float16, DType::BF16, 64, &OURS_F32),
            Compression::None
        );
        assert_eq!(choose(None, DType::F32, 64, &OURS_F32), Compression::None);
        assert_eq!(
            choose(Blockwise8, DType::BF16, 64, &[Compression::Blockwise8]),
            Compression::Blockwise8
        );
    }

    #[test]
    fn a_server_without_a_list_gets_its_schema_only() {
        let plain = Format {
            dtype: DType::F32,
            codec: Compression::None,
        };
        let terms = Terms {
            codecs: Vec::new(),
            input: plain,
            output: plain,
        };
        let values: Vec<f32> = (0..64).map(|number| number as f32 / 7.0).collect();
        for codec in [Compression::Float16, Compression::Blockwise8Implied] {
            let packed = encode_f32(&values, &[1, 2, 32], DType::F32, codec).unwrap();
            let fitted = terms.fit(&packed).unwrap();
            assert_eq!(
                (fitted.dtype, fitted.compression),
                (DType::F32, Compression::None)
            );
            assert_eq!(decode_f32(&fitted).unwrap(), decode_f32(&packed).unwrap());
            // Rounding at home gives what the server's own rounding gave.
            let format = Format {
                dtype: DType::F32,
                codec,
            };
            let exact = encode_f32(&values, &[1, 2, 32], DType::F32, Compression::None).unwrap();
            assert_eq!(format.of(exact).unwrap(), packed);
        }
    }

    #[test]
    fn first_tokens_of_every_row() {
        let values: Vec<f32> = (0..12).map(|number| number as f32).collect();
        let tensor = encode_f32(&values, &[2, 3, 2], DType::F32, Compression::None).unwrap();
        let kept = first_tokens(&tensor, 2).unwrap();
        assert_eq!(kept.shape, [2, 2, 2]);
        assert_eq!(decode_f32(&kept).unwrap(), [0., 1., 2., 3., 6., 7., 8., 9.]);
        assert!(is_whole(&kept));
    }
}
