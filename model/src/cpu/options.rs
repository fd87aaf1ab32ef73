//! What an operator may choose.

use crate::config::ModelConfig;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::kernels::attention::{KvFormat, PageLayout};
use crate::kernels::format::Format;
use crate::kernels::level::Level;
use crate::quant::{KvDType, Quant};

/// How a span is held and computed on a processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuOptions {
    /// Type of the residual stream between blocks.
    pub dtype: SpanDType,
    /// Format of the weights.
    pub quant: Quant,
    /// Format of keys and values; [`KvDType::of_span`] if not chosen.
    pub kv_dtype: Option<KvDType>,
    /// Instructions to use; [`Level::choose`] if not chosen.
    pub kernels: Option<Level>,
    /// Threads that compute; one for each physical core if not chosen.
    pub threads: Option<usize>,
    /// Memory of all sessions' pages of keys and values, bytes. Opening caches takes none; a step that finds no page
    /// fails with [`SpanError::NoPages`](crate::SpanError::NoPages).
    pub kv_budget_bytes: u64,
}

impl CpuOptions {
    /// Weights as in the checkpoint, all cores, no bound on the cache.
    pub const fn new(dtype: SpanDType) -> Self {
        Self {
            dtype,
            quant: Quant::None,
            kv_dtype: None,
            kernels: None,
            threads: None,
            kv_budget_bytes: u64::MAX,
        }
    }

    /// The format of packed weights of a checkpoint.
    ///
    /// Unquantized weights keep the checkpoint's precision: rounding single precision to bf16 costs as much accuracy
    /// as all other roundings of a bf16 span together.
    pub(crate) const fn format(&self, checkpoint: SpanDType) -> Format {
        match (self.quant, checkpoint) {
            (Quant::None, SpanDType::F32) => Format::F32,
            (Quant::None, SpanDType::F16) => Format::F16,
            (Quant::None, SpanDType::BF16) => match self.dtype {
                SpanDType::BF16 => Format::Bf16,
                SpanDType::F32 | SpanDType::F16 => Format::Bf16Exact,
            },
            (Quant::Int8, _) => Format::Int8,
            (Quant::Int4, _) => Format::Int4,
            (Quant::Nf4, _) => Format::Nf4,
        }
    }

    /// How keys and values of a model will lie in a page.
    pub(crate) fn page_layout(&self, config: &ModelConfig) -> PageLayout {
        PageLayout {
            format: match self.kv_dtype() {
                KvDType::F32 => KvFormat::F32,
                KvDType::Bf16 => KvFormat::Bf16,
                KvDType::Int8 => KvFormat::Int8,
            },
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }

    pub(crate) fn kv_dtype(&self) -> KvDType {
        self.kv_dtype
            .unwrap_or_else(|| KvDType::of_span(self.dtype))
    }

    /// # Errors
    /// [`LoadError::Kernels`], if the level cannot run here.
    pub(crate) fn level(&self) -> Result<Level, LoadError> {
        match self.kernels {
            None => Level::choose().map(|choice| choice.level),
            Some(level) => level.check().map(|()| level),
        }
        .map_err(LoadError::Kernels)
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(num_cpus::get_physical).max(1)
    }
}
