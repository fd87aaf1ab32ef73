//! The choice of the next token.

use chacha20::ChaCha20Rng;
use rand::{Rng, SeedableRng};

use super::config::{SamplingConfig, SamplingConfigError};
use super::filters::{Candidate, candidates};
use super::logprobs::LogSoftmax;
use super::penalties::Penalties;

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub struct Sampler {
    config: SamplingConfig,
    /// How many of the likeliest tokens are reported; `None` reports no logarithm at all.
    logprobs: Option<usize>,
    penalties: Penalties,
    /// ChaCha20 with the seed, little-endian, as the start of an otherwise zero key; one 64-bit word per draw.
    random: ChaCha20Rng,
}

/// A chosen token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability by the raw logits, before biases, penalties, bans and temperature; if asked
    /// for.
    pub logprob: Option<f32>,
    /// The likeliest tokens with the same, likeliest first; as many as asked for.
    pub top: Vec<(u32, f32)>,
}

/// Why no token could be chosen.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// The caller's configuration.
    #[error(transparent)]
    Config(#[from] SamplingConfigError),
    /// The blocks or the head computed nonsense: another route may do better.
    #[error(
        "the logit of token {id} is {value}: a server computes nonsense, or the weights are damaged"
    )]
    NotFinite {
        /// First such token.
        id: usize,
        /// Infinite or not a number.
        value: f32,
    },
    /// There was nothing to choose from.
    #[error("no logits to choose from")]
    Empty,
    /// No token may be chosen.
    #[error("no token may come next")]
    NothingAllowed,
}

impl Sampler {
    /// A sampler for an answer to `prompt`, which matters to the repetition penalty only.
    ///
    /// `logprobs`: how many of the likeliest tokens to report with each token; `None` for no logarithms at all.
    ///
    /// # Errors
    /// [`SamplingError::Config`].
    pub fn new(
        config: SamplingConfig,
        logprobs: Option<usize>,
        prompt: &[u32],
    ) -> Result<Self, SamplingError> {
        config.check()?;
        let mut key = [0; 32];
        key[..8].copy_from_slice(&config.seed.unwrap_or_else(rand::random).to_le_bytes());
        Ok(Self {
            logprobs,
            penalties: Penalties::new(&config, prompt),
            random: ChaCha20Rng::from_seed(key),
            config,
        })
    }

    /// Chooses a token and remembers it for the penalties.
    ///
    /// `logits`: `[vocab]`; changed by biases and penalties.
    ///
    /// # Errors
    /// [`SamplingError::NotFinite`], [`SamplingError::Empty`]; nothing has been drawn then.
    pub fn next(&mut self, logits: &mut [f32]) -> Result<Sampled, SamplingError> {
        self.next_among(logits, |_| true)
    }

    /// The same of the tokens that `is_allowed` admits; others are as if the vocabulary did not have them.
    ///
    /// # Errors
    /// Also [`SamplingError::NothingAllowed`].
    pub fn next_among(
        &mut self,
        logits: &mut [f32],
        is_allowed: impl Fn(u32) -> bool,
    ) -> Result<Sampled, SamplingError> {
        check(logits)?;
        let raw = self.logprobs.map(|_| logits.to_vec());
        self.add_biases(logits);
        self.penalties.apply(logits);
        let mut allowed = 0;
        for (id, logit) in (0..).zip(logits.iter_mut()) {
            if is_allowed(id) {
                allowed += 1;
            } else {
                *logit = f32::NEG_INFINITY;
            }
        }
        if allowed == 0 {
            return Err(SamplingError::NothingAllowed);
        }
        let id = if self.config.is_greedy() {
            likeliest(logits)
        } else {
            let candidates = candidates(logits, &self.config);
            draw(&candidates, unit_interval(self.random.next_u64()))
        };
        self.penalties.record(id);
        let softmax = raw.as_deref().map(LogSoftmax::new);
        Ok(Sampled {
            id,
            logprob: softmax.and_then(|softmax| softmax.of(id)),
            top: softmax.map_or_else(Vec::new, |softmax| softmax.top(self.logprobs.unwrap_or(0))),
        })
    }

    /// Adds to each logit what the caller says; ids outside are ignored.
    fn add_biases(&self, logits: &mut [f32]) {
        for (id, bias) in &self.config.logit_bias {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit = (*logit + bias).clamp(f32::MIN, f32::MAX);
            }
        }
    }
}

/// How likely a token was that was not chosen by a [`Sampler`], one of a prompt for example, and the `top` likeliest.
///
/// `logits`: `[vocab]`, raw, as after the token before. There is no logarithm for an id outside.
///
/// # Errors
/// [`SamplingError::NotFinite`], [`SamplingError::Empty`].
pub fn score(logits: &[f32], id: u32, top: usize) -> Result<Sampled, SamplingError> {
    check(logits)?;
    let softmax = LogSoftmax::new(logits);
    Ok(Sampled {
        id,
        logprob: softmax.of(id),
        top: softmax.top(top),
    })
}

/// # Errors
/// [`SamplingError::NotFinite`], [`SamplingError::Empty`].
fn check(logits: &[f32]) -> Result<(), SamplingError> {
    if logits.is_empty() {
        return Err(SamplingError::Empty);
    }
    match logits.iter().position(|logit| !logit.is_finite()) {
        Some(id) => Err(SamplingError::NotFinite {
            id,
            value: logits[id],
        }),
        None => Ok(()),
    }
}

/// The token with the highest logit; of equal ones that with the lowest id.
fn likeliest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, logit) in (0_u32..).zip(logits) {
        if *logit > best.1 {
            best = (id, *logit);
        }
    }
    best.0
}

/// The candidate in whose share of the weight `at` falls, in order of their ids: a logit that differs in its last digits
/// moves a border between two shares a little, but never reorders them.
fn draw(candidates: &[Candidate], at: f64) -> u32 {
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut left = at * total;
    for candidate in candidates {
        left -= candidate.weight;
        if left < 0.0 {
            return candidate.id;
        }
    }
    // Rounding let the last share end a little early.
    candidates.last().map_or(0, |candidate| candidate.id)
}

/// 64 random bits → a number in [0, 1) with 53 bits.
fn unit_interval(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
