//! The command `swarm` as a process: what it prints, how it ends, and that it leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test"
)]

mod bench;
mod bootstrap;
mod chat;
mod demo;
mod errors;
mod gateway;
mod golden;
mod help;
mod http_api;
mod lan;
mod live_page;
mod looks;
mod process;
mod pull;
mod run;
mod sessions;
mod terminal;
mod trust;
