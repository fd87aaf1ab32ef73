//! `GET /health`, `/ping`: the process runs. `GET /health/ready`: it can serve.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::gateway::Gateway;

pub(crate) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 200 if some model has a server for every block; else 503 with what the first one misses.
pub(crate) async fn ready(State(gateway): State<Gateway>) -> Response {
    let mut models = Vec::new();
    let (mut is_ok, mut is_read) = (false, true);
    for model in gateway.models() {
        let snapshot = model.snapshot();
        is_read &= snapshot.age.is_some();
        let missing: Vec<String> = snapshot
            .missing()
            .iter()
            .map(|run| format!("{}:{}", run.start, run.end))
            .collect();
        if missing.is_empty() {
            is_ok = true;
        } else {
            model.remote().view.refresh_soon();
        }
        models.push(json!({ "id": model.name(), "missing": missing }));
    }
    if is_ok {
        return Json(json!({ "status": "ok", "models": models })).into_response();
    }
    let body = if is_read {
        let missing = models.first().map(|model| model["missing"].clone());
        json!({ "status": "no_route", "missing": missing, "models": models })
    } else {
        json!({ "status": "loading" })
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}
