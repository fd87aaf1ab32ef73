//! Requests as they come: JSON whose every field is read with an error that names it.
//!
//! - `json_body`, `fields`: from a body to values
//! - `answer`: what chat and text completion have in common
//! - `chat`, `messages`, `response_format`: `/v1/chat/completions`; `text`: `/v1/completions`

mod answer;
mod chat;
mod fields;
mod json_body;
mod messages;
mod response_format;
mod text;

pub(crate) use answer::{AnswerOptions, StreamOptions};
#[cfg(test)]
pub(crate) use chat::chat_fields;
pub(crate) use chat::{ChatRequest, Conversation};
pub(crate) use fields::Fields;
pub(crate) use json_body::{JsonBody, MAX_BODY_BYTES};
#[cfg(test)]
pub(crate) use text::text_fields;
pub(crate) use text::{PromptInput, TextRequest};

/// The model that a request names.
///
/// # Errors
/// It names none.
fn model(fields: &Fields<'_>) -> Result<String, crate::ApiError> {
    let model = fields.text("model")?;
    model
        .map(str::to_owned)
        .ok_or_else(|| fields.wrong("model", "the name of a model"))
}

/// Notes fields that nobody reads: some tools send them, so that is no error. Their values may be private.
fn note_unknown(fields: &Fields<'_>, known: &[&str]) {
    let unknown = fields.names().filter(|name| !known.contains(name)).count();
    if unknown > 0 {
        tracing::debug!(unknown, "fields of a request were not read");
    }
}
