//! The block service over loopback nodes, driven by the client crate, on a real tiny model (and sometimes on a span
//! with a gate or a fault in it).

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
#![allow(clippy::panic, reason = "a test says what is wrong by failing")]

mod bad_input;
mod forward;
mod golden;
mod greed;
mod growth;
mod lifetimes;
mod observed;
mod push;
mod raw;
mod sessions;
mod sharing;
mod support;
mod told_span;
mod trust;
