//! Answers in OpenAI's shapes, whole and as chunks of a stream.
//!
//! Both official clients keep keys that they do not know: `swarm` is ours.

mod account;
mod logprobs;
mod piece_chunk;
mod stream;
mod whole;

use serde_json::{Value, json};

use crate::answer::{Ended, Piece};
use crate::system::Accounts;

pub(crate) use stream::{StreamPatience, stream};
pub(crate) use whole::whole;

/// Which endpoint an answer is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// What is the same in the whole answer and in all its chunks.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub(crate) shape: Shape,
    pub(crate) id: String,
    /// Unix time.
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) fingerprint: String,
    /// Whether logarithms were asked for.
    pub(crate) has_logprobs: bool,
    pub(crate) prompt_tokens: usize,
    /// Where it is told how the answer came about.
    pub(crate) accounts: Accounts,
}

impl Shape {
    /// What its ids begin with.
    pub(crate) fn id_prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl",
            Self::Text => "cmpl",
        }
    }

    /// What its objects are called.
    fn object(self, is_chunk: bool) -> &'static str {
        match (self, is_chunk) {
            (Self::Chat, false) => "chat.completion",
            (Self::Chat, true) => "chat.completion.chunk",
            (Self::Text, _) => "text_completion",
        }
    }

    fn logprobs(self, piece: &Piece) -> Value {
        match self {
            Self::Chat => logprobs::of_chat(&piece.logprobs),
            Self::Text => logprobs::of_text(&piece.logprobs),
        }
    }
}

impl Envelope {
    /// An object with these choices; `is_chunk`: as a part of a stream.
    fn object(&self, is_chunk: bool, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": self.shape.object(is_chunk),
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }

    /// The choice of a chunk. `delta`: what is new of it.
    fn chunk_choice(
        &self,
        choice: usize,
        new: Value,
        logprobs: Value,
        reason: Option<&str>,
    ) -> Value {
        let (key, value) = match self.shape {
            Shape::Chat => ("delta", new),
            Shape::Text => (
                "text",
                new.get("content").cloned().unwrap_or_else(|| "".into()),
            ),
        };
        json!({ "index": choice, key: value, "logprobs": logprobs, "finish_reason": reason })
    }

    /// Who speaks, before anything is said; chat only.
    fn opening(&self, choice: usize) -> Value {
        let delta = json!({ "role": "assistant", "content": "" });
        self.object(
            true,
            vec![self.chunk_choice(choice, delta, Value::Null, None)],
        )
    }

    fn ending(&self, ended: &Ended) -> Value {
        let choice = self.chunk_choice(ended.choice, json!({}), Value::Null, Some(ended.reason));
        let mut chunk = self.object(true, vec![choice]);
        chunk["swarm"] = account::json([&ended.account]);
        chunk
    }

    /// Tells whoever looks at the swarm how the answer came about; no text of it.
    fn publish(&self, account: &Value) {
        let mut told = account.clone();
        told["id"] = self.id.clone().into();
        self.accounts.publish(told);
    }

    /// `cached`: tokens of the prompts that servers had before.
    fn usage(&self, completion_tokens: usize, cached: usize) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }
}
