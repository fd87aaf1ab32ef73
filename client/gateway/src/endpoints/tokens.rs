//! `POST /tokenize`, `/detokenize`, `/apply-template`: text ↔ ids, with the names of both vLLM and llama.cpp.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::completions::aside;
use crate::api_error::ApiError;
use crate::gateway::Gateway;
use crate::request::{Conversation, Fields, JsonBody, PromptInput};

/// `{"prompt" or "content" or "messages", "add_special_tokens"?}` → `{"tokens","count","max_model_len"}`.
pub(crate) async fn tokenize(
    State(gateway): State<Gateway>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = Fields::new(&body);
    let model = gateway.model_or_only(fields.text("model")?)?;
    let max_model_len = model.max_model_len();
    let tokens = if fields.get("messages").is_some() {
        let conversation = Conversation::read(&body)?;
        aside(move || model.chat_prompt(&conversation)).await??.1
    } else {
        let text = fields.text("prompt")?.or(fields.text("content")?);
        let text = text.ok_or_else(|| fields.wrong("prompt", "a string; or give messages"))?;
        let text = text.to_owned();
        let add_special = fields
            .flag("add_special_tokens")?
            .or(fields.flag("add_special")?);
        let add_special = add_special.unwrap_or(true);
        aside(move || {
            let codec = &model.remote().local.tokenizer;
            let ids = if add_special {
                codec.encode(&text)
            } else {
                codec.encode_continuation(&text)
            };
            ids.map_err(|error| ApiError::invalid("prompt", error.to_string()))
        })
        .await??
    };
    Ok(Json(json!({
        "count": tokens.len(),
        "max_model_len": max_model_len,
        "tokens": tokens,
    })))
}

/// `{"tokens"}` → `{"prompt","content"}`, both the text.
pub(crate) async fn detokenize(
    State(gateway): State<Gateway>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let fields = Fields::new(&body);
    let model = gateway.model_or_only(fields.text("model")?)?;
    let tokens = fields.list("tokens")?;
    let ids: Option<Vec<u32>> = tokens.and_then(|tokens| {
        let id = |token: &Value| u32::try_from(token.as_u64()?).ok();
        tokens.iter().map(id).collect()
    });
    let ids = ids.ok_or_else(|| fields.wrong("tokens", "a list of token ids"))?;
    if ids.is_empty() {
        return Ok(Json(json!({ "prompt": "", "content": "" })));
    }
    let (text, _) = aside(move || model.prompt(PromptInput::Ids(ids)))
        .await?
        .map_err(|error| error.about("tokens"))?;
    Ok(Json(json!({ "prompt": text, "content": text })))
}

/// `{"messages"}` → `{"prompt"}`: what the model would go on with.
pub(crate) async fn apply_template(
    State(gateway): State<Gateway>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, ApiError> {
    let model = gateway.model_or_only(Fields::new(&body).text("model")?)?;
    let conversation = Conversation::read(&body)?;
    let (text, _) = aside(move || model.chat_prompt(&conversation)).await??;
    Ok(Json(json!({ "prompt": text })))
}
