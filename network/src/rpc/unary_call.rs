//! One unary call, as its caller.

use std::{io, time::Duration};

use block_protocol::frame::decode_reply;
use bytes::Bytes;
use futures::AsyncWriteExt;
use tokio::time::timeout;

use super::{OutboundStream, frame_reader::FrameReader, frame_writer::write_all};
use crate::error::CallError;

/// How long to look for the reason why a request could not be written.
const POST_MORTEM: Duration = Duration::from_secs(1);

/// Sends `request`, an encoded envelope, and waits for the reply. Dropping it resets the stream,
/// which cancels the call at the callee. The caller bounds the time.
pub(crate) async fn call(outbound: OutboundStream, request: &[u8]) -> Result<Bytes, CallError> {
    let OutboundStream { stream, permit } = outbound;
    let mut reader = FrameReader::new(stream, None);
    let written = write_all(reader.stream_mut(), request).await;
    let reply = match written {
        Ok(()) => reader.next(decode_reply).await?,
        // A callee may refuse the name, or answer "overloaded", before it has read everything.
        Err(error) => match timeout(POST_MORTEM, reader.next(decode_reply)).await {
            Ok(Ok(Some(reply))) => Some(reply),
            Ok(Err(read)) => match read.into() {
                CallError::NotSupported => return Err(CallError::NotSupported),
                _ => return Err(error.into()),
            },
            Ok(Ok(None)) | Err(_) => return Err(error.into()),
        },
    };
    let mut stream = reader.into_stream();
    let closed: io::Result<()> = stream.close().await;
    if let Err(error) = closed {
        tracing::trace!(%error, "stream was gone before it was closed");
    }
    drop(permit);
    match reply {
        Some(reply) => reply.result.map_err(|text| CallError::Remote { text }),
        None => Err(CallError::broken(
            "the peer closed the stream without an answer",
        )),
    }
}
