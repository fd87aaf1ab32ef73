//! The operand that is multiplied with packed weights: rows in tiles, inputs interleaved.
//!
//! A tile has up to [`TileShape::rows`] rows, as many as their accumulators fit into registers. Within a tile the
//! words of all its rows for one group of inputs lie side by side: `[group][row][words of a group]`. A word is one f32,
//! two bf16 or four 8-bit integers. Where words are broadcast to vectors, a group is one word; where rows are loaded as
//! a matrix, it is what a matrix register holds of a row.

use std::ops::Range;

use super::disjoint::Disjoint;
use super::format::{Format, INT_BLOCK, INT6_BLOCK};
use super::level::Level;
use super::leveled::leveled;
use super::pool::Pool;
use super::quantize::activation_block;
use super::rounding::bf16_pair;

/// Below so many values a second thread gains less than waking it costs.
const MIN_VALUES_FOR_THREADS: usize = 32 * 1024;

/// How many values of each kind a row has.
struct Sizes {
    words: usize,
    scales: usize,
    starts: usize,
    totals: usize,
}

const fn sizes(format: Format, inputs: usize) -> Sizes {
    let blocks = inputs / INT_BLOCK;
    let (words, [scales, starts, totals]) = match format {
        Format::F32 | Format::F16 | Format::Bf16Exact => (inputs, [0; 3]),
        Format::Bf16 | Format::Nf4 => (inputs / 2, [0; 3]),
        Format::Int8 | Format::Int4 => (inputs / 4, [blocks, blocks, 0]),
        Format::Int4Min => (inputs / 4, [blocks, 0, blocks]),
        Format::Int6 => (inputs / 4, [blocks, inputs / INT6_BLOCK, blocks]),
    };
    Sizes {
        words,
        scales,
        starts,
        totals,
    }
}

/// What was added to the integer weights so that they are unsigned.
const fn weight_offset(format: Format) -> i32 {
    match format {
        Format::Int8 => 128,
        Format::Int4 => 8,
        Format::Int6 => 32,
        Format::F32
        | Format::F16
        | Format::Bf16
        | Format::Bf16Exact
        | Format::Int4Min
        | Format::Nf4 => 0,
    }
}

/// How rows are cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TileShape {
    /// Rows at most: as many as their accumulators, of [`super::format::PANEL`] values each, stay in registers.
    rows: usize,
    /// Words of a row that lie side by side: 1, or those of a row of a matrix register.
    run: usize,
}

impl TileShape {
    fn of(level: Level, format: Format, rows: usize) -> Self {
        let vectors = |rows| Self { rows, run: 1 };
        match (level, format) {
            (Level::Amx, Format::Bf16 | Format::Nf4) => Self {
                rows: 2 * MATRIX_ROWS,
                run: PAIR_RUN,
            },
            (Level::Amx, Format::Int8 | Format::Int4 | Format::Int4Min)
                if rows >= MIN_MATRIX_ROWS =>
            {
                Self {
                    rows: 2 * MATRIX_ROWS,
                    run: QUAD_RUN,
                }
            }
            (Level::Amx | Level::Avx512, Format::F32 | Format::F16 | Format::Bf16) => vectors(14),
            (Level::Amx | Level::Avx512, Format::Bf16Exact) => vectors(12),
            // Two accumulators each: of the block and of all.
            (
                Level::Amx | Level::Avx512,
                Format::Int8 | Format::Int4 | Format::Int4Min | Format::Int6 | Format::Nf4,
            ) => vectors(6),
            (Level::Avx2 | Level::Portable, _) => vectors(2),
        }
    }
}

/// Rows of a matrix register.
pub(super) const MATRIX_ROWS: usize = 16;

/// Words of a row of a matrix register: 32 inputs in bf16.
pub(super) const PAIR_RUN: usize = 16;

/// The same for 8-bit integers, of which one block is multiplied at a time.
pub(super) const QUAD_RUN: usize = INT_BLOCK / 4;

/// Rows from which on matrices of integers are faster than vectors, which read weights at the memory's rate up to here.
/// Either gives the same to the last bit.
const MIN_MATRIX_ROWS: usize = MATRIX_ROWS + 1;

