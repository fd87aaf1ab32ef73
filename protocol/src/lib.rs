//! The Petals and Hivemind wire protocol: bytes in, typed messages out, and back.
//!
//! Pure: no I/O, no clock, no randomness, no tensor library. In reading order:
//!
//! 1. [`frame`]: stream and unary framing; 2. `proto`: the protobuf messages, private;
//! 3. [`msgpack`]: hivemind's dialect; 4. the messages, metadata and records made of them.
//!
//! Everything that a peer can make large is bounded by [`limits`]; everything that a peer can
//! get wrong is a [`DecodeError`], never a panic.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::wildcard_enum_match_arm
    ),
    warn(clippy::cast_possible_truncation, clippy::cast_sign_loss)
)]

pub mod dht;
pub mod frame;
pub mod limits;
pub mod msgpack;
pub mod rpc;

mod error;
mod proto;
mod varint;

pub use error::{DecodeError, EncodeError};
pub use rpc::{Rpc, RpcKind};
