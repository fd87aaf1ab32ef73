//! A conversation with a model: tokens at home, blocks in the swarm.
//!
//! `ids` are all tokens of the session. The servers have seen the first [`Session::position`] of them; those after are
//! sent with the next step, so a token chosen last in one answer is run when the next one begins, and nothing is run twice.

use std::sync::Arc;

use block_model::HeadError;

use crate::chain::{Chain, ChainStats};
use crate::generate::{GenerateConfig, Generation, Prompt};
use crate::local_model::LocalModel;
use crate::session_error::SessionError;

mod blocks;

use blocks::Blocks;

/// A conversation with a model.
///
/// Every method that talks to servers is cancel-safe: dropping its future leaves the session as it was before the call,
/// or as it is after it. What a [`Generation`] has brought so far stays in the session.
#[derive(Debug)]
pub struct Session {
    model: Arc<LocalModel>,
    blocks: Blocks,
    ids: Vec<u32>,
    /// `[hidden]`: output of the last block for the last token that the servers have; empty if unknown.
    last_hidden: Vec<f32>,
    /// An error came up that no step can mend.
    is_broken: bool,
}

impl Session {
    /// A session over a chain that runs all blocks of the model, for one sequence, with nothing in it.
    #[must_use]
    pub fn new(model: Arc<LocalModel>, chain: Chain) -> Self {
        Self::over(model, Blocks::Swarm(chain))
    }

    fn over(model: Arc<LocalModel>, blocks: Blocks) -> Self {
        Self {
            model,
            blocks,
            ids: Vec::new(),
            last_hidden: Vec::new(),
            is_broken: false,
        }
    }

    /// What stays at home of the model.
    #[must_use]
    pub fn model(&self) -> &Arc<LocalModel> {
        &self.model
    }

    /// All tokens of the session: prompts and answers.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tokens that the servers have.
    #[must_use]
    pub fn position(&self) -> usize {
        self.blocks.position()
    }

