//! What is asked of an execution.

use block_client::SamplingOverrides;
use serde_json::{Map, Value};

use super::policy::Policy;
use crate::api_error::ApiError;
use crate::request::Fields;

/// A prompt to execute.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExecutionRequest {
    pub(super) model: Option<String>,
    pub(super) prompt: String,
    pub(super) policy: Policy,
    pub(super) max_tokens: Option<usize>,
    pub(super) sampling: SamplingOverrides,
}

impl ExecutionRequest {
    /// Reads it. Fields that nobody knows are not read.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub(super) fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let fields = Fields::new(body);
        let prompt = fields
            .text("prompt")?
            .ok_or_else(|| fields.wrong("prompt", "a string"))?;
        Ok(Self {
            model: fields.text("model")?.map(str::to_owned),
            prompt: prompt.to_owned(),
            policy: Policy::read(&fields)?,
            max_tokens: fields.whole("max_tokens", 1..=usize::MAX)?,
            sampling: SamplingOverrides {
                temperature: fields.number("temperature", 0.0..=2.0)?,
                seed: fields.integer("seed")?.map(i64::cast_unsigned),
                ..SamplingOverrides::default()
            },
        })
    }
}

/// Fields that are read.
#[cfg(test)]
pub(crate) const EXECUTION_FIELDS: &[&str] = &[
    "prompt",
    "policy",
    "model",
    "max_tokens",
    "temperature",
    "seed",
];
