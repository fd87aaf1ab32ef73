//! The body of an answer on its way out: it holds its seat until it has ended or is dropped, and it ends in time.
//!
//! What cuts it short (the deadline, a panic) is told as an error event if it is a stream of events; any other body is
//! broken off, so that nobody takes a part for the whole.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::queue::Seat;
use super::request_id::RequestId;
use crate::terms::too_late;
use crate::{ApiError, ErrorCode};

/// What a body is kept to.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) id: RequestId,
    /// Text in the making: it ends at `deadline`, and holds `seat`.
    pub(super) making: Option<(Seat, Instant)>,
    /// Anything else that streams ends with the gateway.
    pub(super) ending: CancellationToken,
}

struct AnswerBody {
    /// `None` once it has ended.
    inner: Option<Body>,
    seat: Option<Seat>,
    end: End,
    is_events: bool,
    id: RequestId,
}

enum End {
    Deadline(Pin<Box<Sleep>>),
    Gateway(Pin<Box<WaitForCancellationFutureOwned>>),
}

/// Keeps the body of `response` within `bounds`.
pub(super) fn bound(response: Response, bounds: Bounds) -> Response {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_events = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let (seat, end) = match bounds.making {
        Some((seat, deadline)) => {
            let sleep = tokio::time::sleep_until(deadline);
            (Some(seat), End::Deadline(Box::pin(sleep)))
        }
        None => (
            None,
            End::Gateway(Box::pin(bounds.ending.cancelled_owned())),
        ),
    };
    response.map(|body| {
        Body::new(AnswerBody {
            inner: Some(body),
            seat,
            end,
            is_events,
            id: bounds.id,
        })
    })
}

/// What a caller is told of a panic: where to look, and nothing of what is inside.
pub(super) fn panicked(panic: &(dyn Any + Send), id: &RequestId) -> ApiError {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(%id, panic = text, "a request met a defect");
    let message = format!("a defect of the gateway; its log has more under request {id}");
    ApiError::new(ErrorCode::InternalError, message)
}

impl AnswerBody {
    fn close(&mut self) {
        self.inner = None;
        self.seat = None;
    }

    /// Ends with an error.
    fn cut(&mut self, error: &ApiError) -> Option<Result<Frame<Bytes>, axum::Error>> {
        self.close();
        Some(if self.is_events {
            let event = format!("data: {}\n\n", error.body());
            Ok(Frame::data(event.into()))
        } else {
            Err(axum::Error::new(io::Error::other(error.to_string())))
        })
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(None);
        };
        let has_come = match &mut this.end {
            End::Deadline(sleep) => sleep.as_mut().poll(cx).is_ready(),
            End::Gateway(ending) => this.is_events && ending.as_mut().poll(cx).is_ready(),
        };
        if has_come {
            let last = match this.end {
                End::Deadline(_) => this.cut(&too_late()),
                End::Gateway(_) => {
                    this.close();
                    None
                }
            };
            return Poll::Ready(last);
        }
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx)));
        let frame = match polled {
            Ok(polled) => ready!(polled),
            Err(panic) => {
                let error = panicked(&*panic, &this.id);
                return Poll::Ready(this.cut(&error));
            }
        };
        if !matches!(frame, Some(Ok(_))) {
            this.close();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
