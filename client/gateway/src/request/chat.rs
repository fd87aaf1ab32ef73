//! `POST /v1/chat/completions`, as it is asked.

use std::collections::BTreeMap;

use block_client::{ChatMessage, TemplateValue};
use serde_json::{Map, Value};

use super::answer::{ANSWER_FIELDS, AnswerOptions};
use super::fields::Fields;
use super::response_format::ResponseFormat;
use super::{messages, note_unknown};
use crate::api_error::ApiError;

/// A conversation, and how it becomes a prompt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<ChatMessage>,
    /// End with what an answer begins with.
    pub(crate) add_generation_prompt: bool,
    /// End within the last message.
    pub(crate) continue_final_message: bool,
    /// Variables of the chat template.
    pub(crate) variables: BTreeMap<String, TemplateValue>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChatRequest {
    pub(crate) model: String,
    pub(crate) conversation: Conversation,
    pub(crate) answer: AnswerOptions,
    /// How many likely tokens to tell with each one; `None`: no logarithms at all.
    pub(crate) logprobs: Option<usize>,
    /// What the answer must look like.
    pub(crate) format: ResponseFormat,
}

/// Fields that are read, taken or refused.
pub(crate) fn chat_fields() -> impl Iterator<Item = &'static str> {
    CHAT_FIELDS.iter().chain(ANSWER_FIELDS).copied()
}

const CHAT_FIELDS: &[&str] = &[
    "model",
    "messages",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
    "max_completion_tokens",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
];

impl Conversation {
    /// One message of a user.
    pub(crate) fn of_prompt(prompt: String) -> Self {
        Self {
            messages: vec![ChatMessage::new("user", prompt)],
            add_generation_prompt: true,
            continue_final_message: false,
            variables: BTreeMap::new(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(crate) fn read(map: &Map<String, Value>) -> Result<Self, ApiError> {
        let fields = Fields::new(map);
        let continue_final_message = fields.flag("continue_final_message")?.unwrap_or(false);
        let add_generation_prompt = fields
            .flag("add_generation_prompt")?
            .unwrap_or(!continue_final_message);
        if continue_final_message && add_generation_prompt {
            return Err(fields.refused(
                "continue_final_message",
                "goes on with the last message, add_generation_prompt begins another: ask for one of them",
            ));
        }
        let variables = fields.object("chat_template_kwargs")?;
        let variables = variables.into_iter().flatten();
        Ok(Self {
            messages: messages::read(&fields)?,
            add_generation_prompt,
            continue_final_message,
            variables: variables
                .map(|(name, value)| (name.clone(), TemplateValue::new(value)))
                .collect(),
        })
    }
}

impl ChatRequest {
    /// Reads it.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(crate) fn read(map: &Map<String, Value>) -> Result<Self, ApiError> {
        let fields = Fields::new(map);
        refuse_unsupported(&fields)?;
        let known: Vec<_> = chat_fields().collect();
        note_unknown(&fields, &known);
        let model = super::model(&fields)?;
        let mut answer = AnswerOptions::read(&fields, 1)?;
        let newer = fields.whole("max_completion_tokens", 1..=usize::MAX)?;
        answer.max_tokens = newer.or(answer.max_tokens);
        Ok(Self {
            model,
            conversation: Conversation::read(map)?,
            answer,
            logprobs: logprobs(&fields)?,
            format: ResponseFormat::read(&fields)?,
        })
    }
}

fn logprobs(fields: &Fields<'_>) -> Result<Option<usize>, ApiError> {
    let is_on = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.whole("top_logprobs", 0..=MAX_TOP_LOGPROBS)?;
    if top.is_some_and(|top| top > 0) && !is_on {
        return Err(fields.refused("top_logprobs", "only together with \"logprobs\": true"));
    }
    Ok(is_on.then_some(top.unwrap_or(0)))
}

/// What would change the answer, and cannot be done.
fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), ApiError> {
    let is_off = |name| fields.get(name).is_some_and(|value| value == "none");
    for (list, choice) in [("tools", "tool_choice"), ("functions", "function_call")] {
        if fields.list(list)?.is_some_and(|list| !list.is_empty()) && !is_off(choice) {
            return Err(fields.refused(list, "this gateway does not call tools; leave them out"));
        }
        let is_free = |value: &Value| value == "none" || value == "auto";
        if fields.get(choice).is_some_and(|value| !is_free(value)) {
            return Err(fields.refused(choice, "this gateway does not call tools"));
        }
    }
    let is_text = |value: &Value| value.as_str() == Some("text");
    if let Some(modalities) = fields.list("modalities")?
        && !modalities.iter().all(is_text)
    {
        return Err(fields.refused("modalities", "this gateway answers in text only"));
    }
    for name in ["audio", "prediction", "web_search_options"] {
        if fields.get(name).is_some() {
            return Err(fields.refused(name, "this gateway cannot do that; leave it out"));
        }
    }
    Ok(())
}

/// OpenAI's limit.
const MAX_TOP_LOGPROBS: usize = 20;
