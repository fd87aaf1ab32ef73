//! `POST /v1/completions`, as it is asked.

use serde_json::{Map, Value};

use super::answer::{ANSWER_FIELDS, AnswerOptions};
use super::fields::Fields;
use super::note_unknown;
use crate::api_error::ApiError;

/// A prompt to complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PromptInput {
    Text(String),
    Ids(Vec<u32>),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TextRequest {
    pub(crate) model: String,
    pub(crate) prompts: Vec<PromptInput>,
    /// Whether the answer begins with the prompt.
    pub(crate) echo: bool,
    pub(crate) answer: AnswerOptions,
    /// How many likely tokens to tell with each one; `None`: no logarithms at all.
    pub(crate) logprobs: Option<usize>,
}

/// Fields that are read, taken or refused.
pub(crate) fn text_fields() -> impl Iterator<Item = &'static str> {
    TEXT_FIELDS.iter().chain(ANSWER_FIELDS).copied()
}

const TEXT_FIELDS: &[&str] = &["model", "prompt", "echo", "logprobs", "best_of", "suffix"];

impl TextRequest {
    /// Reads it.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(crate) fn read(map: &Map<String, Value>) -> Result<Self, ApiError> {
        let fields = Fields::new(map);
        let known: Vec<_> = text_fields().collect();
        note_unknown(&fields, &known);
        let model = super::model(&fields)?;
        let echo = fields.flag("echo")?.unwrap_or(false);
        let mut answer = AnswerOptions::read(&fields, usize::from(!echo))?;
        answer.max_tokens.get_or_insert(DEFAULT_MAX_TOKENS);
        if fields
            .whole("best_of", 1..=usize::MAX)?
            .is_some_and(|best| best > answer.choices)
        {
            return Err(fields.refused("best_of", "this gateway returns every answer it makes"));
        }
        if fields
            .text("suffix")?
            .is_some_and(|suffix| !suffix.is_empty())
        {
            return Err(fields.refused("suffix", "this gateway cannot fill in the middle"));
        }
        let prompts = prompts(&fields)?;
        if prompts.len() * answer.choices > MAX_ANSWERS {
            let why = format!("prompts times n may be {MAX_ANSWERS} at most");
            return Err(fields.refused("prompt", &why));
        }
        Ok(Self {
            model,
            prompts,
            echo,
            answer,
            logprobs: fields.whole("logprobs", 0..=MAX_LOGPROBS)?,
        })
    }
}

/// A string, a list of strings, ids, or a list of lists of ids.
fn prompts(fields: &Fields<'_>) -> Result<Vec<PromptInput>, ApiError> {
    let wrong = || {
        fields.wrong(
            "prompt",
            "a string, a list of strings, token ids, or a list of lists of token ids",
        )
    };
    match fields.get("prompt") {
        Some(Value::String(text)) => Ok(vec![PromptInput::Text(text.clone())]),
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            Ok(vec![PromptInput::Ids(ids(items).ok_or_else(wrong)?)])
        }
        Some(Value::Array(items)) if !items.is_empty() => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Some(PromptInput::Text(text.clone())),
                Value::Array(items) => ids(items).map(PromptInput::Ids),
                _ => None,
            })
            .collect::<Option<_>>()
            .ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

fn ids(items: &[Value]) -> Option<Vec<u32>> {
    let id = |item: &Value| u32::try_from(item.as_u64()?).ok();
    items.iter().map(id).collect()
}

/// OpenAI's default for this endpoint.
const DEFAULT_MAX_TOKENS: usize = 16;
/// OpenAI's limit for this endpoint.
const MAX_LOGPROBS: usize = 5;
/// Answers of one request, each a session of its own.
const MAX_ANSWERS: usize = 16;
