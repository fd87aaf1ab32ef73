//! The calls by HTTP.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::record::Execution;
use super::request::ExecutionRequest;
use super::run::{self, Question};
use super::{Executions, process};
use crate::api_error::{ApiError, ErrorCode};
use crate::request::JsonBody;
use crate::terms::Terms;
use crate::who::Who;

pub(super) async fn start(
    State(executions): State<Executions>,
    caller: Who,
    terms: Terms,
    JsonBody(body): JsonBody,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request = ExecutionRequest::read(&body)?;
    let question = Question::prepare(&executions, &caller, request).await?;
    let execution = run::start(&executions, question, terms).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": execution.id }))))
}

pub(super) async fn status(
    State(executions): State<Executions>,
    caller: Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(executions.find(&caller, &id)?.status()))
}

pub(super) async fn cancel(
    State(executions): State<Executions>,
    caller: Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let execution = executions.find(&caller, &id)?;
    let state = execution.cancel();
    Ok(Json(json!({ "id": id, "state": state.name() })))
}

/// Its seat and its time are the door's, as of a chat's.
pub(super) async fn run_prompt(
    State(executions): State<Executions>,
    caller: Who,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let request = ExecutionRequest::read(&body)?;
    let question = Question::prepare(&executions, &caller, request).await?;
    let result = question.whole(&executions.0.gateway).await?;
    Ok(Json(json!({ "result": result })))
}

pub(super) async fn gateway_status(State(executions): State<Executions>) -> Json<Value> {
    let gateway = &executions.0.gateway;
    let snapshots: Vec<_> = gateway
        .models()
        .iter()
        .map(|model| model.snapshot())
        .collect();
    let is_read = snapshots.iter().any(|snapshot| snapshot.age.is_some());
    let state = if !is_read {
        "loading"
    } else if executions.0.store.is_busy() || !gateway.running().all().is_empty() {
        "busy"
    } else {
        "idle"
    };
    let mut covered = snapshots.iter().map(|one| one.missing().is_empty());
    Json(json!({
        "model_loaded": is_read && covered.any(|is_covered| is_covered),
        "cpu_usage": executions.0.usage.cpu_percent(),
        "memory_usage": process::memory_bytes(),
        "state": state,
    }))
}

impl Executions {
    /// # Errors
    /// 404. Whoever may not end one need not learn that it is there.
    pub(super) fn find(&self, caller: &Who, id: &str) -> Result<Arc<Execution>, ApiError> {
        let found = self.0.store.find(id);
        found
            .filter(|execution| caller.may_end(&execution.owner.0))
            .ok_or_else(|| {
                ApiError::new(
                    ErrorCode::NotFound,
                    "there is no such execution: it ended long ago, or never was",
                )
            })
    }
}
