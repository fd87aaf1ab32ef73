//! Servers that die or fall silent in the middle of a generation: the text goes on as if nothing had happened.
//!
//! | file           | holds                                                                               |
//! |----------------|-------------------------------------------------------------------------------------|
//! | `matrix.rs`    | every fault at every place and time, alone and eight at once; medians of the stalls  |
//! | `case.rs`      | one cell of that matrix                                                              |
//! | `other_cuts.rs`| replacements that cover the lost blocks with other cuts                              |
//! | `one_swarm.rs` | sessions of one process that share a `Swarm` of the library                          |
//! | `python.rs`    | Python servers that fail, and that replace                                           |
//! | `stage.rs`     | servers that a generation goes through, and servers to spare                         |
//! | `prompts.rs`   | openings of stories                                                                  |
//! | `verdict.rs`   | what must hold for a generation that lost a server                                   |
//!
//! `FAILOVER_MATRIX=full` runs all cells of the matrix (`.ci/full` does), otherwise a slice of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test; the lint's exemption does not reach helpers of integration tests"
)]
#![allow(
    clippy::print_stdout,
    reason = "figures are for whoever runs the test with --nocapture"
)]

mod case;
mod matrix;
mod one_swarm;
mod other_cuts;
mod prompts;
mod python;
mod stage;
mod verdict;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Stalls are measured: one test at a time, or they would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
