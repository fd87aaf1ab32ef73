//! Every metric of the gateway: names, helps, labels and buckets in [`CATALOGUE`], and one typed function per event.
//! Nothing else in this crate names a metric.
//!
//! Rules: base units in the name, `_total` on counters, closed label sets but for the model's name, no prompt and no
//! caller in a label. A program that exports metrics installs a recorder, sets its buckets by [`histogram_buckets`] and
//! calls [`describe_all`]; without a recorder all of this does nothing.

mod catalogue;
mod generation;

use std::time::Duration;

use metrics::{SharedString, counter, gauge, histogram};

pub use block_client::metrics::{Kind, Metric};
pub use catalogue::{CATALOGUE, describe_all, histogram_buckets};
pub(crate) use generation::{GenerationRecord, Outcome};

use crate::api_error::ErrorCode;

/// An HTTP request, counted as open while this lives.
#[derive(Debug)]
pub(crate) struct OpenRequest(());

impl OpenRequest {
    pub(crate) fn begin() -> Self {
        gauge!("block_gateway_http_requests_in_flight").increment(1.0);
        Self(())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        gauge!("block_gateway_http_requests_in_flight").decrement(1.0);
    }
}

/// Counts a request whose answer has been sent, or given up. `route` and `method` are of closed sets.
pub(crate) fn record_http(
    (route, method): (SharedString, &'static str),
    code: u16,
    took: Duration,
) {
    counter!(
        "block_gateway_http_requests_total",
        "route" => route.clone(), "method" => method, "code" => code.to_string()
    )
    .increment(1);
    histogram!(
        "block_gateway_http_request_duration_seconds", "route" => route, "method" => method
    )
    .record(took.as_secs_f64());
}

/// Counts a request that was refused before any session was opened for it. Errors that are no refusals count nothing.
pub fn record_rejected(code: ErrorCode) {
    let reason = match code {
        ErrorCode::InvalidApiKey
        | ErrorCode::NotAllowed
        | ErrorCode::PolicyForbidsNetwork
        | ErrorCode::HostNotAllowed => "auth",
        ErrorCode::RateLimitExceeded => "rate_limit",
        ErrorCode::QueueFull => "queue_full",
        ErrorCode::ContextLengthExceeded => "too_long",
        ErrorCode::BodyTooLarge => "body_too_large",
        ErrorCode::InvalidValue | ErrorCode::ModelNotFound => "bad_request",
        ErrorCode::NoRoute => "no_route",
        ErrorCode::UnknownUrl
        | ErrorCode::NotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::SwarmOverloaded
        | ErrorCode::RouteLost
        | ErrorCode::Timeout
        | ErrorCode::Cancelled
        | ErrorCode::InternalError => return,
    };
    counter!("block_gateway_rejected_total", "reason" => reason).increment(1);
}

/// Counts the prompt of a request, which may be several.
pub(crate) fn record_prompt(model: &str, tokens: usize) {
    let model = model.to_owned();
    counter!("block_gateway_prompt_tokens_total", "model" => model.clone())
        .increment(tokens as u64);
    histogram!("block_gateway_request_prompt_tokens", "model" => model).record(tokens as f64);
}

/// A session that waits for the next turn of its conversation, counted while this lives.
#[derive(Debug)]
pub(crate) struct KeptSession(());

impl KeptSession {
    pub(crate) fn begin() -> Self {
        gauge!("block_gateway_sessions_kept").increment(1.0);
        Self(())
    }
}

impl Drop for KeptSession {
    fn drop(&mut self) {
        gauge!("block_gateway_sessions_kept").decrement(1.0);
    }
}

/// Counts a chat that looked for a session that waits, and how many tokens of its prompt the one that answered had
/// `cached`; `None`: it needed a new one.
pub(crate) fn record_reuse(model: &str, cached: Option<usize>) {
    let outcome = if cached.is_some() { "hit" } else { "miss" };
    counter!("block_gateway_session_reuse_total", "outcome" => outcome).increment(1);
    counter!("block_gateway_cached_prompt_tokens_total", "model" => model.to_owned())
        .increment(cached.unwrap_or(0) as u64);
}

/// Observes how long a request waited for its turn.
pub fn record_queue_wait(model: &str, waited: Duration) {
    histogram!("block_gateway_queue_wait_seconds", "model" => model.to_owned())
        .record(waited.as_secs_f64());
}
