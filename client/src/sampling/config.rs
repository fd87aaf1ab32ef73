//! How the next token is chosen.

use std::collections::BTreeMap;

/// How the next token is chosen. The default draws from the model's own distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingConfig {
    /// Divides the logits, from 0 up; below 0.00001 the likeliest token is taken. Default 1.
    pub temperature: f32,
    /// Keep this many of the likeliest tokens, and those as likely as the last of them; 0, the default, keeps all.
    pub top_k: usize,
    /// Keep the likeliest tokens until their probabilities sum to this, in (0, 1]. Default 1: all.
    pub top_p: f32,
    /// Keep tokens at least this times as likely as the likeliest, in [0, 1]. Default 0: all.
    pub min_p: f32,
    /// Above 1 makes each token that the prompt or the answer has less likely, below 1 more; above 0. Default 1.
    pub repetition_penalty: f32,
    /// Taken off the logit of each token that the answer has, in [-2, 2]. Default 0.
    pub presence_penalty: f32,
    /// Taken off the logit of a token for each time that the answer has it, in [-2, 2]. Default 0.
    pub frequency_penalty: f32,
    /// Added to the raw logits of these tokens before anything else, each in [-100, 100]. Default: none.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Makes draws repeatable, on any machine. Default: a new one each time.
    pub seed: Option<u64>,
}

/// A value that the caller must correct.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} must be {range}, not {value}")]
pub struct SamplingConfigError {
    /// Field of [`SamplingConfig`].
    pub field: &'static str,
    /// What it accepts.
    pub range: &'static str,
    /// What it was.
    pub value: f32,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: None,
        }
    }
}

impl SamplingConfig {
    /// Always the likeliest token.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Whether the likeliest token is taken and nothing is drawn.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature < GREEDY_BELOW
    }

    /// # Errors
    /// The first field that is out of range.
    pub fn check(&self) -> Result<(), SamplingConfigError> {
        let fields = [
            (
                "temperature",
                self.temperature,
                0.0..=f32::MAX,
                "a number from 0",
            ),
            (
                "top_p",
                self.top_p,
                f32::MIN_POSITIVE..=1.0,
                "above 0 and at most 1",
            ),
            ("min_p", self.min_p, 0.0..=1.0, "from 0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                f32::MIN_POSITIVE..=f32::MAX,
                "a number above 0",
            ),
            (
                "presence_penalty",
                self.presence_penalty,
                -2.0..=2.0,
                "from -2 to 2",
            ),
            (
                "frequency_penalty",
                self.frequency_penalty,
                -2.0..=2.0,
                "from -2 to 2",
            ),
        ];
        let biases = self.logit_bias.values();
        let biases = biases.map(|bias| ("logit_bias", *bias, -100.0..=100.0, "from -100 to 100"));
        for (field, value, accepted, range) in fields.into_iter().chain(biases) {
            if !accepted.contains(&value) {
                return Err(SamplingConfigError {
                    field,
                    range,
                    value,
                });
            }
        }
        Ok(())
    }
}

/// A temperature below this is taken for 0, as in vLLM: dividing by it would only overflow.
const GREEDY_BELOW: f32 = 1e-5;
