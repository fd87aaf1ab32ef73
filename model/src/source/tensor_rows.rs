//! A mapped matrix, row by row, however it is stored.

use super::gguf::GgufRows;
use super::packed::{Fp8Rows, GroupedRows};
use super::shard::FloatRows;
use crate::kernels::format::Format;
use crate::kernels::quantized_row::QuantizedRow;

/// A mapped matrix. Its weights take no memory of their own: their pages are the file's.
#[derive(Debug)]
pub(crate) enum TensorRows {
    /// Floats of a safetensors file.
    Floats(FloatRows),
    /// Any tensor of a GGUF file.
    Gguf(GgufRows),
    /// 8-bit floats.
    Fp8(Fp8Rows),
    /// 4-bit integers of GPTQ or AWQ.
    Grouped(GroupedRows),
}

impl TensorRows {
    /// Reads row `row`, which has as many values as `values`.
    pub(crate) fn read(&self, row: usize, values: &mut [f32]) {
        match self {
            Self::Floats(rows) => rows.read(row, values),
            Self::Gguf(rows) => rows.read(row, values),
            Self::Fp8(rows) => rows.read(row, values),
            Self::Grouped(rows) => rows.read(row, values),
        }
    }

    /// The packed format that holds rows as they are; `None` if they have floats, or integers that no format holds.
    pub(crate) fn format(&self) -> Option<Format> {
        match self {
            Self::Floats(_) | Self::Fp8(_) => None,
            Self::Gguf(rows) => rows.format(),
            Self::Grouped(rows) => rows.format(),
        }
    }

    /// Reads the integers of row `row` of a matrix that has [`TensorRows::format`]; of another one it writes nothing.
    pub(crate) fn read_quantized(&self, row: usize, quantized: QuantizedRow<'_>) {
        match self {
            Self::Floats(_) | Self::Fp8(_) => {}
            Self::Gguf(rows) => rows.read_quantized(row, quantized),
            Self::Grouped(rows) => rows.read_quantized(row, quantized),
        }
    }
}
