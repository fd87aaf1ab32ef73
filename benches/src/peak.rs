//! The processor's arithmetic at best: a loop over registers, on every core at once.

use std::time::Instant;

use block_model::peak::{Unit, spin};

/// Rounds of one reading: some 30 ms on each core.
const ROUNDS: usize = 10_000_000;

/// Operations a second of `threads` threads; a multiply-add is two. `None` if the processor lacks the unit.
pub(crate) fn operations_per_second(unit: Unit, threads: usize) -> Option<f64> {
    let started = Instant::now();
    let operations: Option<u64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(move || spin(unit, ROUNDS)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().ok().flatten())
            .sum()
    });
    Some(operations? as f64 / started.elapsed().as_secs_f64())
}

/// Whether the processor has the unit.
pub(crate) fn has(unit: Unit) -> bool {
    spin(unit, 1).is_some()
}
