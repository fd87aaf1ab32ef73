//! `GET /v1/models` and `GET /v1/models/{id}`.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::api_error::ApiError;
use crate::gateway::Gateway;
use crate::served_model::ServedModel;

pub(crate) async fn list(State(gateway): State<Gateway>) -> Json<Value> {
    let data = gateway.models().iter().map(|model| object(&gateway, model));
    Json(json!({ "object": "list", "data": data.collect::<Vec<_>>() }))
}

pub(crate) async fn one(
    State(gateway): State<Gateway>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let model = gateway.model(&id)?;
    Ok(Json(object(&gateway, &model)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole seconds since 1970"
)]
fn object(gateway: &Gateway, model: &ServedModel) -> Value {
    let snapshot = model.snapshot();
    let usable = snapshot.servers.iter().filter(|server| server.is_usable());
    json!({
        "id": model.name(),
        "object": "model",
        "created": gateway.started_at() as u64,
        "owned_by": "swarm",
        "swarm": {
            "blocks": snapshot.num_blocks,
            "covered": snapshot.covered(),
            "servers": usable.count(),
            "max_model_len": model.max_model_len(),
            "chat": model.chat().name(),
            "source": model.source(),
        },
    })
}
