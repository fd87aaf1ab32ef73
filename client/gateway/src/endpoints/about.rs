//! `GET /info`: what this gateway is. `GET /openapi.json`: its calls, for programs.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::request::MAX_BODY_BYTES;

pub(crate) async fn info(State(gateway): State<Gateway>) -> Json<Value> {
    let models = gateway.models().iter().map(|model| {
        json!({
            "id": model.name(),
            "revision": model.revision(),
            "dht_prefix": model.remote().view.dht_prefix(),
            "blocks": model.remote().view.num_blocks(),
            "max_model_len": model.max_model_len(),
            "max_tokens_cap": model.max_tokens_cap(),
            "chat": model.chat().name(),
        })
    });
    Json(json!({
        "name": "block-gateway",
        "version": env!("CARGO_PKG_VERSION"),
        "models": models.collect::<Vec<_>>(),
        "limits": { "body_bytes": MAX_BODY_BYTES },
    }))
}

pub(crate) async fn openapi() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, OPENAPI).into_response()
}

/// Kept by hand; a test compares it with the routes and with the fields that are read.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");
