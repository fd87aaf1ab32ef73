//! The generic path: the same tests as for the processor's engine.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation ends the test"
)]

mod engine;

#[path = "../model/generation.rs"]
mod generation;
#[path = "../model/golden.rs"]
mod golden;
#[path = "../model/prompts.rs"]
mod prompts;
#[path = "../model/sessions.rs"]
mod sessions;
#[path = "../model/support.rs"]
mod support;
