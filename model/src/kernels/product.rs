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

/// Weights that one task reads: long enough for the processor to stream them, short enough that the threads end
/// together.
const TASK_BYTES: usize = 256 * 1024;

/// The least that is worth a task of its own, when the whole matrix is small.
const MIN_TASK_BYTES: usize = 32 * 1024;

/// Rows at which reading a weight and multiplying it take about equally long; with more a task has more to do for the
/// same bytes.
const BALANCED_ROWS: usize = 8;

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
    let unit_bytes = weights.panel_bytes() * at_once * rows.div_ceil(BALANCED_ROWS);
    let fair_bytes = unit_bytes * units.div_ceil(pool.threads());
    let task_bytes = TASK_BYTES.min(fair_bytes).max(MIN_TASK_BYTES);
    let units_per_task = (task_bytes / unit_bytes).max(1);
    pool.run(units.div_ceil(units_per_task), &|task, _| {
        let mut sums = [[[0.0; PANEL]; MAX_TILE_ROWS]; MAX_PANELS_AT_ONCE];
        for unit in task * units_per_task..units.min((task + 1) * units_per_task) {
            for number in 0..activations.tiles() {
                let (rows, tile) = activations.tile(number);
                for (panel, sums) in sums.iter_mut().enumerate().take(at_once) {
                    let panel = weights.panel(unit * at_once + panel);
                    tile::multiply(
                        level,
                        weights.format(),
                        panel,
                        tile,
                        &mut sums[..rows.len()],
                    );
                }
                let [first, second] = &sums;
                let both: [&Sums; MAX_PANELS_AT_ONCE] =
                    [&first[..rows.len()], &second[..rows.len()]];
                sink.put(unit, rows.start, &both[..at_once]);
            }
        }
    });
}

#[cfg(test)]
mod tests;
