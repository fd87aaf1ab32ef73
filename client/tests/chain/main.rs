//! Chains over scripted servers on loopback: real nodes and streams, a toy function instead of blocks.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support is outside of test functions"
)]

mod basic;
mod fake;
mod faults;
mod model;
mod random;
mod rollback;
mod swarm;
mod toy;
