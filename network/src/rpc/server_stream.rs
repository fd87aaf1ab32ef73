//! One streamed call, as its callee.
//!
//! The task of [`serve_stream`] owns the stream until its first frame is whole and a handler has
//! taken the call.

use std::io;

use block_protocol::{
    frame::{StreamDecoder, StreamFrame, encode_error},
    limits::MAX_STREAM_FRAME_BYTES,
};
use bytes::{Bytes, BytesMut};
use futures::AsyncWriteExt;
use libp2p::{PeerId, Stream};
use tokio::{sync::mpsc, time::timeout};

use super::{
    frame_reader::FrameReader,
    frame_writer::{close_and_linger, write_all, write_message},
    halves::{self, ReadHalf, WriteHalf},
};
use crate::{
    admission::{HalfOpen, Share},
    error::ReadError,
    limits::{FIRST_FRAME_TIMEOUT, QUEUE_TIMEOUT, SETTLE_TIMEOUT},
    services::Services,
};

/// A streamed call; its first frame is already here.
#[derive(Debug)]
pub struct StreamCall {
    /// The caller, as authenticated by the connection.
    pub peer: PeerId,
    /// The call. Dropping it resets the stream.
    pub stream: ServerStream,
}

/// Messages from a caller and back.
#[derive(Debug)]
pub struct ServerStream {
    receiver: ServerReceiver,
    sender: ServerSender,
    services: Services,
}

/// The receiving half. The stream lives until both halves are dropped.
#[derive(Debug)]
pub struct ServerReceiver {
    reader: FrameReader<ReadHalf>,
    decoder: StreamDecoder,
    first: Option<Received>,
    /// Nothing further will come.
    ended: bool,
}

/// The sending half. The stream lives until both halves are dropped.
#[derive(Debug)]
pub struct ServerSender(WriteHalf);

/// What a caller did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It sent a message: the request's protobuf, possibly empty.
    Message(Bytes),
    /// It sent the end-of-input marker and waits for the rest of the answer.
    EndOfInput,
    /// It closed or reset the stream, or is gone: nobody reads an answer.
    Closed,
}

/// Why the caller's bytes cannot be used. Answer with [`ServerStream::fail`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// No frame, or one over the limit. The caller must act.
    #[error("malformed request: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// This peer, or all peers together, have too many unfinished requests here.
    #[error("overloaded: too many bytes of unfinished requests; try another server")]
    Overloaded,
}

/// Why an answer was not delivered. Drop the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The stream is closed: the caller gave up.
    #[error("the caller is gone")]
    Closed,
    /// The caller took not one byte for 30 s.
    #[error("the caller reads nothing")]
    Stalled,
}

impl ServerStream {
    fn new(stream: Stream, share: Share, services: Services) -> Self {
        let (reader, writer) = halves::split(stream);
        Self {
            receiver: ServerReceiver {
                reader: FrameReader::new(reader, Some(share)),
                decoder: StreamDecoder::new(MAX_STREAM_FRAME_BYTES),
                first: None,
                ended: false,
            },
            sender: ServerSender(writer),
            services,
        }
    }

    /// See [`ServerReceiver::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Result<Received, ReceiveError> {
        self.receiver.recv().await
    }

    /// See [`ServerSender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, body: Bytes) -> Result<(), SendError> {
        self.sender.send(body).await
    }

    /// Ends the answer as it is meant to end: closes our side. What was sent is still delivered
    /// after this returns.
    pub fn finish(self) {
        let Self {
            receiver,
            sender,
            services,
        } = self;
        services.spawn(receiver.close_with(sender));
    }

    /// Sends an error frame with `text` and ends the stream, both after this returns.
    pub fn fail(self, text: &str) {
        let frame = stream_refusal(text);
        let Self {
            receiver,
            mut sender,
            services,
        } = self;
        services.spawn(async move {
            if write_all(&mut sender.0, &frame).await.is_ok() {
                receiver.close_with(sender).await;
            }
        });
    }

    /// Two halves, for a handler that notices a vanished caller while it computes. At the end,
    /// receive until `EndOfInput` (1 s at most) before [`ServerSender::close`], as
    /// [`ServerStream::finish`] does: a daemon drops a caller that still writes.
    #[must_use]
    pub fn split(self) -> (ServerReceiver, ServerSender) {
        (self.receiver, self.sender)
    }
}

impl ServerReceiver {
    /// What the caller did next. Has no deadline of its own. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`ReceiveError`]; the stream is of no more use for receiving.
    pub async fn recv(&mut self) -> Result<Received, ReceiveError> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let frame = self.reader.next(|buffer| self.decoder.decode(buffer));
        let received = match frame.await {
            Ok(Some(StreamFrame::Message(body))) => return Ok(Received::Message(body)),
            // From a caller every such frame means the end of its input.
            Ok(Some(StreamFrame::Error(_))) => Ok(Received::EndOfInput),
            Ok(None) | Err(ReadError::Io(_) | ReadError::Truncated) => Ok(Received::Closed),
            Err(ReadError::OverBudget) => Err(ReceiveError::Overloaded),
            Err(ReadError::Decode(error)) => Err(ReceiveError::Malformed {
                reason: error.to_string(),
            }),
        };
        self.ended = true;
        received
    }

    /// Lets the caller finish its input, then ends the stream.
    async fn close_with(mut self, sender: ServerSender) {
        let settled = timeout(SETTLE_TIMEOUT, async {
            while !self.ended {
                let _ = self.recv().await;
            }
        });
        if settled.await.is_err() {
            tracing::trace!("closing a stream whose caller is still sending");
        }
        close_and_linger(self.reader.into_stream(), sender.0).await;
    }
}

impl ServerSender {
    /// Sends one message, waiting while the caller takes none. Dropping it may leave half a
    /// message on the stream: drop the call, too.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&mut self, body: Bytes) -> Result<(), SendError> {
        sent(write_message(&mut self.0, &body).await)
    }

    /// Sends an error frame; [`ServerSender::close`] must follow.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send_error(&mut self, text: &str) -> Result<(), SendError> {
        sent(write_all(&mut self.0, &stream_refusal(text)).await)
    }

    /// Closes our side, the normal end of an answer.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn close(&mut self) -> Result<(), SendError> {
        sent(self.0.close().await)
    }
}

fn sent(written: io::Result<()>) -> Result<(), SendError> {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => SendError::Stalled,
        _ => SendError::Closed,
    })
}

/// An error frame with `text`.
pub(crate) fn stream_refusal(text: &str) -> BytesMut {
    let mut frame = BytesMut::new();
    encode_error(text, &mut frame);
    frame
}

/// Waits for the first whole frame and hands the call to the handler.
pub(crate) async fn serve_stream(
    peer: PeerId,
    stream: Stream,
    permit: HalfOpen,
    share: Share,
    calls: mpsc::Sender<StreamCall>,
    services: Services,
) {
    let mut stream = ServerStream::new(stream, share, services);
    match timeout(FIRST_FRAME_TIMEOUT, stream.recv()).await {
        Ok(Ok(Received::Closed)) | Err(_) => {
            tracing::debug!(%peer, "stream ended before its first frame");
            return;
        }
        Ok(Ok(first)) => stream.receiver.first = Some(first),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "stream refused");
            return stream.fail(&error.to_string());
        }
    }
    match timeout(QUEUE_TIMEOUT, calls.reserve()).await {
        Ok(Ok(place)) => place.send(StreamCall { peer, stream }),
        Ok(Err(_)) => stream.fail("this RPC is no longer served; try another server"),
        Err(_) => stream.fail("overloaded: no handler took the call; try another server"),
    }
    drop(permit);
}
