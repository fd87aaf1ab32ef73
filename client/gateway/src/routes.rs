//! Which path does what.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::api_error::{ApiError, ErrorCode};
use crate::endpoints::{about, completions, health, models, sessions, tokens};
use crate::gateway::Gateway;
use crate::request::MAX_BODY_BYTES;
use crate::track::{panicked, track};

/// The gateway as a router: whoever serves it puts keys and limits around it.
///
/// | path                                                   | answer                                     |
/// |--------------------------------------------------------|--------------------------------------------|
/// | `POST /v1/chat/completions`, `/v1/completions`         | OpenAI's, whole or as a stream             |
/// | `GET /v1/models`, `/v1/models/{id}`                    | the models; an id may have slashes         |
/// | `GET /v1/sessions`, `DELETE /v1/sessions/{id}`         | the answers under way; the end of one      |
/// | `POST /v1/cancel/{id}`                                 | the end of one, for whom it belongs to     |
/// | `POST /tokenize`, `/detokenize`, `/apply-template`     | text ↔ ids                                 |
/// | `GET /health`, `/ping`, `/health/ready`                | whether it runs, and whether it can serve  |
/// | `GET /info`, `/openapi.json`                           | what it is                                 |
///
/// Everything else is an error object, too.
pub fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(completions::chat))
        .route("/v1/completions", post(completions::text))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/sessions", get(sessions::list))
        .route("/v1/sessions/{id}", delete(sessions::cancel))
        .route("/v1/cancel/{id}", post(sessions::cancel))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/health", get(health::alive))
        .route("/ping", get(health::alive))
        .route("/health/ready", get(health::ready))
        .route("/info", get(about::info))
        .route("/openapi.json", get(about::openapi))
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn(track))
        .with_state(gateway)
}

async fn unknown() -> ApiError {
    ApiError::new(
        ErrorCode::UnknownUrl,
        "this gateway has no such path; /openapi.json lists what it has",
    )
}

async fn other_method(request: Request) -> Response {
    // A question that every path answers; the header `allow` has the methods.
    if request.method() == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    ApiError::new(
        ErrorCode::MethodNotAllowed,
        "this path has no such method; the header allow names those that it has",
    )
    .into_response()
}
