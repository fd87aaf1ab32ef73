//! What an answer was.

use std::time::Duration;

/// What an answer was, or is so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Why it ended.
    pub reason: FinishReason,
    /// The stop string that ended it, if one did.
    pub stop: Option<String>,
    /// Tokens of the prompt.
    pub prompt_ids: Vec<u32>,
    /// Tokens of the answer, the one that ended it included.
    pub ids: Vec<u32>,
    /// Its text: that of all tokens returned.
    pub text: String,
    /// From the question to the first token; `None` if there was none.
    pub time_to_first_token: Option<Duration>,
    /// From the first token to the last.
    pub decode_time: Duration,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended it, or a stop string came.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
    /// Its reader ended it before.
    Cancelled,
    /// An error ended it.
    Error,
}

impl FinishReason {
    /// `stop`, `length` (as in the OpenAI API), `cancelled` or `error`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        }
    }
}

impl Finished {
    /// Tokens per second after the first; `None` with fewer than two tokens.
    #[must_use]
    pub fn tokens_per_second(&self) -> Option<f64> {
        let steps = self.ids.len().checked_sub(1)?;
        let seconds = self.decode_time.as_secs_f64();
        (steps > 0 && seconds > 0.0).then(|| steps as f64 / seconds)
    }

    pub(super) fn of(prompt_ids: Vec<u32>) -> Self {
        Self {
            reason: FinishReason::Cancelled,
            stop: None,
            prompt_ids,
            ids: Vec::new(),
            text: String::new(),
            time_to_first_token: None,
            decode_time: Duration::ZERO,
        }
    }

    /// Adds a token that came `after` the question.
    pub(super) fn record(&mut self, id: u32, text: &str, after: Duration) {
        self.ids.push(id);
        self.text.push_str(text);
        let first = *self.time_to_first_token.get_or_insert(after);
        self.decode_time = after.saturating_sub(first);
    }
}
