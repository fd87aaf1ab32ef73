//! Counts every request until its last byte is sent, and turns a panic into an error.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use metrics::SharedString;
use tokio::time::Instant;

use crate::api_error::{ApiError, ErrorCode};
use crate::metrics::{OpenRequest, record_http, record_rejected};

/// Middleware: counts a request, once however many of these it passes.
pub(crate) async fn track(mut request: Request, next: Next) -> Response {
    if request.extensions_mut().insert(Tracked).is_some() {
        return next.run(request).await;
    }
    let began = Instant::now();
    let open = OpenRequest::begin();
    // Paths that nobody serves are one: callers choose them.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or(SharedString::const_str("other"), |path| {
            SharedString::from_owned(path.as_str().to_owned())
        });
    let method = method_name(request.method());
    let mut pending = Pending {
        place: (route, method),
        // Should the caller go away before there is a head, as nginx calls it.
        code: 499,
        began,
        _open: open,
    };
    let response = next.run(request).await;
    pending.code = response.status().as_u16();
    if let Some(RejectedBy(code)) = response.extensions().get() {
        record_rejected(*code);
    }
    response.map(|body| {
        Body::new(TrackedBody {
            body,
            _pending: pending,
        })
    })
}

/// In the extensions of a request that is counted already.
#[derive(Debug, Clone, Copy)]
struct Tracked;

/// In the extensions of an answer that is nothing but this error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RejectedBy(pub(crate) ErrorCode);

/// What a panic becomes: the log has its place, the caller no internals.
pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a request handler panicked");
    ApiError::new(
        ErrorCode::InternalError,
        "a defect of this gateway; its log says more",
    )
    .into_response()
}

/// Counts the request when it is dropped.
struct Pending {
    place: (SharedString, &'static str),
    code: u16,
    began: Instant,
    _open: OpenRequest,
}

impl Drop for Pending {
    fn drop(&mut self) {
        record_http(self.place.clone(), self.code, self.began.elapsed());
    }
}

/// A body that is counted when it ends or is dropped.
struct TrackedBody {
    body: Body,
    _pending: Pending,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(context)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Methods are a closed set here: callers may invent others.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
