//! Float types of weights, of the residual stream and of arithmetic.

use std::fmt;

/// A float type that a span can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanDType {
    /// IEEE single precision, 4 bytes.
    F32,
    /// The upper half of a single, 2 bytes.
    BF16,
    /// IEEE half precision, 2 bytes.
    F16,
}

impl SpanDType {
    /// Parses the names used by torch, Petals and our own flags; `None` for any other.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        match name {
            "float32" | "f32" | "F32" | "fp32" | "float" => Some(Self::F32),
            "bfloat16" | "bf16" | "BF16" => Some(Self::BF16),
            "float16" | "f16" | "F16" | "fp16" | "half" => Some(Self::F16),
            _ => None,
        }
    }

    /// The name that torch and Petals use, for example `bfloat16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::BF16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// Bytes of one value.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::BF16 | Self::F16 => 2,
        }
    }
}

impl fmt::Display for SpanDType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::SpanDType;

    #[test]
    fn every_name_parses_back() {
        for dtype in [SpanDType::F32, SpanDType::BF16, SpanDType::F16] {
            assert_eq!(SpanDType::parse(dtype.name()), Some(dtype));
            assert_eq!(SpanDType::parse(&format!("torch.{dtype}")), Some(dtype));
        }
        assert_eq!(SpanDType::parse("int8"), None);
    }
}
