//! What a caller sends on a stream, read ahead a little while we work, so that a caller who leaves is noticed.

use std::collections::VecDeque;

use block_network::{ReceiveError, Received, ServerStream};
use bytes::Bytes;
use tokio::time::Duration;

use crate::request_error::RequestError;

/// Messages read ahead. The reference reads five ahead.
const MAX_EARLY_MESSAGES: usize = 5;

/// Bytes read ahead after which no further message is read; the last one may exceed it by one frame.
const MAX_EARLY_BYTES: usize = 4 * 1024 * 1024;

/// A streamed call's inputs, and its stream.
#[derive(Debug)]
pub(super) struct Inputs {
    stream: ServerStream,
    early: VecDeque<Bytes>,
    early_bytes: usize,
    /// What came after the early messages, if it was not a message.
    end: Option<Result<Received, RequestError>>,
}

impl Inputs {
    pub(super) fn new(stream: ServerStream) -> Self {
        Self {
            stream,
            early: VecDeque::new(),
            early_bytes: 0,
            end: None,
        }
    }

    /// The next message, or `None` at the end of input. Dropping it loses nothing.
    ///
    /// # Errors
    /// `Gone` if the caller has left, `Invalid` or `Overloaded` if its bytes cannot be used.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        if let Some(body) = self.early.pop_front() {
            self.early_bytes -= body.len();
            return Ok(Some(body));
        }
        let received = match self.end.clone() {
            Some(end) => end,
            None => receive(&mut self.stream).await,
        };
        match received? {
            Received::Message(body) => Ok(Some(body)),
            Received::EndOfInput => Ok(None),
            Received::Closed => Err(RequestError::Gone),
        }
    }

    /// Runs `work` while reading ahead.
    ///
    /// # Errors
    /// The work's own, and `Gone` as soon as the caller has left; the work is dropped then.
    pub(super) async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, RequestError> {
        let mut work = std::pin::pin!(work);
        loop {
            let may_read = self.end.is_none()
                && self.early.len() < MAX_EARLY_MESSAGES
                && self.early_bytes < MAX_EARLY_BYTES;
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                received = receive(&mut self.stream), if may_read => match received {
                    Ok(Received::Message(body)) => {
                        self.early_bytes += body.len();
                        self.early.push_back(body);
                    }
                    Ok(Received::Closed) => return Err(RequestError::Gone),
                    // The caller still waits for this answer.
                    end @ (Ok(Received::EndOfInput) | Err(_)) => self.end = Some(end),
                },
            }
        }
    }

    /// Sends one message of the answer.
    ///
    /// # Errors
    /// `Gone` if the caller has left or reads nothing for `limit`.
    pub(super) async fn send(&mut self, body: Bytes, limit: Duration) -> Result<(), RequestError> {
        match tokio::time::timeout(limit, self.stream.send(body)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RequestError::Gone),
        }
    }

    /// The stream, to end the call.
    pub(super) fn into_stream(self) -> ServerStream {
        self.stream
    }
}

async fn receive(stream: &mut ServerStream) -> Result<Received, RequestError> {
    stream.recv().await.map_err(|error| match error {
        ReceiveError::Malformed { reason } => RequestError::Invalid(reason),
        ReceiveError::Overloaded => RequestError::Overloaded {
            what: "too many bytes of unfinished requests are here",
            limit: None,
        },
    })
}
