//! Weight formats that are measured, and spans that hold them.

use std::path::Path;

use anyhow::Result;
use block_model::{BlockSpan, CpuOptions, CpuSpan, ModelSource, Quant, SpanDType};

use crate::host;

/// How weights are held. The residual stream is bf16, with exact weights float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    F32,
    Bf16,
    Int8,
    Int4,
    Nf4,
}

impl Format {
    /// Those that a server of a large model may hold.
    pub(crate) const SERVED: [Self; 4] = [Self::Bf16, Self::Int8, Self::Int4, Self::Nf4];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Nf4 => "nf4",
        }
    }

    /// Bits of one weight in memory with its share of its block's scale, as the format is defined: a 16-bit scale
    /// for 32 weights, in NF4 for 64.
    pub(crate) const fn bits(self) -> f64 {
        match self {
            Self::F32 => 32.0,
            Self::Bf16 => 16.0,
            Self::Int8 => 8.5,
            Self::Int4 => 4.5,
            Self::Nf4 => 4.25,
        }
    }

    /// What `--quant` and the engine call it.
    pub(crate) const fn quant(self) -> Quant {
        match self {
            Self::F32 | Self::Bf16 => Quant::None,
            Self::Int8 => Quant::Int8,
            Self::Int4 => Quant::Int4,
            Self::Nf4 => Quant::Nf4,
        }
    }

    /// Of the residual stream.
    pub(crate) const fn dtype(self) -> SpanDType {
        match self {
            Self::F32 => SpanDType::F32,
            _ => SpanDType::BF16,
        }
    }

    /// Our engine's options for this format, on every core.
    pub(crate) fn options(self) -> CpuOptions {
        CpuOptions {
            quant: self.quant(),
            threads: Some(host::cores()),
            ..CpuOptions::new(self.dtype())
        }
    }

    /// The first `blocks` blocks of a checkpoint in our engine, on every core.
    ///
    /// # Errors
    /// Those of loading.
    pub(crate) fn load(self, model: &Path, blocks: usize) -> Result<Box<dyn BlockSpan>> {
        let source = ModelSource::directory(model)?;
        Ok(Box::new(CpuSpan::load(
            &source,
            0..blocks,
            &self.options(),
        )?))
    }
}
