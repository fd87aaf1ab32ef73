//! The outermost step: every request gets a name, every answer the headers that browsers obey, and a line in the log.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::Instrument;

use super::paths::{Access, access};
use super::request_id::RequestId;
use super::{Caller, Door, answer_body};

/// Names a request, refuses foreign hosts and pages, and answers for panics behind it.
pub(super) async fn pass(State(door): State<Door>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (mut parts, body) = request.into_parts();
    let id = RequestId::of(&parts.headers);
    parts.extensions.insert(id.clone());
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let span = tracing::info_span!("request", %id);
    let mut response = match door.0.origins.check(&parts) {
        Err(refusal) => refusal.into_response(),
        Ok(()) => {
            let answer = next.run(Request::from_parts(parts, body));
            let answer = AssertUnwindSafe(answer.instrument(span.clone()));
            answer
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| answer_body::panicked(&*panic, &id).into_response())
        }
    };
    let caller = response.extensions_mut().remove::<Caller>();
    let caller = caller.as_ref().map_or("nobody", Caller::name);
    span.in_scope(|| {
        tracing::info!(
            %method, path = path.as_str(), status = response.status().as_u16(), caller,
            seconds = began.elapsed().as_secs_f64(), "answered"
        );
    });
    dress(&mut response, &id, access(&path));
    response
}

fn dress(response: &mut Response, id: &RequestId, access: Access) {
    let headers = response.headers_mut();
    id.write(headers);
    for (name, value) in SECURITY {
        let value = HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    }
    if access != Access::Open {
        let value = HeaderValue::from_static("no-store");
        headers.entry(CACHE_CONTROL).or_insert(value);
    }
}

/// What a browser may do with answers that say nothing themselves: show them as what they are, nothing else.
const SECURITY: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
];
