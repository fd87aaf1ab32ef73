//! The Hivemind DHT over this node's calls.
//!
//! The rules live in [`block_protocol::dht`]; nothing here decides anything. In reading order:
//! - [`Dht`], [`DhtConfig`]: the handle that the rest of the process uses, and what it starts with
//! - `driver`: the task that owns the state machine and turns its actions into calls and answers
//! - `inbound`: the three served RPCs as one queue
//! - `initial_peers`: dials the initial peers, for ever
//! - `local_peers`: asks who is found on the local network, and joins through those who answer
//! - `metrics`: what is counted
//!
//! ```text
//! Dht --asks--> driver --calls--> Node --> peers
//!                 ^  ^--inbound calls-- Node <-- peers
//!                 \-- initial_peers (addresses that answered)
//! ```

mod config;
mod driver;
mod handle;
mod inbound;
mod initial_peers;
mod local_peers;
mod metrics;

pub use config::DhtConfig;
pub use handle::{Dht, DhtError, subkey_entry};
