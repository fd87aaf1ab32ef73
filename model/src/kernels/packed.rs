//! One packed matrix.

use std::io;

use half::{bf16, f16};

use super::arena::Arena;
use super::disjoint::Disjoint;
use super::format::{Format, INPUT_PADDING, INT_BLOCK, NF4_BLOCK, PANEL, SCALE_BYTES};
use super::level::Level;
use super::leveled::leveled;
use super::pool::Pool;
use super::quantize::{NF4_VALUES, int4_block, int8_block, nf4_block};
use super::rounding::bf16_pair;

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
            let mut values = vec![0.0; padded];
            for column in 0..PANEL {
                let row = match place {
                    Place::From(start) => (panel * PANEL + column).checked_sub(start),
                    Place::EvenPanels | Place::OddPanels => Some(panel / 2 * PANEL + column),
                };
                let Some(row) = row.filter(|row| *row < rows) else {
                    continue;
                };
                read(row, &mut values[..inputs]);
                pack_column(level, format, &values, column, target);
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

leveled! {
    /// Writes one output's weights into its column of a panel.
    fn pack_column(format: Format, values: &[f32], column: usize, panel: &mut [u8]) = pack_column_body
}

#[inline(always)]
fn pack_column_body<const FMA: bool>(
    format: Format,
    values: &[f32],
    column: usize,
    panel: &mut [u8],
) {
    match format {
        Format::F32 => {
            for (group, value) in panel.chunks_exact_mut(PANEL * 4).zip(values) {
                group[column * 4..column * 4 + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        Format::F16 => {
            for (group, value) in panel.chunks_exact_mut(PANEL * 2).zip(values) {
                let value = f16::from_f32(*value).to_le_bytes();
                group[column * 2..column * 2 + 2].copy_from_slice(&value);
            }
        }
        Format::Bf16 | Format::Bf16Exact => {
            let pairs = values.as_chunks::<2>().0;
            for (group, pair) in panel.chunks_exact_mut(PANEL * 4).zip(pairs) {
                let word = bf16_pair(pair[0], pair[1]).to_le_bytes();
                group[column * 4..column * 4 + 4].copy_from_slice(&word);
            }
        }
        Format::Int8 => {
            pack_blocks::<INT_BLOCK, 4>(values, column, panel, int8_block, |quad| *quad)
        }
        Format::Int4 => pack_blocks::<INT_BLOCK, 8>(values, column, panel, int4_block, |eight| {
            std::array::from_fn(|place| eight[place] | eight[place + 4] << 4)
        }),
        Format::Nf4 => pack_blocks::<NF4_BLOCK, 8>(values, column, panel, nf4_block, |eight| {
            // Two 16-bit words; nibble `h` of both is the pair of inputs 2h and 2h + 1.
            let byte =
                |pair: usize, odd: usize| eight[2 * pair + odd] | eight[2 * pair + 2 + odd] << 4;
            [byte(0, 0), byte(2, 0), byte(0, 1), byte(2, 1)]
        }),
    }
}

/// Quantizes an output's weights block by block: a scale, then a word for each `WORD` weights.
#[inline(always)]
fn pack_blocks<const BLOCK: usize, const WORD: usize>(
    values: &[f32],
    column: usize,
    panel: &mut [u8],
    quantize: impl Fn(&[f32; BLOCK], &mut [u8; BLOCK]) -> f16,
    word: impl Fn(&[u8; WORD]) -> [u8; 4],
) {
    let group_bytes = SCALE_BYTES + BLOCK / WORD * PANEL * 4;
    let mut integers = [0; BLOCK];
    let blocks = values.as_chunks::<BLOCK>().0;
    for (group, block) in panel.chunks_exact_mut(group_bytes).zip(blocks) {
        let scale = quantize(block, &mut integers);
        let (scales, lines) = group.split_at_mut(SCALE_BYTES);
        scales[column * 2..column * 2 + 2].copy_from_slice(&scale.to_le_bytes());
        let words = integers.as_chunks::<WORD>().0;
        for (line, integers) in lines.chunks_exact_mut(PANEL * 4).zip(words) {
            line[column * 4..column * 4 + 4].copy_from_slice(&word(integers));
        }
    }
}

/// One weight as it is multiplied.
fn weight(format: Format, panel: &[u8], column: usize, input: usize) -> f32 {
    let two = |place: usize| [panel[place], panel[place + 1]];
    let scale = |group: usize| f16::from_le_bytes(two(group + column * 2)).to_f32();
    match format {
        Format::F32 => {
            let place = (input * PANEL + column) * 4;
            f32::from_le_bytes([
                panel[place],
                panel[place + 1],
                panel[place + 2],
                panel[place + 3],
            ])
        }
        Format::F16 => f16::from_le_bytes(two((input * PANEL + column) * 2)).to_f32(),
        Format::Bf16 | Format::Bf16Exact => {
            let place = (input / 2 * PANEL + column) * 4 + input % 2 * 2;
            bf16::from_le_bytes(two(place)).to_f32()
        }
        Format::Int8 => {
            let group = input / INT_BLOCK * (SCALE_BYTES + INT_BLOCK * PANEL);
            let inner = input % INT_BLOCK;
            let integer = panel[group + SCALE_BYTES + (inner / 4 * PANEL + column) * 4 + inner % 4];
            scale(group) * (f32::from(integer) - 128.0)
        }
        Format::Int4 => {
            let group = input / INT_BLOCK * (SCALE_BYTES + INT_BLOCK * PANEL / 2);
            let inner = input % INT_BLOCK;
            let byte = panel[group + SCALE_BYTES + (inner / 8 * PANEL + column) * 4 + inner % 4];
            let integer = if inner % 8 < 4 { byte & 15 } else { byte >> 4 };
            scale(group) * (f32::from(integer) - 8.0)
        }
        Format::Nf4 => {
            let group = input / NF4_BLOCK * (SCALE_BYTES + NF4_BLOCK * PANEL / 2);
            let inner = input % NF4_BLOCK;
            let place = group + SCALE_BYTES + (inner / 8 * PANEL + column) * 4 + inner % 2 * 2;
            let index = u16::from_le_bytes(two(place)) >> (inner % 8 / 2 * 4) & 15;
            // The table is held in bf16, as the product multiplies it.
            scale(group) * bf16::from_f32(NF4_VALUES[usize::from(index)]).to_f32()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Packed, Place};
    use crate::kernels::format::Format;
    use crate::kernels::level::Level;
    use crate::kernels::pool::Pool;

    /// How far a packed weight may be from its value, as a share of its block's largest.
    fn tolerance(format: Format) -> f32 {
        match format {
            Format::F32 => 0.0,
            Format::F16 => 1.0 / 2048.0,
            Format::Bf16 | Format::Bf16Exact => 1.0 / 256.0,
            Format::Int8 => 0.006,
            Format::Int4 => 0.13,
            Format::Nf4 => 0.16,
        }
    }

    fn value(row: usize, input: usize) -> f32 {
        ((row * 131 + input * 37) % 101) as f32 / 50.0 - 1.0
    }

    proptest! {
        #[test]
        fn rows_come_back(outputs in 1usize..100, inputs in 1usize..150, start in 0usize..50) {
            let pool = Pool::new(2).unwrap();
            for format in Format::ALL {
                let mut packed = Packed::zeros(format, outputs + start, inputs).unwrap();
                packed.fill(Level::Portable, &pool, Place::From(start), outputs, &|row, values| {
                    for (input, target) in values.iter_mut().enumerate() {
                        *target = value(row, input);
                    }
                });
                let mut row = vec![0.0; inputs];
                for output in 0..outputs + start {
                    packed.row(output, &mut row);
                    for (input, found) in row.iter().enumerate() {
                        let expected = output.checked_sub(start).map_or(0.0, |row| value(row, input));
                        prop_assert!((found - expected).abs() <= tolerance(format), "{format:?} {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn two_tensors_are_interleaved_by_panels() {
        let pool = Pool::new(1).unwrap();
        let mut packed = Packed::zeros(Format::F32, 192, 8).unwrap();
        for (place, offset) in [(Place::EvenPanels, 0.0), (Place::OddPanels, 1000.0)] {
            packed.fill(Level::Portable, &pool, place, 70, &|row, values| {
                values.fill(row as f32 + offset)
            });
        }
        let mut row = [0.0; 8];
        for (output, expected) in [
            (0, 0.0),
            (31, 31.0),
            (32, 1000.0),
            (64, 32.0),
            (96, 1032.0),
            (133, 69.0),
            (134, 0.0),
        ] {
            packed.row(output, &mut row);
            assert_eq!(row, [expected; 8], "{output}");
        }
    }
}
