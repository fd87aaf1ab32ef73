//! An answer, token by token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::chain::ChainStats;
use crate::constraint::{Constraint, Follower};
use crate::local_model::LocalModel;
use crate::sampling::{Sampler, SamplingConfig};
use crate::session::Session;
use crate::session_error::SessionError;
use crate::stop::{StopMatcher, StopScan};
use crate::text_stream::TextStream;

mod finished;

pub use finished::{FinishReason, Finished};

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// A text. At the start of a session it gets the special tokens that the model expects there, later none.
    Text(String),
    /// Tokens as they are. None at all continues what the session holds.
    Ids(Vec<u32>),
}

/// How an answer is made.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateConfig {
    /// Tokens after which the answer ends at the latest, from 1 up. Prompt and these must fit in the session.
    pub max_tokens: usize,
    /// Tokens before which nothing ends the answer: no token that would comes among them, unless `ignore_eos` says that
    /// none would, and stop strings are not looked for in their text. At most `max_tokens`. Default 0.
    pub min_tokens: usize,
    /// How tokens are chosen. Default: always the likeliest.
    pub sampling: SamplingConfig,
    /// Strings that end the answer; they are not part of its text. Their tokens are in the session, and may be rolled back.
    pub stop: Vec<String>,
    /// How many of the likeliest tokens to report with each token; `None`, the default, reports no logarithm at all.
    pub logprobs: Option<usize>,
    /// Whether to go on after the token that ends an answer. Default: no.
    pub ignore_eos: bool,
    /// What the answer must look like. It ends by itself where nothing may follow, at a token that ends it only where it
    /// may end, and after `max_tokens` wherever that is. Default: nothing.
    pub constraint: Option<Constraint>,
}

/// One token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its number in the answer, from 0.
    pub index: usize,
    /// Its id.
    pub id: u32,
    /// Text that is certain with it; empty while a character or a stop string may be under way. The texts of all tokens
    /// together are the answer's.
    pub text: String,
    /// Natural logarithm of its probability, if asked for; by the raw logits, before biases, penalties, bans and
    /// temperature.
    pub logprob: Option<f32>,
    /// The likeliest tokens in its place with the same, likeliest first; as many as asked for.
    pub top_logprobs: Vec<(u32, f32)>,
    /// Time since the token before, or since the answer was asked for.
    pub took: Duration,
}

/// An answer under way; [`Session::generate`] begins one.
///
/// It may be dropped at any time: the session then holds the prompt and the tokens that were returned, or, if no token
/// was, at most the prompt. The next answer continues from there.
#[derive(Debug)]
pub struct Generation<'a> {
    session: &'a mut Session,
    config: GenerateConfig,
    /// Tokens of the prompt that are not in the session yet.
    prompt: Vec<u32>,
    sampler: Sampler,
    /// The way through the constraint, once it has begun.
    follower: Option<Follower>,
    stream: TextStream,
    stops: StopMatcher,
    answer: Finished,
    asked_at: Instant,
    last_at: Instant,
    is_over: bool,
}

impl GenerateConfig {
    /// The likeliest tokens, at most `max_tokens` of them.
    #[must_use]
    pub fn new(max_tokens: usize) -> Self {
        Self {
            max_tokens,
            min_tokens: 0,
            sampling: SamplingConfig::greedy(),
            stop: Vec::new(),
            logprobs: None,
            ignore_eos: false,
            constraint: None,
        }
    }

    /// # Errors
    /// A field contradicts another one or the model. `vocab`: how many ids the model has.
    fn check(&self, vocab: usize) -> Result<(), SessionError> {
        let wrong = |text: String| Err(SessionError::BadInput(text));
        if self.max_tokens == 0 {
            return wrong("max_tokens must be 1 or more, not 0".to_owned());
        }
        if self.min_tokens > self.max_tokens {
            return wrong(format!(
                "min_tokens must be at most max_tokens, {}, not {}",
                self.max_tokens, self.min_tokens
            ));
        }
        let last = self.sampling.logit_bias.last_key_value();
        if let Some((id, _)) = last.filter(|(id, _)| **id as usize >= vocab) {
            return wrong(format!(
                "logit_bias names the token {id}, but the model's are 0 to {}",
                vocab.saturating_sub(1)
            ));
        }
        Ok(())
    }
}

