//! Our servers and DHT nodes among real Python peers: petals 2.2.0.post1 over hivemind 1.1.12.
//!
//! `scripts/python-peers` installs the Python side; a run without it fails and says so. Processes of
//! one topology start once and are shared by its tests; everything stays on loopback.
//!
//! | file          | shows                                                                  |
//! |---------------|------------------------------------------------------------------------|
//! | `dht.rs`      | Rust and Python DHT nodes bootstrap from each other and agree          |
//! | `generate.rs` | a Python client generates through one, two and three of our servers    |
//! | `mixed.rs`    | the same through chains of Python and Rust servers                     |
//! | `monitor.rs`  | what the health monitor sees of our servers                            |
//! | `swarm.rs`    | the topology that the last three share; its servers are in `chains.rs`  |
//! | `hub.rs`      | our hub client and Python's read each other's cache                    |
//! | `rust_node.rs` | a DHT node of ours in this process, which can vanish as a killed one does |
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test; the lint's exemption does not reach helpers of integration tests"
)]

mod chains;
mod dht;
mod generate;
mod hub;
mod mixed;
mod monitor;
mod rust_node;
mod swarm;
