//! The operand that is multiplied with packed weights: rows in tiles, inputs interleaved.
//!
//! A tile has up to [`max_tile_rows`] rows, as many as their accumulators fit into registers. Within a tile the
//! words of all its rows for one group of inputs lie side by side: `[group][row]`. A word is one f32, two bf16 or four
//! 8-bit integers.

use std::ops::Range;

use super::disjoint::Disjoint;
use super::format::{Format, INT_BLOCK};
use super::level::Level;
use super::leveled::leveled;
use super::pool::Pool;
use super::quantize::activation_block;
use super::rounding::bf16_pair;

/// Below so many values a second thread gains less than waking it costs.
const MIN_VALUES_FOR_THREADS: usize = 32 * 1024;

/// Inputs in a word, and in a scale (zero: none).
const fn grouping(format: Format) -> (usize, usize) {
    match format {
        Format::F32 | Format::F16 | Format::Bf16Exact => (1, 0),
        Format::Bf16 | Format::Nf4 => (2, 0),
        Format::Int8 | Format::Int4 => (4, INT_BLOCK),
    }
}

/// What was added to the integer weights so that they are unsigned.
const fn weight_offset(format: Format) -> i32 {
    match format {
        Format::Int8 => 128,
        Format::Int4 => 8,
        Format::F32 | Format::F16 | Format::Bf16 | Format::Bf16Exact | Format::Nf4 => 0,
    }
}

/// Rows whose accumulators, of [`super::format::PANEL`] values each, stay in registers.
const fn max_tile_rows(level: Level, format: Format) -> usize {
    match (level, format) {
        (Level::Avx512, Format::F32 | Format::F16 | Format::Bf16) => 14,
        (Level::Avx512, Format::Bf16Exact) => 12,
        // Two accumulators each: of the block and of all.
        (Level::Avx512, Format::Int8 | Format::Int4 | Format::Nf4) => 6,
        (Level::Avx2 | Level::Portable, _) => 2,
    }
}

/// The largest of any level and format.
pub(crate) const MAX_TILE_ROWS: usize = 14;

/// Rows ready to be multiplied with weights of one format.
#[derive(Debug)]
pub(crate) struct Activations {
    level: Level,
    format: Format,
    rows: usize,
    padded_inputs: usize,
    words: Vec<u32>,
    /// Integers: one for each block and row.
    scales: Vec<f32>,
    /// Integers: minus the weights' offset times the sum of a block; what the sums of products begin with.
    starts: Vec<i32>,
    /// One row in single precision for each thread.
    scratch: Vec<f32>,
}

/// One tile of [`Activations`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<'a> {
    /// `[inputs / inputs of a word][rows]`
    pub(super) words: &'a [u32],
    /// `[inputs / INT_BLOCK][rows]`, or empty.
    pub(super) scales: &'a [f32],
    /// `[inputs / INT_BLOCK][rows]`, or empty.
    pub(super) starts: &'a [i32],
}

