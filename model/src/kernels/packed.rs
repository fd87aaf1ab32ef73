//! One packed matrix.

use std::io;

use super::arena::Arena;
use super::column::{pack_column, pack_quantized_column, weight};
use super::disjoint::Disjoint;
use super::format::{Format, INPUT_PADDING, PANEL};
use super::level::Level;
use super::pool::Pool;
use super::quantized_row::{QuantizedRoom, QuantizedRow};

/// A matrix `[outputs, inputs]` in one of the formats of [`super::format`].
#[derive(Debug)]
pub(crate) struct Packed {
    format: Format,
    outputs: usize,
    inputs: usize,
    padded_inputs: usize,
    arena: Arena,
}

/// Where the rows of a tensor go: row `i` becomes output `start + i`, or, if `interleaved` with another tensor of the
/// same size, panel by panel in turn with it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Output `start + i`.
    From(usize),
    /// Panel `2 * (i / PANEL)`: the first of two tensors.
    EvenPanels,
    /// Panel `2 * (i / PANEL) + 1`: the second of two tensors.
    OddPanels,
}

impl Place {
    /// The output that row `row` becomes.
    pub(crate) fn output(self, row: usize) -> usize {
        match self {
            Self::From(start) => start + row,
            Self::EvenPanels => row / PANEL * 2 * PANEL + row % PANEL,
            Self::OddPanels => (row / PANEL * 2 + 1) * PANEL + row % PANEL,
        }
    }
}

impl Packed {
    /// A matrix of zeros.
    ///
    /// # Errors
    /// The operating system's, if there is no room.
    pub(crate) fn zeros(format: Format, outputs: usize, inputs: usize) -> io::Result<Self> {
        let padded_inputs = inputs.next_multiple_of(INPUT_PADDING);
        let panels = outputs.div_ceil(PANEL);
        let arena = Arena::new(panels * format.panel_bytes(padded_inputs))?;
        Ok(Self {
            format,
            outputs,
            inputs,
            padded_inputs,
            arena,
        })
    }

    /// Packs a tensor's rows, in parallel over panels.
    ///
    /// - `rows`: their number; `read(row, values)` fills `[inputs]` values of one
    pub(crate) fn fill(
        &mut self,
        level: Level,
        pool: &Pool,
        place: Place,
        rows: usize,
        read: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        let (format, inputs, padded) = (self.format, self.inputs, self.padded_inputs);
        let room = || vec![0.0; padded];
        self.fill_columns(pool, place, rows, room, |values, row, column, panel| {
            read(row, &mut values[..inputs]);
            pack_column(level, format, values, column, panel);
        });
    }

    /// Packs a quantized tensor's rows as they are, in parallel over panels.
    ///
    /// - `rows`: their number; `read(row, quantized)` writes one, within what [`QuantizedRow`] says of the format
    pub(crate) fn fill_quantized(
        &mut self,
        level: Level,
        pool: &Pool,
        place: Place,
        rows: usize,
        read: &(dyn Fn(usize, QuantizedRow<'_>) + Sync),
    ) {
        let (format, inputs, padded) = (self.format, self.inputs, self.padded_inputs);
        let room = || QuantizedRoom::new(padded);
        self.fill_columns(pool, place, rows, room, |quantized, row, column, panel| {
            read(row, quantized.row(inputs));
            pack_quantized_column(level, format, quantized, column, panel);
        });
    }

    /// Fills the columns of `rows` outputs, in parallel over panels.
    ///
    /// - `room`: makes what a task keeps a row in; `pack(room, row, column, panel)` writes one
    fn fill_columns<Room>(
        &mut self,
        pool: &Pool,
        place: Place,
        rows: usize,
        room: impl Fn() -> Room + Sync,
        pack: impl Fn(&mut Room, usize, usize, &mut [u8]) + Sync,
    ) {
        let panel_bytes = self.panel_bytes();
        let bytes = Disjoint::new(self.arena.bytes_mut());
        // Rows of one source panel lie in at most two target panels, which the next source panel may share; so tasks
        // go by target panel, and a task takes the rows that belong there.
        let first = place.output(0) / PANEL;
        let last = place.output(rows.saturating_sub(1)) / PANEL;
        let step = if matches!(place, Place::From(_)) {
            1
        } else {
            2
        };
        let targets = if rows == 0 {
            0
        } else {
            (last - first) / step + 1
        };
        pool.run(targets, &|task, _| {
            let panel = first + task * step;
            // SAFETY: each task writes the bytes of its own panel only.
            #[allow(unsafe_code, reason = "panels are written in parallel")]
            let target = unsafe { bytes.range(panel * panel_bytes..(panel + 1) * panel_bytes) };
            let mut room = room();
            for column in 0..PANEL {
                let row = match place {
                    Place::From(start) => (panel * PANEL + column).checked_sub(start),
                    Place::EvenPanels | Place::OddPanels => Some(panel / 2 * PANEL + column),
                };
                let Some(row) = row.filter(|row| *row < rows) else {
                    continue;
                };
                pack(&mut room, row, column, target);
            }
        });
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Inputs with the zeros behind them.
    pub(crate) fn padded_inputs(&self) -> usize {
        self.padded_inputs
    }

    pub(crate) fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    pub(crate) fn panel_bytes(&self) -> usize {
        self.format.panel_bytes(self.padded_inputs)
    }

    /// The bytes of one panel.
    pub(crate) fn panel(&self, number: usize) -> &[u8] {
        let bytes = self.panel_bytes();
        &self.arena.bytes()[number * bytes..(number + 1) * bytes]
    }

    /// Memory taken, bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.arena.bytes().len()
    }

    /// The weights of one output as they are multiplied: `[inputs]`.
    pub(crate) fn row(&self, output: usize, values: &mut [f32]) {
        let panel = self.panel(output / PANEL);
        let column = output % PANEL;
        for (input, value) in values.iter_mut().enumerate().take(self.inputs) {
            *value = weight(self.format, panel, column, input);
        }
    }
}

#[cfg(test)]
mod tests;