/// The largest of any level and format.
pub(crate) const MAX_TILE_ROWS: usize = 2 * MATRIX_ROWS;

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
    /// Integers with an offset: minus that times the sum of what shares a scale of weights; what its products begin
    /// with.
    starts: Vec<i32>,
    /// Integers with a minimum: scale times sum of a block, which the minimum is multiplied with.
    totals: Vec<f32>,
    /// One row in single precision for each thread.
    scratch: Vec<f32>,
}

/// One tile of [`Activations`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile<'a> {
    /// `[inputs / inputs of a group][rows][run]`
    pub(super) words: &'a [u32],
    /// Words of a row that lie side by side.
    pub(super) run: usize,
    /// `[inputs / INT_BLOCK][rows]`, or empty.
    pub(super) scales: &'a [f32],
    /// `[inputs / INT_BLOCK][rows]`, for `Int6` `[inputs / INT6_BLOCK][rows]`, or empty.
    pub(super) starts: &'a [i32],
    /// `[inputs / INT_BLOCK][rows]`, or empty.
    pub(super) totals: &'a [f32],
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
            totals: Vec::new(),
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
        (self.format, self.rows, self.padded_inputs) = (format, rows, padded_inputs);
        let sizes = sizes(format, padded_inputs);
        self.words.resize(rows * sizes.words, 0);
        self.scales.resize(rows * sizes.scales, 0.0);
        self.starts.resize(rows * sizes.starts, 0);
        self.totals.resize(rows * sizes.totals, 0.0);
        self.scratch.resize(pool.threads() * padded_inputs, 0.0);
        let (level, tiles, run) = (self.level, self.tiles(), self.shape().run);
        let words = Disjoint::new(&mut self.words);
        let scales = Disjoint::new(&mut self.scales);
        let starts = Disjoint::new(&mut self.starts);
        let totals = Disjoint::new(&mut self.totals);
        let scratch = Disjoint::new(&mut self.scratch);
        let fill_tile = |number: usize, thread: usize| {
            let tile = tile_rows(rows, tiles, number);
            let part = |per_row: usize| tile.start * per_row..tile.end * per_row;
            // SAFETY: the ranges of two tiles do not overlap, and a thread has its own scratch row.
            #[allow(unsafe_code, reason = "tiles are filled in parallel")]
            let (mut room, values) = unsafe {
                let room = Room {
                    words: words.range(part(sizes.words)),
                    scales: scales.range(part(sizes.scales)),
                    starts: starts.range(part(sizes.starts)),
                    totals: totals.range(part(sizes.totals)),
                };
                let values = scratch.range(thread * padded_inputs..(thread + 1) * padded_inputs);
                (room, values)
            };
            for row in tile.clone() {
                read(row, values);
                let place = Place {
                    row: row - tile.start,
                    rows: tile.len(),
                    run,
                };
                match format {
                    Format::F32 | Format::F16 | Format::Bf16Exact => {
                        singles(level, values, place, room.words)
                    }
                    Format::Bf16 | Format::Nf4 => pairs(level, values, place, room.words),
                    Format::Int8 | Format::Int4 | Format::Int4Min | Format::Int6 => {
                        quads(level, format, values, place, &mut room)
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

    fn shape(&self) -> TileShape {
        TileShape::of(self.level, self.format, self.rows)
    }

    /// Whether rows are multiplied as matrices.
    pub(crate) fn is_matrix(&self) -> bool {
        self.shape().run > 1
    }

    /// Number of tiles: as few as possible, and as equal as possible.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(self.shape().rows)
    }

    /// Rows of the largest tile.
    pub(crate) fn tile_rows(&self) -> usize {
        self.rows.div_ceil(self.tiles().max(1))
    }

    /// The rows of one tile, and their words.
    pub(crate) fn tile(&self, number: usize) -> (Range<usize>, Tile<'_>) {
        let rows = tile_rows(self.rows, self.tiles(), number);
        let sizes = sizes(self.format, self.padded_inputs);
        let part = |per_row: usize| rows.start * per_row..rows.end * per_row;
        let tile = Tile {
            words: &self.words[part(sizes.words)],
            run: self.shape().run,
            scales: &self.scales[part(sizes.scales)],
            starts: &self.starts[part(sizes.starts)],
            totals: &self.totals[part(sizes.totals)],
        };
        (rows, tile)
    }
}

fn tile_rows(rows: usize, tiles: usize, number: usize) -> Range<usize> {
    rows * number / tiles..rows * (number + 1) / tiles
}

/// Which row of a tile, and how its words lie there.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    rows: usize,
    /// See [`TileShape::run`].
    run: usize,
}

#[inline(always)]
fn singles_body<const FMA: bool>(values: &[f32], place: Place, words: &mut [u32]) {
    debug_assert_eq!(
        place.run, 1,
        "invariant: only vectors multiply single precision"
    );
    for (group, value) in words.chunks_exact_mut(place.rows).zip(values) {
        group[place.row] = value.to_bits();
    }
}

#[inline(always)]
fn pairs_body<const FMA: bool>(values: &[f32], place: Place, words: &mut [u32]) {
    let word = |[low, high]: [f32; 2]| bf16_pair(low, high);
    let Place { row, rows, run } = place;
    let pairs = values.as_chunks::<2>().0;
    if rows == 1 {
        for (target, pair) in words.iter_mut().zip(pairs) {
            *target = word(*pair);
        }
    } else if run == 1 {
        for (group, pair) in words.chunks_exact_mut(rows).zip(pairs) {
            group[row] = word(*pair);
        }
    } else {
        let groups = words.chunks_exact_mut(rows * PAIR_RUN);
        for (group, pairs) in groups.zip(pairs.as_chunks::<PAIR_RUN>().0) {
            let targets = &mut group[row * PAIR_RUN..][..PAIR_RUN];
            for (target, pair) in targets.iter_mut().zip(pairs) {
                *target = word(*pair);
            }
        }
    }
}

/// Where the activations of a tile go; see [`Tile`].
struct Room<'a> {
    words: &'a mut [u32],
    scales: &'a mut [f32],
    starts: &'a mut [i32],
    totals: &'a mut [f32],
}

