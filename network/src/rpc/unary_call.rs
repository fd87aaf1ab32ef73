//! One unary call, as its caller.

use std::{pin::pin, time::Duration};

use block_protocol::frame::decode_reply;
use bytes::Bytes;
use futures::{
    AsyncWriteExt,
    future::{Either, select},
};
use tokio::time::timeout;

use super::{OutboundStream, frame_reader::FrameReader, frame_writer::write_all, halves};
use crate::error::{CallError, ReadError};

/// How long to look for the reason why a request could not be written.
const POST_MORTEM: Duration = Duration::from_secs(1);

/// Sends `request`, an encoded envelope, and waits for the reply. Dropping it resets the stream,
/// which cancels the call at the callee. The caller bounds the time.
pub(crate) async fn call(outbound: OutboundStream, request: &[u8]) -> Result<Bytes, CallError> {
    let OutboundStream { stream, permit } = outbound;
    let (reader, mut writer) = halves::split(stream);
    let mut reader = FrameReader::new(reader, None);
    let reply = {
        let writing = pin!(write_all(&mut writer, request));
        let reading = pin!(reader.next(decode_reply));
        // A callee may refuse the name, or answer "overloaded", before it has read everything.
        match select(writing, reading).await {
            Either::Left((Ok(()), reading)) => reading.await?,
            Either::Left((Err(error), reading)) => match timeout(POST_MORTEM, reading).await {
                Ok(Ok(Some(reply))) => Some(reply),
                Ok(Err(ReadError::Io(refusal))) => match refusal.into() {
                    CallError::NotSupported => return Err(CallError::NotSupported),
                    _ => return Err(error.into()),
                },
                Ok(Ok(None) | Err(_)) | Err(_) => return Err(error.into()),
            },
            Either::Right((reply, _)) => reply?,
        }
    };
    // With the answer here, closing ends the stream; a reset of it would say "cancelled".
    if let Err(error) = writer.close().await {
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
