//! Our client through Python Petals servers, through ours, and through chains of both: it says what transformers says.
//!
//! petals 2.2.0.post1 over hivemind 1.1.12, as `scripts/python-peers` installs them; everything stays on loopback. All
//! servers start once. A route picks the servers of a chain, so that a few of them make every chain.
//!
//! | file         | holds                                              |
//! |--------------|----------------------------------------------------|
//! | `swarm.rs`   | the servers, and the Python client that is asked too |
//! | `chains.rs`  | which servers make which chain                      |
//! | `answers.rs` | what is asked, and what must come out               |
//! | `families.rs` | a model of every family over two of our servers     |
//! | `gguf.rs`    | a GGUF file of every kind over two of our servers   |
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test ends the test; the lint's exemption does not reach helpers of integration tests"
)]

mod answers;
mod chains;
mod families;
mod gguf;
mod swarm;
