//! How protobuf messages travel on a libp2p stream: one framing for each [`crate::RpcKind`].
//!
//! Both decoders take from the front of a buffer that the caller keeps filling. They answer
//! `Ok(None)` and leave the buffer alone until a whole frame is there, allocate nothing on a
//! claimed length, and check that length against a limit as soon as it can be read.

mod stream;
mod unary;

pub use stream::{
    STREAM_HEADER_BYTES, StreamDecoder, StreamFrame, encode_end, encode_error, encode_message,
    message_header,
};
pub use unary::{
    CALL_ID_BYTES, UnaryReply, UnaryRequest, decode_reply, decode_request, encode_reply,
    encode_request,
};