impl<'a> Generation<'a> {
    pub(crate) fn new(
        session: &'a mut Session,
        prompt: Prompt,
        config: GenerateConfig,
    ) -> Result<Self, SessionError> {
        let asked_at = Instant::now();
        config.check(session.model().head.vocab())?;
        let stops = StopMatcher::new(&config.stop)?;
        let codec = &session.model().tokenizer;
        let prompt = match prompt {
            Prompt::Text(text) if session.ids().is_empty() => codec.encode(&text)?,
            Prompt::Text(text) => codec.encode_continuation(&text)?,
            Prompt::Ids(ids) => ids,
        };
        session.check_room(prompt.len().saturating_add(config.max_tokens))?;
        let before = [session.ids(), &prompt].concat();
        if before.is_empty() {
            let text = "there is no token to continue from: give a prompt";
            return Err(SessionError::BadInput(text.to_owned()));
        }
        let sampler = Sampler::new(config.sampling.clone(), config.logprobs, &before)?;
        let stream = TextStream::after(codec.clone(), &before)?;
        Ok(Self {
            session,
            config,
            answer: Finished::of(prompt.clone()),
            prompt,
            sampler,
            follower: None,
            stream,
            stops,
            asked_at,
            last_at: asked_at,
            is_over: false,
        })
    }

    /// What its session has done so far.
    #[must_use]
    pub fn stats(&self) -> ChainStats {
        self.session.stats()
    }

    /// The next token; `None` when the answer is over. The token that ends it (by its id, by a stop string, as the last
    /// that was asked for) is returned like any other.
    ///
    /// Cancel-safe: dropping the future loses no token, and it may be called again. After an error the answer is over;
    /// [`SessionError::leaves_session_usable`] says whether the session is.
    pub async fn next(&mut self) -> Option<Result<Token, SessionError>> {
        if self.is_over {
            return None;
        }
        let token = self.advance().await;
        let token = self.session.noted(token);
        if token.is_err() {
            self.is_over = true;
            self.answer.reason = FinishReason::Error;
        }
        Some(token)
    }

    /// Ends the answer, if it is not over, and says what it was.
    #[must_use]
    pub fn finish(self) -> Finished {
        self.answer
    }

    async fn advance(&mut self) -> Result<Token, SessionError> {
        if let (None, Some(constraint)) = (&self.follower, &self.config.constraint) {
            let model = Arc::clone(self.session.model());
            self.follower = Some(Follower::start(constraint.clone(), model));
        }
        self.session.run(&self.prompt).await?;
        self.prompt.clear();
        let mut logits = self.session.last_logits().await?;
        let mask = match &mut self.follower {
            Some(follower) => Some(follower.mask().await?),
            None => None,
        };
        // No await from here on: a token is chosen and taken in together.
        let may_end = self.answer.ids.len() >= self.config.min_tokens;
        let is_end = |id| ends_answer(&self.config, self.session.model(), id);
        let sampled = match mask {
            None if may_end => self.sampler.next(&mut logits)?,
            None => self.sampler.next_among(&mut logits, |id| !is_end(id))?,
            Some(mask) => {
                let may_end = may_end || mask.iter().all(is_end);
                let is_allowed = |id| mask.get(id as usize) && (may_end || !is_end(id));
                self.sampler.next_among(&mut logits, is_allowed)?
            }
        };
        let is_complete = match &mut self.follower {
            Some(follower) => follower.take(sampled.id)?,
            None => false,
        };
        self.session.choose(sampled.id);
        let text = self.take_in(sampled.id, is_complete)?;
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.last_at, now);
        self.answer.record(sampled.id, &text, now - self.asked_at);
        Ok(Token {
            index: self.answer.ids.len() - 1,
            id: sampled.id,
            text,
            logprob: sampled.logprob,
            top_logprobs: sampled.top,
            took,
        })
    }

    /// Text that is certain with a token. Decides whether the answer is over. `is_complete`: nothing may follow.
    fn take_in(&mut self, id: u32, is_complete: bool) -> Result<String, SessionError> {
        let is_end = ends_answer(&self.config, self.session.model(), id);
        let is_over = is_end || is_complete;
        let is_last = self.answer.ids.len() + 1 >= self.config.max_tokens;
        let mut piece = String::new();
        if !is_end {
            piece += &self.stream.push(id)?;
        }
        if is_over || is_last {
            piece += &self.stream.finish()?;
        }
        let scan = if self.answer.ids.len() >= self.config.min_tokens {
            self.stops.push(&piece)
        } else {
            StopScan {
                text: piece,
                stopped_by: None,
            }
        };
        let mut text = scan.text;
        if let Some(number) = scan.stopped_by {
            self.is_over = true;
            self.answer.reason = FinishReason::Stop;
            self.answer.stop = self.config.stop.get(number).cloned();
        } else if is_over || is_last {
            self.is_over = true;
            self.answer.reason = if is_over {
                FinishReason::Stop
            } else {
                FinishReason::Length
            };
            text += &self.stops.finish();
        }
        Ok(text)
    }
}

fn ends_answer(config: &GenerateConfig, model: &LocalModel, id: u32) -> bool {
    !config.ignore_eos && model.eos.contains(&id)
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(ids: Vec<u32>) -> Self {
        Self::Ids(ids)
    }
}

impl From<&[u32]> for Prompt {
    fn from(ids: &[u32]) -> Self {
        Self::Ids(ids.to_vec())
    }
}

#[cfg(test)]
mod tests;
