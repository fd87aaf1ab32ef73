//! `GET /v1/sessions`, `DELETE /v1/sessions/{id}`, `POST /v1/cancel/{id}`: the answers under way, and their end. The
//! session that waits for what follows an answer is known by its id, too.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::api_error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::running::RunningAnswer;
use crate::who::Who;

pub(crate) async fn list(State(gateway): State<Gateway>) -> Json<Value> {
    let data = gateway.running().all();
    let data: Vec<_> = data.iter().map(|answer| object(answer)).collect();
    Json(json!({ "object": "list", "data": data }))
}

/// Ends an answer: its reader gets an error object, and its sessions are closed.
pub(crate) async fn cancel(
    State(gateway): State<Gateway>,
    caller: Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let answer = gateway.running().find(&id);
    // Whoever may not end it need not learn that it is there.
    let Some(answer) = answer.filter(|answer| caller.may_end(&answer.caller)) else {
        if gateway.kept().end(&id, |owner| caller.may_end(owner)) {
            return Ok(Json(json!({ "id": id, "cancelled": true })));
        }
        return Err(ApiError::new(
            ErrorCode::NotFound,
            "there is no such answer under way: it has ended, or never was",
        ));
    };
    answer.cancel(ApiError::new(
        ErrorCode::Cancelled,
        "the answer was cancelled by request",
    ));
    // It may have ended just now, with somebody slow still reading.
    gateway.kept().end(&id, |owner| caller.may_end(owner));
    Ok(Json(json!({ "id": id, "cancelled": true })))
}

fn object(answer: &RunningAnswer) -> Value {
    let choices = answer.progress();
    let tokens: usize = choices.iter().map(|choice| choice.tokens).sum();
    let route = choices.iter().find(|choice| !choice.route.is_empty());
    let hops = route.into_iter().flat_map(|choice| &choice.route);
    let hops = hops.map(|stop| {
        json!({
            "peer": stop.peer.to_string(),
            "blocks": format!("{}:{}", stop.blocks.start, stop.blocks.end),
        })
    });
    json!({
        "id": answer.id,
        "caller": &*answer.caller,
        "model": answer.model,
        "state": answer.stage().name(),
        "age_seconds": answer.began.elapsed().as_millis() as f64 / 1e3,
        "choices": choices.len(),
        "prompt_tokens": answer.prompt_tokens,
        "tokens": tokens,
        "hops": hops.collect::<Vec<_>>(),
    })
}