    /// Tokens that the session may ever hold.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.blocks.max_length()
    }

    /// Whether the session can go on: no error came up after which it cannot.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.is_broken && !self.blocks.is_over()
    }

    /// Answers a prompt, which continues what the session holds; an empty one continues the last answer.
    ///
    /// Nothing is sent before the first [`Generation::next`].
    ///
    /// # Errors
    /// All are the caller's: [`SessionError::BadInput`] for a configuration out of range or a prompt that cannot be
    /// encoded; [`SessionError::TooLong`] if prompt and `max_tokens` do not fit.
    pub fn generate(
        &mut self,
        prompt: impl Into<Prompt>,
        config: GenerateConfig,
    ) -> Result<Generation<'_>, SessionError> {
        Generation::new(self, prompt.into(), config)
    }

    /// Adds tokens and returns the logits of the one that follows the last: `[vocab]`.
    ///
    /// # Errors
    /// [`SessionError`]; nothing has been added then.
    pub async fn feed(&mut self, ids: &[u32]) -> Result<Vec<f32>, SessionError> {
        let logits = match self.run(ids).await {
            Ok(_) => self.last_logits().await,
            Err(error) => Err(error),
        };
        self.noted(logits)
    }

    /// Adds tokens and returns the logits after each of them: `[ids, vocab]`.
    ///
    /// # Errors
    /// [`SessionError`]; nothing has been added then.
    pub async fn feed_all(&mut self, ids: &[u32]) -> Result<Vec<f32>, SessionError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = match self.run(ids).await {
            Ok(hidden_states) => {
                let before = hidden_states.len() - ids.len() * self.model.head.hidden();
                self.logits(hidden_states[before..].to_vec()).await
            }
            Err(error) => Err(error),
        };
        self.noted(rows)
    }

    /// Forgets the tokens from `position` on.
    ///
    /// # Errors
    /// [`SessionError::BadInput`] if the session holds fewer.
    pub fn roll_back(&mut self, position: usize) -> Result<(), SessionError> {
        if position > self.ids.len() {
            let held = self.ids.len();
            return Err(SessionError::BadInput(format!(
                "cannot roll back to token {position}: the session holds {held}"
            )));
        }
        if position < self.blocks.position() {
            self.blocks.roll_back(position)?;
            self.last_hidden.clear();
        }
        self.ids.truncate(position);
        Ok(())
    }

    /// What the session has done so far.
    #[must_use]
    pub fn stats(&self) -> ChainStats {
        self.blocks.stats()
    }

    /// Ends the session at every server, politely and within a bounded time. Dropping it ends it as well, less politely.
    pub async fn close(self) {
        self.blocks.close().await;
    }

    /// Sends what the servers do not have, then `new`, and returns the outputs of the last block: `[sent, hidden]`.
    ///
    /// Sends nothing if the servers have all and the output for the last token is known.
    pub(crate) async fn run(&mut self, new: &[u32]) -> Result<Vec<f32>, SessionError> {
        self.check_room(new.len())?;
        let mut position = self.blocks.position();
        if new.is_empty() && position == self.ids.len() {
            if !self.last_hidden.is_empty() {
                return Ok(Vec::new());
            }
            // After a rollback the last token has to be run once more.
            let Some(last) = position.checked_sub(1) else {
                return Err(SessionError::BadInput(
                    "there is no token to continue from: give a prompt".to_owned(),
                ));
            };
            self.blocks.roll_back(last)?;
            position = last;
        }
        let unseen: Vec<u32> = self.ids[position..].iter().chain(new).copied().collect();
        let inputs = self.embed(unseen).await?;
        let outputs = self.blocks.step(&inputs).await?;
        // No await from here on: the tokens and their outputs go in together.
        let hidden = self.model.head.hidden();
        if outputs.len() != inputs.len() {
            let (expected, got) = (inputs.len() / hidden, outputs.len() / hidden);
            return Err(SessionError::Nonsense(format!(
                "{got} hidden states came back for {expected}"
            )));
        }
        self.ids.extend_from_slice(new);
        self.last_hidden = outputs[outputs.len() - hidden..].to_vec();
        Ok(outputs)
    }

    /// Logits after the last token that the servers have: `[vocab]`.
    pub(crate) async fn last_logits(&self) -> Result<Vec<f32>, SessionError> {
        self.logits(self.last_hidden.clone()).await
    }

    /// Adds a chosen token; it is sent with the next step.
    pub(crate) fn choose(&mut self, id: u32) {
        self.ids.push(id);
    }

    /// Remembers an error of the session, or made from what it brought.
    pub(crate) fn noted<T>(&mut self, result: Result<T, SessionError>) -> Result<T, SessionError> {
        if let Err(error) = &result {
            self.is_broken |= !error.leaves_session_usable();
        }
        result
    }

    /// Whether `new` tokens fit.
    pub(crate) fn check_room(&self, new: usize) -> Result<(), SessionError> {
        let (position, max_length) = (self.ids.len(), self.blocks.max_length());
        if new > max_length.saturating_sub(position) {
            return Err(SessionError::TooLong {
                position,
                new,
                max_length,
            });
        }
        Ok(())
    }

    async fn embed(&self, ids: Vec<u32>) -> Result<Vec<f32>, SessionError> {
        let values = ids.len().saturating_mul(self.model.head.hidden());
        self.at_home(values, move |model| model.head.embed(&ids))
            .await
    }

    async fn logits(&self, hidden_states: Vec<f32>) -> Result<Vec<f32>, SessionError> {
        let products = hidden_states.len().saturating_mul(self.model.head.vocab());
        self.at_home(products, move |model| model.head.logits(&hidden_states))
            .await
    }

    /// Computes at home: at once if it is a trifle, otherwise on a thread where it delays nobody.
    async fn at_home<F>(&self, operations: usize, compute: F) -> Result<Vec<f32>, SessionError>
    where
        F: FnOnce(&LocalModel) -> Result<Vec<f32>, HeadError> + Send + 'static,
    {
        if operations <= MAX_OPERATIONS_AT_ONCE {
            return Ok(compute(&self.model)?);
        }
        let model = Arc::clone(&self.model);
        match tokio::task::spawn_blocking(move || compute(&model)).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(HeadError::Compute(error.to_string()).into()),
        }
    }
}

/// Values copied or multiplications done without leaving the async thread: one or two milliseconds on one core.
const MAX_OPERATIONS_AT_ONCE: usize = 4 * 1024 * 1024;

#[cfg(test)]
pub(crate) mod tests;
