//! The task of an execution: it waits for a seat, then for its answer.
//!
//! Ends when the answer is whole or fails, when the execution is cancelled, when its time is up, or with the gateway.
//! Dropping the [`Answer`] closes its session, which frees its caches at the servers.

use std::pin::Pin;
use std::sync::Arc;

use block_client::GenerateConfig;
use futures::future::BoxFuture;
use futures::poll;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Executions;
use super::record::Execution;
use super::request::ExecutionRequest;
use super::store::Store;
use crate::answer::{Answer, AnswerPlan, ChoicePlan, Ended, Event};
use crate::api_error::{ApiError, ErrorCode};
use crate::door::Seat;
use crate::endpoints::completions::aside;
use crate::gateway::Gateway;
use crate::metrics::record_prompt;
use crate::request::Conversation;
use crate::served_model::ServedModel;
use crate::terms::{Terms, too_late};
use crate::who::{NameAndNet, Who};

/// A question that may be answered.
#[derive(Debug)]
pub(super) struct Question {
    id: String,
    caller: NameAndNet,
    model: Arc<ServedModel>,
    choice: ChoicePlan,
}

/// What the task holds.
struct Task {
    gateway: Gateway,
    execution: Arc<Execution>,
    store: Arc<Store>,
    deadline: Instant,
}

type Waiting = Pin<Box<dyn Future<Output = Result<Option<Seat>, ApiError>> + Send>>;

impl Question {
    /// Makes the prompt, as one message of a chat, and finds the servers that the policy admits.
    ///
    /// # Errors
    /// The request cannot be answered.
    pub(super) async fn prepare(
        executions: &Executions,
        caller: &Who,
        request: ExecutionRequest,
    ) -> Result<Self, ApiError> {
        let arrived = Instant::now();
        let shared = &executions.0;
        let model = shared.gateway.model_or_only(request.model.as_deref())?;
        caller.may_use(model.name())?;
        let ExecutionRequest {
            prompt,
            policy,
            max_tokens,
            sampling,
            ..
        } = request;
        let (model, rendered) = aside(move || {
            let rendered = model.chat_prompt(&Conversation::of_prompt(prompt));
            (model, rendered)
        })
        .await?;
        // The conversation is ours, so the field is theirs.
        let (_, prompt) = rendered.map_err(|error| error.about("prompt"))?;
        let max_tokens = model.max_tokens(("prompt", prompt.len()), max_tokens)?;
        let allowed = policy
            .allowed(
                &model,
                (
                    &shared.config.trusted_peers,
                    prompt.len().saturating_add(max_tokens),
                ),
                shared.gateway.config().no_route_patience,
            )
            .await?;
        Ok(Self {
            id: format!("exec-{}", Uuid::new_v4().simple()),
            caller: caller.name_and_net(),
            choice: ChoicePlan {
                choice: 0,
                prompt,
                echo: None,
                config: GenerateConfig {
                    sampling: model.sampling(&sampling, 0),
                    ..GenerateConfig::new(max_tokens)
                },
                route: None,
                allowed,
                arrived,
                keep: None,
            },
            model,
        })
    }

    /// Begins to answer.
    ///
    /// # Errors
    /// The gateway stops.
    fn answer(self, gateway: &Gateway) -> Result<Answer, ApiError> {
        let prompt_tokens = self.choice.prompt.len();
        record_prompt(self.model.name(), prompt_tokens);
        let plan = AnswerPlan {
            id: self.id,
            caller: self.caller.0,
            model: self.model,
            prompt_tokens,
            choices: vec![self.choice],
        };
        Answer::begin(gateway, plan)
    }

    /// The text of the whole answer. Dropping the future ends it.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn whole(self, gateway: &Gateway) -> Result<String, ApiError> {
        let mut answer = self.answer(gateway)?;
        let mut text = String::new();
        while let Some(event) = answer.next().await {
            match event? {
                Event::Pieces(pieces) => text.extend(pieces.into_iter().map(|piece| piece.text)),
                Event::Ended(_) => {}
                Event::Failed(error) => return Err(error),
            }
        }
        Ok(text)
    }
}

/// Starts an execution.
///
/// # Errors
/// 429: there is no place for it.
pub(super) async fn start(
    executions: &Executions,
    question: Question,
    terms: Terms,
) -> Result<Arc<Execution>, ApiError> {
    let shared = &executions.0;
    let deadline = Instant::now() + terms.time();
    let mut seat: Waiting = Box::pin(terms.seat());
    // Whether there is a place in the queue shows at once.
    let seat: BoxFuture<'static, Result<Option<Seat>, ApiError>> = match poll!(&mut seat) {
        std::task::Poll::Ready(seat) => Box::pin(std::future::ready(Ok(seat?))),
        std::task::Poll::Pending => seat,
    };
    let execution = Arc::new(Execution::new(
        question.id.clone(),
        question.caller.clone(),
        CancellationToken::new(),
    ));
    shared.store.add(&execution)?;
    let task = Task {
        gateway: shared.gateway.clone(),
        execution: Arc::clone(&execution),
        store: Arc::clone(&shared.store),
        deadline,
    };
    tokio::spawn(task.run(question, seat));
    Ok(execution)
}

impl Task {
    async fn run(
        self,
        question: Question,
        seat: BoxFuture<'static, Result<Option<Seat>, ApiError>>,
    ) {
        let execution = Arc::clone(&self.execution);
        let stopping = self.gateway.stopping().clone();
        let outcome = tokio::select! {
            biased;
            // Its state says so already.
            () = execution.cancelled.cancelled() => return,
            () = stopping.cancelled() => Err(ApiError::new(
                ErrorCode::Cancelled,
                "the gateway is shutting down",
            )),
            outcome = timeout_at(self.deadline, self.answer(question, seat)) => {
                outcome.unwrap_or_else(|_| Err(too_late()))
            }
        };
        match outcome {
            Ok(tokens) => execution.complete(tokens),
            Err(error) => execution.fail(error),
        }
    }

    /// Waits for its turn, writes the answer into the record, and returns its number of tokens.
    async fn answer(
        &self,
        question: Question,
        seat: BoxFuture<'static, Result<Option<Seat>, ApiError>>,
    ) -> Result<usize, ApiError> {
        let _seat = seat.await?;
        self.execution.begin(question.choice.prompt.len());
        let mut answer = question.answer(&self.gateway)?;
        let mut tokens = 0;
        while let Some(event) = answer.next().await {
            match event? {
                Event::Pieces(pieces) => {
                    self.execution.route(answer.route());
                    for piece in pieces {
                        self.execution.piece(&piece.text);
                    }
                }
                Event::Ended(Ended {
                    tokens: all,
                    account,
                    ..
                }) => {
                    self.execution.route(account.route);
                    tokens = all;
                }
                Event::Failed(error) => return Err(error),
            }
        }
        Ok(tokens)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // Does nothing if it has ended; else the task was dropped or met a defect.
        self.execution.fail(ApiError::new(
            ErrorCode::InternalError,
            "the execution broke off: a defect of this gateway, or its end",
        ));
        self.store.end(&self.execution);
    }
}
