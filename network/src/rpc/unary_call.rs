//! One unary call, as its caller.

use std::{io, pin::pin, time::Duration};

use block_protocol::frame::decode_reply;
use bytes::Bytes;
use futures::{
    AsyncWriteExt,
    future::{Either, select},
};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    OutboundStream,
    frame_reader::FrameReader,
    frame_writer::write_all,
    halves::{self, ReadHalf, WriteHalf},
};
use crate::error::{CallError, ReadError};

/// How long to look for the reason why a request could not be written.
const POST_MORTEM: Duration = Duration::from_secs(1);

/// A stream for one call whose request has not been sent. Dropping it resets the stream.
#[derive(Debug)]
pub(crate) struct UnaryCaller {
    reader: FrameReader<ReadHalf>,
    writer: WriteHalf,
    _permit: OwnedSemaphorePermit,
}

impl UnaryCaller {
    pub(crate) fn new(outbound: OutboundStream) -> Self {
        let (reader, writer) = halves::split(outbound.stream);
        Self {
            reader: FrameReader::new(reader, None),
            writer,
            _permit: outbound.permit,
        }
    }

    /// Sends the name, which otherwise travels with the request: the callee's part of opening the stream is done by then.
    ///
    /// # Errors
    /// The stream's own, or `TimedOut`.
    pub(crate) async fn send_name(&mut self) -> io::Result<()> {
        write_all(&mut self.writer, &[]).await
    }

    /// Sends `request`, an encoded envelope, and waits for the reply. Dropping it resets the stream,
    /// which cancels the call at the callee. The caller bounds the time.
    pub(crate) async fn call(mut self, request: &[u8]) -> Result<Bytes, CallError> {
        let reply = {
            let writing = pin!(write_all(&mut self.writer, request));
            let reading = pin!(self.reader.next(decode_reply));
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
        if let Err(error) = self.writer.close().await {
            tracing::trace!(%error, "stream was gone before it was closed");
        }
        match reply {
            Some(reply) => reply.result.map_err(|text| CallError::Remote { text }),
            None => Err(CallError::broken(
                "the peer closed the stream without an answer",
            )),
        }
    }
}
