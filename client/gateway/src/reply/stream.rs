//! An answer as server-sent events.
//!
//! The head is sent when the first token or the first error is known, or after a few seconds: so an early failure keeps
//! its status code. Later ones come as an event with the error object, since a connection that breaks is reported badly
//! by the official clients. Comments keep proxies from cutting a slow stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::piece_chunk::PieceChunk;
use super::{Envelope, Shape};
use crate::answer::{Answer, Event};
use crate::api_error::ApiError;
use crate::request::StreamOptions;

/// How long a stream waits with its head, and between events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamPatience {
    pub(crate) head: Duration,
    pub(crate) ping: Duration,
}

/// A stream under way.
struct Stream {
    envelope: Envelope,
    options: StreamOptions,
    answer: Answer,
    /// Events ready to be sent: one or several in each.
    ready: VecDeque<Bytes>,
    completion_tokens: usize,
    cached_tokens: usize,
    ping: Duration,
    is_over: bool,
}

/// Answers as a stream.
///
/// # Errors
/// Why there is none, if that is known early.
pub(crate) async fn stream(
    envelope: Envelope,
    mut answer: Answer,
    choices: usize,
    options: StreamOptions,
    patience: StreamPatience,
) -> Result<Response, ApiError> {
    let first = timeout(patience.head, answer.next()).await;
    let mut stream = Stream {
        envelope,
        options,
        answer,
        ready: VecDeque::new(),
        completion_tokens: 0,
        cached_tokens: 0,
        ping: patience.ping,
        is_over: false,
    };
    if stream.envelope.shape == Shape::Chat {
        for choice in 0..choices {
            let opening = stream.envelope.opening(choice);
            stream.push(opening);
        }
    }
    match first {
        Ok(Some(Err(error))) => return Err(error),
        Ok(Some(Ok(event))) => stream.take(event),
        // No choice at all, or nothing yet.
        Ok(None) | Err(_) => {}
    }
    let events = futures::stream::unfold(stream, |mut stream| async {
        let bytes = stream.next().await?;
        Some((Ok::<_, Infallible>(bytes), stream))
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // Nginx would keep events back.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

impl Stream {
    /// What is sent next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.is_over {
                return None;
            }
            match timeout(self.ping, self.answer.next()).await {
                Err(_) => return Some(Bytes::from_static(PING)),
                Ok(Some(Ok(event))) => self.take(event),
                Ok(Some(Err(error))) => {
                    self.fail(&error);
                }
                Ok(None) => {
                    self.is_over = true;
                    if self.options.include_usage {
                        let mut chunk = self.envelope.object(true, Vec::new());
                        let (new, cached) = (self.completion_tokens, self.cached_tokens);
                        chunk["usage"] = self.envelope.usage(new, cached);
                        self.ready.push_back(event_of(&chunk));
                    }
                    self.ready.push_back(Bytes::from_static(DONE));
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Pieces(pieces) => {
                // In one write.
                let mut events = Vec::with_capacity(EVENT_BYTES * pieces.len());
                for piece in &pieces {
                    let chunk = PieceChunk::new(&self.envelope, piece, self.options.include_usage);
                    write_event(&mut events, &chunk);
                }
                self.ready.push_back(events.into());
            }
            Event::Ended(ended) => {
                self.completion_tokens += ended.tokens;
                self.cached_tokens += ended.cached;
                let ending = self.envelope.ending(&ended);
                if ended.choice == 0 {
                    self.envelope.publish(&ending["swarm"]);
                }
                self.push(ending);
            }
            Event::Failed(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &ApiError) {
        self.is_over = true;
        self.ready.push_back(event_of(&error.body()));
    }

    fn push(&mut self, mut chunk: Value) {
        if self.options.include_usage {
            chunk["usage"] = Value::Null;
        }
        self.ready.push_back(event_of(&chunk));
    }
}

fn event_of(value: &impl Serialize) -> Bytes {
    let mut event = Vec::with_capacity(EVENT_BYTES);
    write_event(&mut event, value);
    event.into()
}

/// JSON has no line break in it, so it is one line.
fn write_event(event: &mut Vec<u8>, value: &impl Serialize) {
    event.extend_from_slice(b"data: ");
    // Writing to memory does not fail, and nothing here has keys that are no strings.
    let _ = serde_json::to_writer(&mut *event, value);
    event.extend_from_slice(b"\n\n");
}

/// Room for most chunks of one token.
const EVENT_BYTES: usize = 384;

const DONE: &[u8] = b"data: [DONE]\n\n";
/// A comment, which readers of events skip.
const PING: &[u8] = b": ping\n\n";