#[inline(always)]
fn quads_body<const FMA: bool>(
    format: Format,
    values: &[f32],
    Place { row, rows, run }: Place,
    room: &mut Room<'_>,
) {
    let offset = weight_offset(format);
    let mut integers = [0i8; INT_BLOCK];
    let blocks = values.as_chunks::<INT_BLOCK>().0.iter().enumerate();
    for (block, values) in blocks {
        let (scale, sum) = activation_block(values, &mut integers);
        let place = block * rows + row;
        room.scales[place] = scale;
        match format {
            Format::Int6 => {
                let first = integers[..INT6_BLOCK]
                    .iter()
                    .copied()
                    .map(i32::from)
                    .sum::<i32>();
                room.starts[2 * block * rows + row] = -offset * first;
                room.starts[(2 * block + 1) * rows + row] = -offset * (sum - first);
                room.totals[place] = scale * sum as f32;
            }
            Format::Int4Min => room.totals[place] = scale * sum as f32,
            Format::Int8
            | Format::Int4
            | Format::F32
            | Format::F16
            | Format::Bf16
            | Format::Bf16Exact
            | Format::Nf4 => room.starts[place] = -offset * sum,
        }
        for (quad, integers) in integers.as_chunks::<4>().0.iter().enumerate() {
            let place = if run == 1 {
                (block * QUAD_RUN + quad) * rows + row
            } else {
                (block * rows + row) * QUAD_RUN + quad
            };
            room.words[place] = u32::from_le_bytes(integers.map(i8::cast_unsigned));
        }
    }
}

leveled! {
    fn singles(values: &[f32], place: Place, words: &mut [u32]) = singles_body
}
leveled! {
    fn pairs(values: &[f32], place: Place, words: &mut [u32]) = pairs_body
}
leveled! {
    fn quads(
        format: Format,
        values: &[f32],
        place: Place,
        room: &mut Room<'_>,
    ) = quads_body
}
