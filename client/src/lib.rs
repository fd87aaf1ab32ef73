//! Client side of a Petals swarm.
//!
//! - [`swarm_view`]: records found in the DHT → who serves which blocks; pure
//! - [`metrics`]: what the client counts
//! - [`hop`]: an inference session at one server
//! - [`request`]: single requests to one server: forward, info
//! - [`HopError`]: what can go wrong there, and what to do next

#![forbid(unsafe_code)]

pub mod hop;
pub mod metrics;
pub mod request;
pub mod swarm_view;

mod error;

pub use error::{HopError, NextMove};
pub use hop::{Hop, HopStep, Opening};
