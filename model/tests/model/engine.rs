//! The engine under test: the processor's own.

use std::ops::Range;

use block_model::{CpuOptions, CpuSpan, LoadError, ModelSource, SpanDType};

pub(crate) type Span = CpuSpan;

pub(crate) fn load_span(
    source: &ModelSource,
    blocks: Range<usize>,
    dtype: SpanDType,
) -> Result<Span, LoadError> {
    CpuSpan::load(source, blocks, &CpuOptions::new(dtype))
}
