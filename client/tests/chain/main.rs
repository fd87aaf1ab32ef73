//! Chains over scripted servers on loopback: real nodes and streams, a toy function instead of blocks.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support is outside of test functions"
)]

mod basic;
mod fake;
mod swarm;
mod toy;
