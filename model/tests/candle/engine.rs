//! The engine under test: tensor operations, which other devices use and other engines are compared with.

use std::ops::Range;

use block_model::{CandleSpan, ComputeDevice, LoadError, ModelSource, SpanDType};

pub(crate) type Span = CandleSpan;

pub(crate) fn load_span(
    source: &ModelSource,
    blocks: Range<usize>,
    dtype: SpanDType,
) -> Result<Span, LoadError> {
    CandleSpan::load(source, blocks, dtype, ComputeDevice::Cpu)
}
