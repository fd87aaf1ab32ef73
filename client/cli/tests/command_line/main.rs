//! The command `swarm` as a process: what it prints, how it ends, and that it leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test"
)]

mod bootstrap;
mod demo;
mod errors;
mod gateway;
mod golden;
mod help;
mod looks;
mod process;
mod run;
