//! Rows of activations times a packed matrix, shared out over the pool.
//!
//! A product of one row's inputs and one output is always summed in the order of the inputs by one thread, whatever
//! else is in the batch. What becomes of the sums is the [`Sink`]'s affair, so that biases, gates and residuals cost
//! no second pass over memory.

use super::activations::{Activations, MAX_TILE_ROWS};
use super::format::PANEL;
use super::level::Level;
use super::packed::Packed;
use super::pool::Pool;
use super::tile;

/// Panels that a sink can take at once: a gate's and its factor's.
pub(crate) const MAX_PANELS_AT_ONCE: usize = 2;

/// Rows of a tile for which the sums are kept in little room: one or two users.
const FEW_ROWS: usize = 2;

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
    let multiply_unit: &(dyn Fn(usize) + Sync) = if activations.tile_rows() <= FEW_ROWS {
        &|unit| job.multiply::<FEW_ROWS>(unit, at_once)
    } else {
        &|unit| job.multiply::<MAX_TILE_ROWS>(unit, at_once)
    };
    if weights.bytes() * rows < MIN_BYTES_FOR_THREADS {
        (0..units).for_each(multiply_unit);
    } else {
        pool.run_streams(units, multiply_unit);
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
    /// Multiplies all rows with the panels of one unit. `ROWS` is at least what a tile has; room for more would have to
    /// be cleared for each unit.
    fn multiply<const ROWS: usize>(&self, unit: usize, at_once: usize) {
        let mut sums = [[[0.0; PANEL]; ROWS]; MAX_PANELS_AT_ONCE];
        let format = self.weights.format();
        for number in 0..self.activations.tiles() {
            let (rows, tile) = self.activations.tile(number);
            for (panel, sums) in sums.iter_mut().enumerate().take(at_once) {
                let panel = self.weights.panel(unit * at_once + panel);
                tile::multiply(self.level, format, panel, tile, &mut sums[..rows.len()]);
            }
            let [first, second] = &sums;
            let both: [&Sums; MAX_PANELS_AT_ONCE] = [&first[..rows.len()], &second[..rows.len()]];
            self.sink.put(unit, rows.start, &both[..at_once]);
        }
    }
}

#[cfg(test)]
mod tests;
