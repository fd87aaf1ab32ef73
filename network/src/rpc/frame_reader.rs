//! Bytes from a stream into whole frames.

use std::{future::poll_fn, io, pin::Pin, task::Poll};

use block_protocol::DecodeError;
use bytes::BytesMut;
use futures::AsyncRead;

use crate::{admission::Share, error::ReadError};

/// Bytes read at a time: little while nothing is there, since every idle stream holds a buffer of
/// this size, and more once a frame is on its way. One muxer frame has 16 KiB at most, and more than one is rarely there:
/// room beyond it would be cleared for nothing.
const FIRST_READ_BYTES: usize = 4 << 10;
const READ_BYTES: usize = 16 << 10;

/// A stream with what has been read of it.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    /// Accounts for the buffer where a peer decides how much it holds: at the callee.
    share: Option<Share>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R, share: Option<Share>) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            share,
        }
    }

    /// The next frame that `decode` finds, `None` at an end of stream between frames.
    /// Dropping it loses nothing.
    pub(crate) async fn next<T>(
        &mut self,
        mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, DecodeError>,
    ) -> Result<Option<T>, ReadError> {
        loop {
            if let Some(frame) = decode(&mut self.buffer)? {
                if let Some(share) = &mut self.share {
                    share.cover(self.buffer.len());
                }
                return Ok(Some(frame));
            }
            if self.fill().await? == 0 {
                let at_boundary = self.buffer.is_empty();
                return if at_boundary {
                    Ok(None)
                } else {
                    Err(ReadError::Truncated)
                };
            }
        }
    }

    /// Returns once the peer has closed or reset its side or sent a byte beyond the last frame.
    pub(crate) async fn disturbed(&mut self) {
        if self.buffer.is_empty() {
            let _ = self.fill().await;
        }
    }

    pub(crate) fn stream(&self) -> &R {
        &self.stream
    }

    pub(crate) fn into_stream(self) -> R {
        self.stream
    }

    /// Reads some bytes to the end of the buffer; 0 at the end of the stream.
    async fn fill(&mut self) -> Result<usize, ReadError> {
        let filled = poll_fn(|cx| {
            let start = self.buffer.len();
            let room = if start == 0 {
                FIRST_READ_BYTES
            } else {
                READ_BYTES
            };
            self.buffer.resize(start + room, 0);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut self.buffer[start..]);
            let count = match &read {
                Poll::Ready(Ok(count)) => *count,
                Poll::Ready(Err(_)) | Poll::Pending => 0,
            };
            self.buffer.truncate(start + count);
            read
        });
        let count: Result<usize, io::Error> = filled.await;
        let count = count?;
        let share = self.share.as_mut();
        if share.is_some_and(|share| !share.cover(self.buffer.len())) {
            return Err(ReadError::OverBudget);
        }
        Ok(count)
    }
}
