//! Logits → the next token, at home.
//!
//! Formulas and order are vLLM's (V1 sampler), whose parameters the OpenAI-like world sends:
//! log-probabilities of the raw logits → biases → repetition, frequency, presence penalty → tokens that may not come →
//! temperature → min-p → top-k → top-p → draw. For one filter alone that is transformers' as well; the two differ only in what top-p counts when
//! min-p has removed something (transformers applies min-p last).
//!
//! Log-probabilities are the model's own, so a bias, a penalty or a ban never changes one.
//!
//! - `config`: [`SamplingConfig`]
//! - `penalties`: logits changed by what was said before
//! - `filters`: which tokens remain
//! - `logprobs`: natural logarithms of probabilities
//! - `sampler`: [`Sampler`], all of it

mod config;
mod filters;
mod logprobs;
mod penalties;
mod sampler;

pub use config::{SamplingConfig, SamplingConfigError};
pub use sampler::{Sampled, Sampler, SamplingError, score};
