//! An answer of one or several choices, each a session of its own.
//!
//! - `session`: where its session comes from; `choice`: the task of one choice, owned by the [`Answer`] that it sends to, ended with it
//! - `pace`: pieces that follow each other quickly travel together
//! - `token_texts`: what each token says, for logarithms; `echo`: what the model makes of a prompt
//!
//! Choices send into one channel of [`CHANNEL`] events. A reader that is slow fills it and its own choices wait; nobody
//! else does.

mod choice;
mod echo;
mod pace;
mod session;
mod token_texts;

use std::sync::Arc;

use block_client::RouteStop;
use tokio::sync::{Semaphore, mpsc};

use crate::api_error::ApiError;
use crate::gateway::Gateway;
use crate::running::Listed;
use crate::served_model::ServedModel;

pub(crate) use choice::ChoicePlan;
pub(crate) use token_texts::TokenLogprob;

/// What is answered: one plan for each choice.
#[derive(Debug)]
pub(crate) struct AnswerPlan {
    /// What the answer is called.
    pub(crate) id: String,
    /// The name of who asks.
    pub(crate) caller: Arc<str>,
    pub(crate) model: Arc<ServedModel>,
    /// Tokens of all prompts.
    pub(crate) prompt_tokens: usize,
    pub(crate) choices: Vec<ChoicePlan>,
}

/// An answer under way. Dropping it ends its choices and frees their sessions.
#[derive(Debug)]
pub(crate) struct Answer {
    events: mpsc::Receiver<Event>,
    listed: Listed,
    /// Choices that have not ended.
    left: usize,
}

/// What a choice brings.
#[derive(Debug)]
pub(crate) enum Event {
    /// Pieces of text in order, at least one.
    Pieces(Vec<Piece>),
    /// The choice has ended by itself.
    Ended(Ended),
    /// It failed.
    Failed(ApiError),
}

/// A piece of a choice's text, never empty without logarithms.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) choice: usize,
    pub(crate) text: String,
    /// Of the tokens that became certain with it, if asked for.
    pub(crate) logprobs: Vec<TokenLogprob>,
}

/// How a choice ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) choice: usize,
    /// `stop` or `length`.
    pub(crate) reason: &'static str,
    /// Tokens of the choice.
    pub(crate) tokens: usize,
    /// Tokens of its prompt that servers had before.
    pub(crate) cached: usize,
    pub(crate) account: Account,
}

/// How a choice came about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) route: Vec<RouteStop>,
    /// From the request's arrival to the first token.
    pub(crate) first_token_ms: Option<f64>,
    pub(crate) tokens_per_second: Option<f64>,
    pub(crate) failovers: u64,
}

impl Answer {
    /// Begins all choices.
    ///
    /// # Errors
    /// The gateway stops.
    pub(crate) fn begin(gateway: &Gateway, plan: AnswerPlan) -> Result<Self, ApiError> {
        let AnswerPlan {
            id,
            caller,
            model,
            prompt_tokens,
            choices,
        } = plan;
        let left = choices.len();
        let listed = Listed::new(gateway, (id, caller, model.name()), prompt_tokens, left)?;
        let (sender, events) = mpsc::channel(CHANNEL);
        let places = Arc::new(Semaphore::new(MAX_PARALLEL_CHOICES));
        for plan in choices {
            let choice = choice::Choice {
                gateway: gateway.clone(),
                model: Arc::clone(&model),
                answer: Arc::clone(&listed.answer),
                events: sender.clone(),
                places: Arc::clone(&places),
            };
            // It ends with the answer's token, which the list entry cancels.
            tokio::spawn(choice.run(plan));
        }
        Ok(Self {
            events,
            listed,
            left,
        })
    }

    /// The servers of the first choice, once its session is open.
    pub(crate) fn route(&self) -> Vec<RouteStop> {
        let mut choices = self.listed.answer.progress().into_iter();
        choices.next().map(|first| first.route).unwrap_or_default()
    }

    /// The next event; `None` when all choices have ended. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Why a choice failed, or the whole was cancelled; it is over then.
    pub(crate) async fn next(&mut self) -> Option<Result<Event, ApiError>> {
        if self.left == 0 {
            return None;
        }
        match self.events.recv().await {
            Some(Event::Failed(error)) => {
                self.left = 0;
                self.listed.answer.cancelled.cancel();
                Some(Err(error))
            }
            Some(event) => {
                self.left -= usize::from(matches!(event, Event::Ended(_)));
                Some(Ok(event))
            }
            None => {
                self.left = 0;
                Some(Err(self.listed.answer.why()))
            }
        }
    }
}

/// Events that wait for their reader, over all choices, at most [`pace::MAX_TOGETHER`] pieces in each. Little: a reader that
/// is only a bit behind has the buffers of its socket.
const CHANNEL: usize = 16;
/// Choices of one request that hold sessions at once; further ones follow.
const MAX_PARALLEL_CHOICES: usize = 4;
