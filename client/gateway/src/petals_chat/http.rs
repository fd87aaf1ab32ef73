//! `POST /api/v1/generate`: one question, one answer, no session.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use block_client::GenerateConfig;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::PetalsChat;
use super::failure::Failure;
use super::request::{self, GenerateRequest};
use crate::answer::{Answer, AnswerPlan, ChoicePlan, Event};
use crate::api_error::ApiError;
use crate::endpoints::completions::aside;
use crate::metrics::record_prompt;
use crate::request::{Fields, PromptInput};
use crate::who::Who;

pub(super) async fn generate(
    State(chat): State<PetalsChat>,
    caller: Who,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Failure> {
    let outputs = answer(&chat, &caller, &headers, &body).await?;
    Ok(Json(json!({ "ok": true, "outputs": outputs })))
}

async fn answer(
    chat: &PetalsChat,
    caller: &Who,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<String, ApiError> {
    let arrived = Instant::now();
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    let is_json = kind.is_some_and(|kind| kind.starts_with(b"application/json"));
    let body = if is_json {
        request::object(&String::from_utf8_lossy(body))?
    } else {
        request::form(body)
    };
    let fields = Fields::new(&body);
    let gateway = &chat.0.gateway;
    let model = gateway.model(&request::model(&fields)?)?;
    caller.may_use(model.name())?;
    let request = GenerateRequest::read(&fields)?;
    let Some(inputs) = request.inputs.clone() else {
        return Err(fields.wrong("inputs", "a string"));
    };
    let (model, prompt) = aside(move || {
        let prompt = model.prompt(PromptInput::Text(inputs));
        (model, prompt)
    })
    .await?;
    let (_, prompt) = prompt.map_err(|error| error.about("inputs"))?;
    let tokens = request.tokens(prompt.len(), model.max_model_len())?;
    let tokens = model.max_tokens(("inputs", prompt.len()), Some(tokens))?;
    record_prompt(model.name(), prompt.len());
    let plan = AnswerPlan {
        id: format!("petals-{}", Uuid::new_v4().simple()),
        caller: caller.name(),
        prompt_tokens: prompt.len(),
        choices: vec![ChoicePlan {
            choice: 0,
            prompt,
            echo: None,
            config: GenerateConfig {
                sampling: model.sampling(&request.sampling(&model), 0),
                ..GenerateConfig::new(tokens)
            },
            route: None,
            allowed: None,
            arrived,
            keep: None,
        }],
        model,
    };
    let mut answer = Answer::begin(gateway, plan)?;
    let mut outputs = String::new();
    while let Some(event) = answer.next().await {
        match event? {
            Event::Pieces(pieces) => outputs.extend(pieces.into_iter().map(|piece| piece.text)),
            Event::Ended(_) => {}
            Event::Failed(error) => return Err(error),
        }
    }
    Ok(outputs)
}