impl Activations {
    pub(crate) fn new(level: Level) -> Self {
        Self {
            level,
            format: Format::F32,
            rows: 0,
            padded_inputs: 0,
            words: Vec::new(),
            scales: Vec::new(),
            starts: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes `rows` rows for weights of `format` with so many padded inputs.
    ///
    /// - `read(row, values)` fills all `[padded_inputs]` values, with zeros behind the inputs
    pub(crate) fn fill(
        &mut self,
        pool: &Pool,
        format: Format,
        [rows, padded_inputs]: [usize; 2],
        read: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        let (word, block) = grouping(format);
        (self.format, self.rows, self.padded_inputs) = (format, rows, padded_inputs);
        self.words.resize(rows * (padded_inputs / word), 0);
        let scales = padded_inputs
            .checked_div(block)
            .map_or(0, |blocks| rows * blocks);
        self.scales.resize(scales, 0.0);
        self.starts.resize(scales, 0);
        self.scratch.resize(pool.threads() * padded_inputs, 0.0);
        let (level, tiles) = (self.level, self.tiles());
        let words = Disjoint::new(&mut self.words);
        let scales = Disjoint::new(&mut self.scales);
        let starts = Disjoint::new(&mut self.starts);
        let scratch = Disjoint::new(&mut self.scratch);
        let fill_tile = |number: usize, thread: usize| {
            let tile = tile_rows(rows, tiles, number);
            let part = |per_row: usize| tile.start * per_row..tile.end * per_row;
            // SAFETY: the ranges of two tiles do not overlap, and a thread has its own scratch row.
            #[allow(unsafe_code, reason = "tiles are filled in parallel")]
            let (words, scales, starts, values) = unsafe {
                let blocks = padded_inputs.checked_div(block).unwrap_or(0);
                (
                    words.range(part(padded_inputs / word)),
                    scales.range(part(blocks)),
                    starts.range(part(blocks)),
                    scratch.range(thread * padded_inputs..(thread + 1) * padded_inputs),
                )
            };
            for row in tile.clone() {
                read(row, values);
                let place = [row - tile.start, tile.len()];
                match format {
                    Format::F32 | Format::F16 | Format::Bf16Exact => {
                        singles(level, values, place, words)
                    }
                    Format::Bf16 | Format::Nf4 => pairs(level, values, place, words),
                    Format::Int8 | Format::Int4 => {
                        let offset = weight_offset(format);
                        quads(
                            level,
                            values,
                            place,
                            offset,
                            Quads {
                                words,
                                scales,
                                starts,
                            },
                        );
                    }
                }
            }
        };
        if rows * padded_inputs < MIN_VALUES_FOR_THREADS {
            (0..tiles).for_each(|number| fill_tile(number, 0));
        } else {
            pool.run(tiles, &fill_tile);
        }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn padded_inputs(&self) -> usize {
        self.padded_inputs
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of tiles: as few as possible, and as equal as possible.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(max_tile_rows(self.level, self.format))
    }

    /// Rows of the largest tile.
    pub(crate) fn tile_rows(&self) -> usize {
        self.rows.div_ceil(self.tiles().max(1))
    }

    /// The rows of one tile, and their words.
    pub(crate) fn tile(&self, number: usize) -> (Range<usize>, Tile<'_>) {
        let rows = tile_rows(self.rows, self.tiles(), number);
        let (word, block) = grouping(self.format);
        let words = self.padded_inputs / word;
        let blocks = self.padded_inputs.checked_div(block).unwrap_or(0);
        let tile = Tile {
            words: &self.words[rows.start * words..rows.end * words],
            scales: &self.scales[rows.start * blocks..rows.end * blocks],
            starts: &self.starts[rows.start * blocks..rows.end * blocks],
        };
        (rows, tile)
    }
}

fn tile_rows(rows: usize, tiles: usize, number: usize) -> Range<usize> {
    rows * number / tiles..rows * (number + 1) / tiles
}

#[inline(always)]
fn singles_body<const FMA: bool>(values: &[f32], [row, rows]: [usize; 2], words: &mut [u32]) {
    for (group, value) in words.chunks_exact_mut(rows).zip(values) {
        group[row] = value.to_bits();
    }
}

#[inline(always)]
fn pairs_body<const FMA: bool>(values: &[f32], [row, rows]: [usize; 2], words: &mut [u32]) {
    let word = |[low, high]: [f32; 2]| bf16_pair(low, high);
    let pairs = values.as_chunks::<2>().0;
    if rows == 1 {
        for (target, pair) in words.iter_mut().zip(pairs) {
            *target = word(*pair);
        }
    } else {
        for (group, pair) in words.chunks_exact_mut(rows).zip(pairs) {
            group[row] = word(*pair);
        }
    }
}

/// Where quantized activations of a tile go.
struct Quads<'a> {
    words: &'a mut [u32],
    scales: &'a mut [f32],
    starts: &'a mut [i32],
}

#[inline(always)]
fn quads_body<const FMA: bool>(
    values: &[f32],
    [row, rows]: [usize; 2],
    offset: i32,
    out: Quads<'_>,
) {
    let Quads {
        words,
        scales,
        starts,
    } = out;
    let mut integers = [0i8; INT_BLOCK];
    let blocks = values.as_chunks::<INT_BLOCK>().0.iter().enumerate();
    for (block, values) in blocks {
        let (scale, sum) = activation_block(values, &mut integers);
        scales[block * rows + row] = scale;
        starts[block * rows + row] = -offset * sum;
        for (quad, integers) in integers.as_chunks::<4>().0.iter().enumerate() {
            let place = (block * (INT_BLOCK / 4) + quad) * rows + row;
            words[place] = u32::from_le_bytes(integers.map(i8::cast_unsigned));
        }
    }
}

leveled! {
    fn singles(values: &[f32], place: [usize; 2], words: &mut [u32]) = singles_body
}
leveled! {
    fn pairs(values: &[f32], place: [usize; 2], words: &mut [u32]) = pairs_body
}
leveled! {
    fn quads(
        values: &[f32],
        place: [usize; 2],
        offset: i32,
        out: Quads<'_>,
    ) = quads_body
}
