//! Calls on streams: unary and streamed, both sides.
//!
//! The rules that keep hivemind's daemon from cancelling a call:
//! - a caller never closes its side before the answer is complete: a unary callee keeps one read
//!   pending and takes EOF, a reset or any further byte for "the caller gave up";
//! - a streaming caller ends its input with a marker and leaves its side open;
//! - a callee's end of stream is the normal end of a streamed answer.

mod client_stream;
mod frame_reader;
mod frame_writer;
mod halves;
mod server_stream;
mod unary_call;
mod unary_serve;

pub use client_stream::{ClientReceiver, ClientSender, ClientStream};
pub use server_stream::{
    ReceiveError, Received, SendError, ServerReceiver, ServerSender, ServerStream, StreamCall,
};
pub use unary_serve::UnaryCall;

pub(crate) use frame_writer::{close_and_linger, write_all};
pub(crate) use halves::split;
pub(crate) use server_stream::{serve_stream, stream_refusal};
pub(crate) use unary_call::UnaryCaller;
pub(crate) use unary_serve::{serve_unary, unary_refusal};

use libp2p::Stream;
use tokio::sync::OwnedSemaphorePermit;

/// A stream that we opened, with its place among the streams to that peer.
#[derive(Debug)]
pub(crate) struct OutboundStream {
    pub(crate) stream: Stream,
    pub(crate) permit: OwnedSemaphorePermit,
}
