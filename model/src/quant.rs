//! How weights and caches are held, as an operator chooses it.

use std::fmt;

use crate::dtype::SpanDType;

/// The format in which a span's weights are held and multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quant {
    /// Not quantized: in the checkpoint's own type.
    #[default]
    None,
    /// 8-bit integers with a scale for 32 weights, as in GGUF's Q8_0: 1.06 bytes a weight.
    Int8,
    /// 4-bit integers with a scale for 32 weights, as in GGUF's Q4_0: 0.56 bytes a weight.
    Int4,
    /// 4-bit NormalFloat with a scale for 64 weights, as Petals serves: 0.53 bytes a weight.
    Nf4,
}

impl Quant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Int8, Self::Int4, Self::Nf4];

    /// The name in flags and records; those of `None`, `Int8` and `Nf4` are Petals'.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Nf4 => "nf4",
        }
    }

    /// Parses a name in any case; `None` for any other.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|quant| quant.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The format in which keys and values of past tokens are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvDType {
    /// Single precision.
    F32,
    /// bf16, half the memory.
    Bf16,
    /// 8-bit integers with a scale for each token and head, about a quarter of the memory.
    Int8,
}

impl KvDType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// What a span of `dtype` uses unless told otherwise: f16 values need more than bf16 can hold.
    pub const fn of_span(dtype: SpanDType) -> Self {
        match dtype {
            SpanDType::F32 | SpanDType::F16 => Self::F32,
            SpanDType::BF16 => Self::Bf16,
        }
    }

    /// The name in flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// Parses a name in any case; `None` for any other.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for KvDType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::{KvDType, Quant};

    #[test]
    fn every_name_parses_back() {
        assert!(
            Quant::ALL
                .iter()
                .all(|quant| Quant::parse(quant.name()) == Some(*quant))
        );
        assert!(
            KvDType::ALL
                .iter()
                .all(|dtype| KvDType::parse(dtype.name()) == Some(*dtype))
        );
        assert_eq!(Quant::parse("NF4"), Some(Quant::Nf4));
        assert_eq!((Quant::parse("int2"), KvDType::parse("f16")), (None, None));
    }
}
