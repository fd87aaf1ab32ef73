//! The model against stored reference values, through its public interface alone.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests are not covered by the lint's own exception"
)]

mod cpu_engine;
mod engine;
mod families;
mod generation;
mod gguf;
mod golden;
mod hub;
mod loading;
mod packed;
mod prompts;
mod sessions;
mod support;
