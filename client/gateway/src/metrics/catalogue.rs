//! The table of metrics: one line each.

use block_client::metrics::{Kind, Metric, buckets_of, describe};

use super::generation::{Outcome, STATES};

/// Bounds for HTTP requests, seconds.
const HTTP: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// Bounds for first tokens and waits, seconds.
const FIRST: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0,
];
/// Bounds for times between tokens over a wide-area network, seconds.
const STEP: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Bounds for whole generations, seconds.
const LONG: &[f64] = &[
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
];
/// Bounds for numbers of tokens.
const TOKENS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0,
];

const MODEL: (&str, &[&str]) = ("model", &[]);
const ROUTE: (&str, &[&str]) = ("route", &[]);
const METHOD: (&str, &[&str]) = ("method", &[]);
const REASONS: &[&str] = &[
    "auth",
    "rate_limit",
    "queue_full",
    "too_long",
    "body_too_large",
    "bad_request",
    "no_route",
];

/// No values of a label: an open set, such as the models'; such series come with what they count.
const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [(&'static str, &'static [&'static str])],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        help,
        labels,
        zeroed: false,
    }
}

/// With series that exist from the start.
const fn zeroed(metric: Metric) -> Metric {
    Metric {
        zeroed: true,
        ..metric
    }
}

/// Every metric that this crate records.
#[rustfmt::skip]
pub const CATALOGUE: &[Metric] = &[
    metric("block_gateway_http_requests_total", Kind::Counter, &[ROUTE, METHOD, ("code", &[])], "HTTP requests finished."),
    metric("block_gateway_http_request_duration_seconds", Kind::Histogram(HTTP), &[ROUTE, METHOD], "Time to the last byte."),
    zeroed(metric("block_gateway_http_requests_in_flight", Kind::Gauge, &[], "HTTP requests open now.")),
    metric("block_gateway_time_to_first_token_seconds", Kind::Histogram(FIRST), &[MODEL], "Arrival to first streamed token."),
    metric("block_gateway_inter_token_latency_seconds", Kind::Histogram(STEP), &[MODEL], "Gap between output tokens."),
    metric("block_gateway_generation_duration_seconds", Kind::Histogram(LONG), &[MODEL], "Arrival to end of generation."),
    metric("block_gateway_queue_wait_seconds", Kind::Histogram(FIRST), &[MODEL], "Wait before a generation got a slot."),
    metric("block_gateway_prompt_tokens_total", Kind::Counter, &[MODEL], "Prompt tokens processed."),
    metric("block_gateway_generated_tokens_total", Kind::Counter, &[MODEL], "Tokens generated."),
    metric("block_gateway_request_prompt_tokens", Kind::Histogram(TOKENS), &[MODEL], "Prompt length per request."),
    metric("block_gateway_request_generated_tokens", Kind::Histogram(TOKENS), &[MODEL], "Output length per request."),
    metric("block_gateway_generations_total", Kind::Counter, &[MODEL, ("finish_reason", Outcome::TEXTS)], "Generations ended."),
    metric("block_gateway_generations", Kind::Gauge, &[MODEL, ("state", STATES)], "Generations now."),
    zeroed(metric("block_gateway_sessions_kept", Kind::Gauge, &[], "Sessions kept for the next turn of their conversation.")),
    zeroed(metric("block_gateway_session_reuse_total", Kind::Counter, &[("outcome", &["hit", "miss"])], "Chats that looked for a kept session.")),
    metric("block_gateway_cached_prompt_tokens_total", Kind::Counter, &[MODEL], "Prompt tokens that a kept session held already."),
    zeroed(metric("block_gateway_rejected_total", Kind::Counter, &[("reason", REASONS)], "Requests refused before generation.")),
];

/// Describes every metric to the installed recorder and creates the series of closed label sets at zero.
pub fn describe_all() {
    describe(CATALOGUE);
}

/// Bucket bounds by metric name, for the exporter: without them a histogram would be exported as a summary.
pub fn histogram_buckets() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    buckets_of(CATALOGUE)
}
