//! One DHT node, event by event: call-backs, bounds, refusals, notices.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod bench;
mod bounds;
mod initial_peers;
mod newcomers;
