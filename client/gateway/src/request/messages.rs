//! The messages of a conversation.

use block_client::{ChatMessage, MessageContent, TemplateValue};
use serde_json::Value;

use super::fields::Fields;
use crate::api_error::ApiError;

/// Reads `messages`.
///
/// # Errors
/// The first that cannot be used; its place is in the error.
pub(super) fn read(fields: &Fields<'_>) -> Result<Vec<ChatMessage>, ApiError> {
    let messages = fields.list("messages")?;
    let messages = messages.ok_or_else(|| fields.wrong("messages", "a list of messages"))?;
    if messages.is_empty() || messages.len() > MAX_MESSAGES {
        let expected = format!("a list of 1 to {MAX_MESSAGES} messages");
        return Err(fields.wrong("messages", &expected));
    }
    let numbered = messages.iter().enumerate();
    numbered
        .map(|(number, message)| one(&format!("messages[{number}]"), message))
        .collect()
}

fn one(path: &str, message: &Value) -> Result<ChatMessage, ApiError> {
    let Value::Object(map) = message else {
        return Err(ApiError::invalid(path, format!("{path} must be an object")));
    };
    let path = format!("{path}.");
    let fields = Fields::inside(map, &path);
    let role = match fields.text("role")? {
        // A newer name for the same.
        Some("developer") => "system",
        Some(role @ ("system" | "user" | "assistant" | "tool")) => role,
        _ => {
            return Err(fields.wrong("role", "system, developer, user, assistant or tool"));
        }
    };
    for field in ["tool_calls", "function_call", "audio"] {
        if fields.get(field).is_some() {
            return Err(fields.refused(field, "this gateway does not call tools or speak"));
        }
    }
    let content = content(&fields)?;
    if content.is_none() && role != "assistant" {
        return Err(fields.wrong("content", "a string or a list of text parts"));
    }
    let mut message = ChatMessage {
        role: role.to_owned(),
        content: content.map(MessageContent::Text),
        name: fields.text("name")?.map(str::to_owned),
        ..ChatMessage::default()
    };
    for field in ["tool_call_id", "reasoning_content", "refusal"] {
        if let Some(text) = fields.text(field)? {
            message
                .more
                .insert(field.to_owned(), TemplateValue::from(text));
        }
    }
    Ok(message)
}

/// Parts become one text, as lines: most templates know strings only.
fn content(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let parts = match fields.get("content") {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.clone())),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(fields.wrong("content", "a string or a list of text parts")),
    };
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        let text = match part.get("type").and_then(Value::as_str) {
            Some("text" | "refusal") => part.get("text").or_else(|| part.get("refusal")),
            _ => return Err(fields.refused("content", "parts of type \"text\" only")),
        };
        match text.and_then(Value::as_str) {
            Some(text) => texts.push(text),
            None => return Err(fields.refused("content", "a text part needs a string \"text\"")),
        }
    }
    Ok(Some(texts.join("\n")))
}

/// Messages of one request: a conversation of more turns is longer than contexts are.
const MAX_MESSAGES: usize = 256;
