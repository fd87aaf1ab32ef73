//! What a template is given.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::clock::LocalTime;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user`, `assistant`, `tool` or what the template knows.
    pub role: String,
    /// What is said; `None` where there is only a call of tools.
    #[serde(default)]
    pub content: Option<MessageContent>,
    /// Who speaks, by name.
    #[serde(default)]
    pub name: Option<String>,
    /// Tools that the assistant calls, as the template wants them.
    #[serde(default)]
    pub tool_calls: Option<TemplateValue>,
    /// Whatever else the template reads, such as `tool_call_id` or `reasoning_content`.
    #[serde(flatten)]
    pub more: BTreeMap<String, TemplateValue>,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum MessageContent {
    /// One text.
    Text(String),
    /// Parts, most of them `{"type": "text", "text": …}`; they reach the template as they are.
    Parts(Vec<TemplateValue>),
}

/// JSON, with the keys of objects in the order in which they came.
#[derive(Clone, PartialEq)]
pub struct TemplateValue(pub(super) minijinja::Value);

/// How a conversation is rendered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RenderOptions {
    /// End with what an answer begins with.
    pub add_generation_prompt: bool,
    /// End within the last message, so that the model goes on with it.
    pub continue_final_message: bool,
    /// Tools that the model may call, as JSON schemas.
    pub tools: Option<Vec<TemplateValue>>,
    /// Documents that the answer may rest on.
    pub documents: Option<Vec<TemplateValue>>,
    /// Variables of this template, such as `enable_thinking`.
    pub variables: BTreeMap<String, TemplateValue>,
    /// Which of several templates; `None` takes `tool_use` if there is one and tools are given, else `default`.
    pub template: Option<String>,
    /// What time it is, for templates that tell the date; those refuse without it.
    pub now: Option<LocalTime>,
}

impl ChatMessage {
    /// A message of text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Some(MessageContent::Text(content.into())),
            ..Self::default()
        }
    }

    /// The last text of the content.
    pub(super) fn last_text(&self) -> Option<String> {
        match self.content.as_ref()? {
            MessageContent::Text(text) => Some(text.clone()),
            MessageContent::Parts(parts) => parts.iter().rev().find_map(|part| {
                let text = part.0.get_attr("text").ok()?;
                text.as_str().map(str::to_owned)
            }),
        }
    }

    /// The message as templates see it. As in transformers, what is `None` is not there at all, and reasoning by any
    /// of its names is there as `reasoning_content` and `thinking`.
    pub(super) fn value(&self) -> minijinja::Value {
        let mut pairs = vec![("role", minijinja::Value::from(self.role.clone()))];
        let content = self.content.as_ref().map(MessageContent::value);
        pairs.extend(content.map(|content| ("content", content)));
        let name = self.name.clone().map(minijinja::Value::from);
        pairs.extend(name.map(|name| ("name", name)));
        let calls = self.tool_calls.as_ref().map(|calls| ("tool_calls", calls));
        let more = self.more.iter().map(|(key, value)| (key.as_str(), value));
        let given = calls.into_iter().chain(more);
        let given = given.filter(|(_, value)| !value.0.is_none());
        pairs.extend(given.map(|(key, value)| (key, value.0.clone())));
        let reasoning = REASONING.iter().find_map(|name| {
            let found = pairs.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        });
        if let Some(reasoning) = reasoning {
            pairs.retain(|(key, _)| *key != REASONING[0]);
            if pairs.iter().all(|(key, _)| *key != REASONING[1]) {
                pairs.push((REASONING[1], reasoning.clone()));
            }
            pairs.push((REASONING[0], reasoning));
        }
        minijinja::Value::from_pairs(pairs)
    }
}

/// Names of a model's reasoning, the one that most templates read first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

impl MessageContent {
    fn value(&self) -> minijinja::Value {
        match self {
            Self::Text(text) => minijinja::Value::from(text.clone()),
            Self::Parts(parts) => parts.iter().map(|part| part.0.clone()).collect(),
        }
    }
}

impl TemplateValue {
    /// Any value that serde can write.
    pub fn new(value: &impl Serialize) -> Self {
        Self(minijinja::Value::from(minijinja::value::Serde(value)))
    }
}

impl<'de> Deserialize<'de> for TemplateValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        minijinja::Value::deserialize(deserializer).map(Self)
    }
}

impl fmt::Debug for TemplateValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl From<&str> for TemplateValue {
    fn from(text: &str) -> Self {
        Self(minijinja::Value::from(text))
    }
}

impl From<String> for TemplateValue {
    fn from(text: String) -> Self {
        Self(minijinja::Value::from(text))
    }
}

impl From<bool> for TemplateValue {
    fn from(value: bool) -> Self {
        Self(minijinja::Value::from(value))
    }
}
