//! The admin port: metrics, health, status over HTTP.
//!
//! | path            | answer                                                    |
//! |-----------------|-----------------------------------------------------------|
//! | `/metrics`      | Prometheus text                                           |
//! | `/health`       | 200 while the compute thread lives, else 503              |
//! | `/health/ready` | 200 once loaded, joined and announced; 503 names the rest |
//! | `/status`       | JSON, see [`StatusReport`](crate::StatusReport)           |
//!
//! With a token, `/metrics` and `/status` ask for `Authorization: Bearer TOKEN`;
//! the health paths stay open for probes. Owner: the run loop, which ends it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use block_program::{
    Exit, Exporter, Failure, Secret,
    http_port::{HttpPort, guarded, metrics_routes},
};
use serde_json::json;

use crate::config::Admin;
use crate::status_board::StatusBoard;

/// Starts the port; `None` if it is off.
///
/// # Errors
/// The address cannot be bound (exit 71).
pub(crate) async fn start(
    admin: &Admin,
    exporter: Exporter,
    board: Arc<StatusBoard>,
) -> Result<Option<HttpPort>, Failure> {
    let Some(listen) = admin.listen else {
        return Ok(None);
    };
    let cannot = |error: &std::io::Error| {
        Failure::new(
            Exit::OsError,
            format!("cannot listen on {listen} for the admin port"),
        )
        .caused_by(error)
        .hint("--admin-listen 127.0.0.1:0 takes a free port, --admin-listen off does without")
    };
    let router = router(exporter.clone(), board, admin.token.clone());
    HttpPort::start(listen, router, exporter)
        .await
        .map(Some)
        .map_err(|error| cannot(&error))
}

fn router(exporter: Exporter, board: Arc<StatusBoard>, token: Option<Secret>) -> Router {
    let routes =
        metrics_routes(exporter).route("/status", get(status).with_state(Arc::clone(&board)));
    let open = Router::new()
        .route("/health", get(health))
        .route("/health/ready", get(ready))
        .with_state(board);
    guarded(routes, token).merge(open)
}

async fn status(State(board): State<Arc<StatusBoard>>) -> Response {
    Json(board.report()).into_response()
}

async fn health(State(board): State<Arc<StatusBoard>>) -> Response {
    if board.is_healthy() {
        Json(json!({ "status": "ok" })).into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({ "status": "compute thread ended" })),
        )
            .into_response()
    }
}

async fn ready(State(board): State<Arc<StatusBoard>>) -> Response {
    let missing = board.missing();
    let code = if missing.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        code,
        Json(json!({ "ready": missing.is_empty(), "missing": missing })),
    )
        .into_response()
}

#[cfg(test)]
mod tests;
