//! One streamed call, as its caller.

use std::{io, sync::Arc, time::Duration};

use block_protocol::{
    frame::{StreamDecoder, StreamFrame, encode_end},
    limits::MAX_STREAM_FRAME_BYTES,
};
use bytes::{Bytes, BytesMut};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    OutboundStream,
    frame_reader::FrameReader,
    frame_writer::{write_all, write_message},
    halves::{self, ReadHalf, WriteHalf},
};
use crate::error::CallError;

/// Messages to a callee and back. Dropping it before the end cancels the call at the callee.
///
/// Nothing is sent before the first message: the RPC's name travels with it, so
/// [`CallError::NotSupported`] comes from the first [`ClientStream::recv`].
#[derive(Debug)]
pub struct ClientStream {
    sender: ClientSender,
    receiver: ClientReceiver,
}

/// The sending half. The call lives until both halves are dropped.
#[derive(Debug)]
pub struct ClientSender {
    writer: WriteHalf,
    _permit: Arc<OwnedSemaphorePermit>,
}

/// The receiving half. The call lives until both halves are dropped.
#[derive(Debug)]
pub struct ClientReceiver {
    reader: FrameReader<ReadHalf>,
    decoder: StreamDecoder,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl ClientStream {
    pub(crate) fn new(outbound: OutboundStream) -> Self {
        let permit = Arc::new(outbound.permit);
        let (reader, writer) = halves::split(outbound.stream);
        Self {
            sender: ClientSender {
                writer,
                _permit: permit.clone(),
            },
            receiver: ClientReceiver {
                reader: FrameReader::new(reader, None),
                decoder: StreamDecoder::new(MAX_STREAM_FRAME_BYTES),
                _permit: permit,
            },
        }
    }

    /// Two halves, for a caller that sends and receives at the same time.
    #[must_use]
    pub fn split(self) -> (ClientSender, ClientReceiver) {
        (self.sender, self.receiver)
    }

    /// See [`ClientSender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, body: Bytes) -> Result<(), CallError> {
        self.sender.send(body).await
    }

    /// See [`ClientSender::end_input`].
    ///
    /// # Errors
    /// As there.
    pub async fn end_input(&mut self) -> Result<(), CallError> {
        self.sender.end_input().await
    }

    /// See [`ClientReceiver::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, CallError> {
        self.receiver.recv().await
    }

    /// See [`ClientReceiver::recv_within`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv_within(&mut self, time: Duration) -> Result<Option<Bytes>, CallError> {
        self.receiver.recv_within(time).await
    }
}

impl ClientSender {
    /// Sends one message, waiting while the callee takes none. Dropping it may leave half a
    /// message on the stream: drop the stream, too.
    ///
    /// # Errors
    /// `TooLarge` over the frame limit, `Timeout` if the callee takes nothing for 30 s,
    /// `Broken` if it closed the stream (`recv` then says why).
    pub async fn send(&mut self, body: Bytes) -> Result<(), CallError> {
        if body.len() > MAX_STREAM_FRAME_BYTES {
            return Err(CallError::TooLarge {
                bytes: body.len() as u64,
                limit: MAX_STREAM_FRAME_BYTES as u64,
            });
        }
        let written: io::Result<()> = write_message(&mut self.writer, &body).await;
        Ok(written?)
    }

    /// Tells the callee that no further message follows. The stream stays open for the answer.
    ///
    /// # Errors
    /// As [`ClientSender::send`].
    pub async fn end_input(&mut self) -> Result<(), CallError> {
        let mut marker = BytesMut::new();
        encode_end(&mut marker);
        Ok(write_all(&mut self.writer, &marker).await?)
    }
}

impl ClientReceiver {
    /// The next message, or `None` when the callee has ended the answer. Has no deadline of its
    /// own. Dropping it loses nothing.
    ///
    /// # Errors
    /// `Remote` with the callee's text, `NotSupported`, or `Broken`. The call is over then.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, CallError> {
        match self
            .reader
            .next(|buffer| self.decoder.decode(buffer))
            .await?
        {
            Some(StreamFrame::Message(body)) => Ok(Some(body)),
            Some(StreamFrame::Error(text)) => Err(CallError::Remote {
                text: text.unwrap_or_default(),
            }),
            None if self.reader.stream().ended_by_reset() => {
                Err(CallError::broken("the peer reset the stream or is gone"))
            }
            None => Ok(None),
        }
    }

    /// [`ClientReceiver::recv`], with `Timeout` after `time`. A message that comes later is not
    /// lost.
    ///
    /// # Errors
    /// As there, and `Timeout`.
    pub async fn recv_within(&mut self, time: Duration) -> Result<Option<Bytes>, CallError> {
        let received = timeout(time, self.recv()).await;
        received.map_err(|_| CallError::Timeout)?
    }
}
