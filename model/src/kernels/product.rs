//! Rows of activations times a packed matrix, shared out over the pool.
//!
//! A product of one row's inputs and one output is always summed in the same order by one thread, whatever else is in
//! the batch. What becomes of the sums is the [`Sink`]'s affair, so that biases, gates and residuals cost
//! no second pass over memory.

use std::ops::Range;

use super::activations::{Activations, MAX_TILE_ROWS};
use super::format::PANEL;
use super::level::Level;
use super::packed::Packed;
use super::pool::Pool;
use super::tile;

/// Panels that a sink can take at once: a gate's and its factor's.
pub(crate) const MAX_PANELS_AT_ONCE: usize = 2;

/// Rows of a tile for which the sums are kept in little room, which must be cleared for each unit: one or two users, and
/// what vectors multiply at once.
const FEW_ROWS: usize = 2;
const VECTOR_ROWS: usize = 14;

/// Tiles from which on their rows no longer stay in the cache while a panel is multiplied with all of them: then a few
/// panels are, so that each row is fetched less often.
const MANY_TILES: usize = 8;

/// Bytes of those panels: a quarter of the second cache of a processor with matrix registers.
const PANELS_BYTES: usize = 512 * 1024;

/// Parts at least into which each thread's share is cut, so that all threads end at about the same time.
const PARTS_PER_THREAD: usize = 4;

/// Bytes of weights, times rows, below which waking a second thread costs more than it saves.
const MIN_BYTES_FOR_THREADS: usize = 64 * 1024;

/// Sums of one tile: `[rows][PANEL]`.
pub(crate) type Sums = [[f32; PANEL]];

/// Takes the sums as they are ready.
pub(crate) trait Sink: Sync {
    /// Panels that belong together: 1, or 2 for interleaved tensors.
    fn panels_at_once(&self) -> usize {
        1
    }

    /// Takes the sums of rows `first_row..` for the outputs of a panel, or of several that belong together.
    ///
    /// - `unit`: number of the panel, or of the group of panels
    fn put(&self, unit: usize, first_row: usize, sums: &[&Sums]);
}

/// Multiplies all rows with all outputs.
pub(crate) fn product(
    level: Level,
    pool: &Pool,
    weights: &Packed,
    activations: &Activations,
    sink: &dyn Sink,
) {
    assert_eq!(
        weights.format(),
        activations.format(),
        "invariant: packed for each other"
    );
    assert_eq!(
        weights.padded_inputs(),
        activations.padded_inputs(),
        "invariant: packed for each other"
    );
    let at_once = sink.panels_at_once();
    assert!(at_once <= MAX_PANELS_AT_ONCE && weights.panels().is_multiple_of(at_once));
    let rows = activations.rows();
    if rows == 0 {
        return;
    }
    let units = weights.panels() / at_once;
    let job = Job {
        level,
        weights,
        activations,
        sink,
    };
    let fair = units / (PARTS_PER_THREAD * pool.threads());
    let together = job.units_together(at_once).min(fair).max(1);
    let some = |number: usize| number * together..units.min((number + 1) * together);
    let tile_rows = activations.tile_rows();
    let multiply_some: &(dyn Fn(usize) + Sync) = if tile_rows <= FEW_ROWS {
        &|number| job.multiply::<FEW_ROWS>(some(number), at_once)
    } else if tile_rows <= VECTOR_ROWS {
        &|number| job.multiply::<VECTOR_ROWS>(some(number), at_once)
    } else {
        &|number| job.multiply::<MAX_TILE_ROWS>(some(number), at_once)
    };
    let items = units.div_ceil(together);
    if weights.bytes() * rows < MIN_BYTES_FOR_THREADS {
        (0..items).for_each(multiply_some);
    } else {
        pool.run_streams(items, multiply_some);
    }
}

/// One product.
struct Job<'a> {
    level: Level,
    weights: &'a Packed,
    activations: &'a Activations,
    sink: &'a dyn Sink,
}

impl Job<'_> {
    /// Units that a tile of rows meets before the next tile does, as far as the cache is concerned.
    fn units_together(&self, at_once: usize) -> usize {
        if self.activations.is_matrix() && self.activations.tiles() >= MANY_TILES {
            let unit = self.weights.bytes() / self.weights.panels() * at_once;
            PANELS_BYTES / unit.max(1)
        } else {
            1
        }
    }

    /// Multiplies all rows with the panels of some units. `ROWS` is at least what a tile has; room for more would have
    /// to be cleared each time.
    fn multiply<const ROWS: usize>(&self, units: Range<usize>, at_once: usize) {
        let mut sums = [[[0.0; PANEL]; ROWS]; MAX_PANELS_AT_ONCE];
        let format = self.weights.format();
        for number in 0..self.activations.tiles() {
            let (rows, tile) = self.activations.tile(number);
            for unit in units.clone() {
                for (panel, sums) in sums.iter_mut().enumerate().take(at_once) {
                    let panel = self.weights.panel(unit * at_once + panel);
                    tile::multiply(self.level, format, panel, tile, &mut sums[..rows.len()]);
                }
                let [first, second] = &sums;
                let both: [&Sums; MAX_PANELS_AT_ONCE] =
                    [&first[..rows.len()], &second[..rows.len()]];
                self.sink.put(unit, rows.start, &both[..at_once]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
