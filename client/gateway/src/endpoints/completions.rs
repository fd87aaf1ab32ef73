//! `POST /v1/chat/completions` and `POST /v1/completions`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use block_client::{Constraint, GenerateConfig};
use block_network::unix_time;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

use crate::answer::{Answer, AnswerPlan, ChoicePlan};
use crate::api_error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::kept::Owner;
use crate::metrics::{record_prompt, record_queue_wait};
use crate::reply::{self, Envelope, Shape, StreamPatience};
use crate::request::{AnswerOptions, ChatRequest, JsonBody, TextRequest};
use crate::served_model::ServedModel;
use crate::who::Who;

/// A prompt as it is answered.
struct Prompt {
    ids: Vec<u32>,
    /// Its text, if the answer begins with it.
    echo: Option<String>,
    max_tokens: usize,
}

/// What is answered, and how.
struct Question {
    shape: Shape,
    model: std::sync::Arc<ServedModel>,
    prompts: Vec<Prompt>,
    options: AnswerOptions,
    logprobs: Option<usize>,
    /// What the answer must look like.
    constraint: Option<Constraint>,
    arrived: Instant,
    caller: Who,
}

pub(crate) async fn chat(
    State(gateway): State<Gateway>,
    caller: Who,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let request = ChatRequest::read(&body)?;
    let model = gateway.model(&request.model)?;
    caller.may_use(model.name())?;
    let ChatRequest {
        conversation,
        answer: options,
        logprobs,
        format,
        ..
    } = request;
    let (model, made) = aside(move || {
        let rendered = model.chat_prompt(&conversation);
        let made = rendered.and_then(|(_, ids)| Ok((ids, format.constraint()?)));
        (model, made)
    })
    .await?;
    let (ids, constraint) = made?;
    let max_tokens = model.max_tokens(("messages", ids.len()), options.max_tokens)?;
    let question = Question {
        shape: Shape::Chat,
        model,
        prompts: vec![Prompt {
            ids,
            echo: None,
            max_tokens,
        }],
        options,
        logprobs,
        constraint,
        arrived,
        caller,
    };
    question.answer(&gateway).await
}

pub(crate) async fn text(
    State(gateway): State<Gateway>,
    caller: Who,
    JsonBody(body): JsonBody,
) -> Result<Response, ApiError> {
    let arrived = Instant::now();
    let request = TextRequest::read(&body)?;
    let model = gateway.model(&request.model)?;
    caller.may_use(model.name())?;
    let TextRequest {
        prompts,
        echo,
        answer: options,
        logprobs,
        ..
    } = request;
    let asked = options.max_tokens;
    let (model, prompts) = aside(move || {
        let prompts = prompts.into_iter().map(|prompt| {
            let (text, ids) = model.prompt(prompt)?;
            Ok(Prompt {
                max_tokens: model.max_tokens(("prompt", ids.len()), asked)?,
                echo: echo.then_some(text),
                ids,
            })
        });
        let prompts = prompts.collect::<Result<Vec<_>, ApiError>>();
        (model, prompts)
    })
    .await?;
    let question = Question {
        shape: Shape::Text,
        model,
        prompts: prompts?,
        options,
        logprobs,
        constraint: None,
        arrived,
        caller,
    };
    question.answer(&gateway).await
}

impl Question {
    async fn answer(self, gateway: &Gateway) -> Result<Response, ApiError> {
        if self.options.route.is_some() && !gateway.config().allow_route && !self.caller.is_admin()
        {
            return Err(ApiError::new(
                ErrorCode::NotAllowed,
                "this gateway chooses the servers itself; leave route out",
            )
            .about("route"));
        }
        let choices = self.choices();
        let prompt_tokens = self.prompts.iter().map(|prompt| prompt.ids.len()).sum();
        let envelope = Envelope {
            shape: self.shape,
            id: format!("{}-{}", self.shape.id_prefix(), Uuid::new_v4().simple()),
            created: created(),
            model: self.model.name().to_owned(),
            fingerprint: self.model.fingerprint().to_owned(),
            has_logprobs: self.logprobs.is_some(),
            prompt_tokens,
            accounts: gateway.accounts().clone(),
        };
        record_prompt(self.model.name(), prompt_tokens);
        if let Some(waited) = self.caller.waited() {
            record_queue_wait(self.model.name(), waited);
        }
        let count = choices.len();
        let plan = AnswerPlan {
            id: envelope.id.clone(),
            caller: self.caller.name(),
            model: self.model,
            prompt_tokens,
            choices,
        };
        let answer = Answer::begin(gateway, plan)?;
        match self.options.stream {
            None => {
                let object = reply::whole(&envelope, answer, count).await?;
                Ok(Json(object).into_response())
            }
            Some(options) => {
                let patience = StreamPatience {
                    head: gateway.config().head_patience,
                    ping: gateway.config().ping_period,
                };
                reply::stream(envelope, answer, count, options, patience).await
            }
        }
    }

    /// Whose conversation a choice goes on with: of several only the first, and no text that is completed.
    fn owner(&self, time: usize) -> Option<Owner> {
        (self.shape == Shape::Chat && time == 0).then(|| Owner {
            route: self.options.route.clone(),
            ..self.caller.owner(self.model.name())
        })
    }

    /// Those of the first prompt come first.
    fn choices(&self) -> Vec<ChoicePlan> {
        let times = self.options.choices;
        let mut plans = Vec::with_capacity(self.prompts.len() * times);
        for prompt in &self.prompts {
            for time in 0..times {
                plans.push(ChoicePlan {
                    choice: plans.len(),
                    prompt: prompt.ids.clone(),
                    echo: prompt.echo.clone(),
                    config: GenerateConfig {
                        sampling: self.model.sampling(&self.options.sampling, time),
                        stop: self.options.stop.clone(),
                        logprobs: self.logprobs,
                        min_tokens: self.options.min_tokens,
                        ignore_eos: self.options.ignore_eos,
                        constraint: self.constraint.clone(),
                        ..GenerateConfig::new(prompt.max_tokens)
                    },
                    route: self.options.route.clone(),
                    allowed: None,
                    arrived: self.arrived,
                    keep: self.owner(time),
                });
            }
        }
        plans
    }
}

/// Renders and tokenizes where it delays nobody: a long prompt takes a while.
///
/// # Errors
/// The work panicked, or the program ends.
pub(crate) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let done = spawn_blocking(work).await;
    done.map_err(|_| {
        ApiError::new(
            ErrorCode::InternalError,
            "a defect of this gateway; its log says more",
        )
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole seconds since 1970"
)]
pub(super) fn created() -> u64 {
    unix_time() as u64
}
