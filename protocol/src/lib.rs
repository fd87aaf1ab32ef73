//! The Petals and Hivemind wire protocol: bytes in, typed messages out, and back.
//!
//! Pure: no I/O, no clock, no randomness, no tensor library. In reading order:
//!
//! 1. [`frame`]: how messages travel, one framing for unary and one for streaming RPCs ([`Rpc`]);
//! 2. `proto`: the protobuf messages as the wire has them, private;
//! 3. [`msgpack`]: hivemind's dialect, for everything that is not protobuf;
//! 4. [`message`], [`metadata`], [`args`]: what the Petals calls carry;
//! 5. [`tensor`], [`compression`], [`parts`]: tensors, packed, cut and joined;
//! 6. [`server_info`], [`model_record`], [`schema`]: what servers say about themselves;
//! 7. [`dht`]: where they say it, the Hivemind DHT as a state machine.
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

pub mod args;
pub mod compression;
pub mod dht;
pub mod dht_prefix;
pub mod error;
pub mod frame;
pub mod limits;
pub mod message;
pub mod metadata;
pub mod model_record;
pub mod msgpack;
pub mod parts;
pub mod reachability;
pub mod rpc;
pub mod schema;
pub mod server_info;
pub mod tensor;
pub mod uid;

mod proto;
mod varint;

pub use args::ArgsStructure;
pub use compression::Compression;
pub use error::{DecodeError, EncodeError};
pub use message::{ExpertInfo, ExpertRequest, ExpertResponse, ExpertUid};
pub use metadata::{ForwardMetadata, NextServer, OpenMetadata, StepMetadata};
pub use model_record::ModelRecord;
pub use rpc::{Rpc, RpcKind};
pub use schema::{Schemas, ServerRpcInfo, TensorDescriptor};
pub use server_info::{ServerInfo, ServerRecord, ServerState};
pub use tensor::{DType, WireTensor};
pub use uid::{BlockChain, BlockUid, Span};
