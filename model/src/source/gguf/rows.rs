//! A mapped tensor, row by row.

use memmap2::Mmap;

use super::blocks::{MAX_BLOCK_VALUES, unpack};
use super::kind::GgufKind;
use super::row_order::RowOrder;
use crate::dtype::SpanDType;
use crate::kernels::format::{Format, INT_BLOCK, INT6_BLOCK};
use crate::kernels::quantized_row::QuantizedRow;
use crate::source::shard::decode;

/// A mapped tensor. It takes no memory of its own: its pages are the file's.
#[derive(Debug)]
pub(crate) struct GgufRows {
    bytes: Mmap,
    kind: GgufKind,
    order: RowOrder,
    /// Rows of `row_values` each; a vector is one row, whose values are in `order`.
    rows: usize,
    row_values: usize,
}

impl GgufRows {
    /// - `bytes`: exactly those of a tensor of `shape`
    pub(super) fn new(bytes: Mmap, kind: GgufKind, order: RowOrder, shape: &[usize]) -> Self {
        let (row_values, rows) = match shape.split_last() {
            Some((row_values, outer)) => (*row_values, outer.iter().product()),
            None => (0, 0),
        };
        Self {
            bytes,
            kind,
            order,
            rows,
            row_values,
        }
    }

    /// Values of all rows.
    pub(super) fn values(&self) -> usize {
        self.rows * self.row_values
    }

    /// The packed format that holds rows as they are; `None` if they have floats.
    pub(crate) fn format(&self) -> Option<Format> {
        self.kind.format()
    }

    /// Reads row `row`, which has as many values as `values`.
    pub(crate) fn read(&self, row: usize, values: &mut [f32]) {
        self.read_stored(self.order.stored(row, self.rows), values);
    }

    /// Reads the integers of row `row` of a tensor that has [`GgufRows::format`].
    pub(crate) fn read_quantized(&self, row: usize, quantized: QuantizedRow<'_>) {
        let bytes = self.row(self.order.stored(row, self.rows));
        let values = self.kind.block_values();
        let parts = quantized.integers.chunks_exact_mut(values);
        let parts = parts.zip(quantized.scales.chunks_exact_mut(values / INT6_BLOCK));
        let parts = parts.zip(quantized.minimums.chunks_exact_mut(values / INT_BLOCK));
        for (block, ((integers, scales), minimums)) in
            bytes.chunks_exact(self.kind.block_bytes()).zip(parts)
        {
            let row = QuantizedRow {
                integers,
                scales,
                minimums,
            };
            unpack(self.kind, block, row);
        }
    }

    /// Reads all rows.
    pub(super) fn read_all(&self, values: &mut [f32]) {
        if self.rows == 1 {
            let mut stored = vec![0.0; self.row_values];
            self.read_stored(0, &mut stored);
            for (place, value) in values.iter_mut().enumerate() {
                *value = stored[self.order.stored(place, self.row_values)];
            }
        } else {
            let rows = values.chunks_exact_mut(self.row_values).enumerate();
            rows.for_each(|(row, values)| self.read(row, values));
        }
    }

    fn read_stored(&self, row: usize, values: &mut [f32]) {
        let bytes = self.row(row);
        match self.kind {
            GgufKind::F32 => decode(bytes, SpanDType::F32, values),
            GgufKind::F16 => decode(bytes, SpanDType::F16, values),
            GgufKind::Bf16 => decode(bytes, SpanDType::BF16, values),
            kind => {
                let mut room = Room::new();
                let blocks = bytes.chunks_exact(kind.block_bytes());
                for (block, values) in blocks.zip(values.chunks_exact_mut(kind.block_values())) {
                    let mut row = room.row(values.len());
                    unpack(kind, block, row.reborrow());
                    row.weights(values);
                }
            }
        }
    }

    fn row(&self, row: usize) -> &[u8] {
        let row_bytes = self.row_values / self.kind.block_values() * self.kind.block_bytes();
        &self.bytes[row * row_bytes..][..row_bytes]
    }
}

/// Room for one block taken apart.
struct Room {
    integers: [i8; MAX_BLOCK_VALUES],
    scales: [f32; MAX_BLOCK_VALUES / INT6_BLOCK],
    minimums: [f32; MAX_BLOCK_VALUES / INT_BLOCK],
}

impl Room {
    fn new() -> Self {
        Self {
            integers: [0; MAX_BLOCK_VALUES],
            scales: [0.0; MAX_BLOCK_VALUES / INT6_BLOCK],
            minimums: [0.0; MAX_BLOCK_VALUES / INT_BLOCK],
        }
    }

    fn row(&mut self, values: usize) -> QuantizedRow<'_> {
        QuantizedRow {
            integers: &mut self.integers[..values],
            scales: &mut self.scales[..values / INT6_BLOCK],
            minimums: &mut self.minimums[..values / INT_BLOCK],
        }
    }
}
