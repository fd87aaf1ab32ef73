//! The task of one choice: opens a session, brings its tokens, closes the session.
//!
//! It ends by itself, by an error, when its answer is cancelled or dropped, or when the reader takes nothing for too
//! long. The session is closed in each case, which frees its caches at the servers.

use std::sync::Arc;
use std::time::Duration;

use block_client::{
    FinishReason, GenerateConfig, RouteRequest, Session, SessionConfig, SessionError,
};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use super::token_texts::{Held, TokenTexts};
use super::{Account, Ended, Event, Piece, echo};
use crate::api_error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::metrics::{GenerationRecord, Outcome};
use crate::running::{CountedSession, RunningAnswer, Stage};
use crate::served_model::ServedModel;

/// What one choice is to do.
#[derive(Debug, Clone)]
pub(crate) struct ChoicePlan {
    /// Its number among all of the answer.
    pub(crate) choice: usize,
    pub(crate) prompt: Vec<u32>,
    /// The prompt's text, if the answer begins with it.
    pub(crate) echo: Option<String>,
    /// No tokens at all may be asked for, with an echo.
    pub(crate) config: GenerateConfig,
    pub(crate) route: Option<Vec<block_network::PeerId>>,
    /// If set, no other servers are used.
    pub(crate) allowed: Option<Vec<block_network::PeerId>>,
    /// When the request came.
    pub(crate) arrived: Instant,
}

/// What the task of a choice holds.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) gateway: Gateway,
    pub(super) model: Arc<ServedModel>,
    pub(super) answer: Arc<RunningAnswer>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) places: Arc<Semaphore>,
}

/// Why a choice ends before its time.
enum Broken {
    Failed(ApiError),
    /// Its answer is cancelled, or nobody reads it.
    Cancelled,
}

impl From<SessionError> for Broken {
    fn from(error: SessionError) -> Self {
        Self::Failed(error.into())
    }
}

impl Choice {
    pub(super) async fn run(self, plan: ChoicePlan) {
        let place = Arc::clone(&self.places).acquire_owned();
        // Whoever is cancelled before its turn has nothing to end.
        let Ok(Ok(_place)) = self.unless_cancelled(place).await else {
            return;
        };
        let _counted = CountedSession::new(&self.gateway, (&self.answer, plan.choice));
        let mut record = GenerationRecord::begin(self.model.name(), plan.arrived);
        let mut session = match self.unless_cancelled(self.open(&plan)).await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return self.end(record, Broken::Failed(error)).await,
            Err(broken) => return self.end(record, broken).await,
        };
        record.opened();
        let told = self.tell(plan, &mut session, &mut record).await;
        match told {
            Ok(ended) => {
                record.end(Outcome::of(ended.reason));
                // If nobody reads it, nobody needs it.
                let _ = tokio::join!(self.send(Event::Ended(ended)), session.close());
            }
            Err(broken) => {
                tokio::join!(self.end(record, broken), session.close());
            }
        }
    }

    /// Tells why the choice ended before its time.
    async fn end(self, record: GenerationRecord, broken: Broken) {
        match broken {
            Broken::Failed(error) => {
                tracing::info!(id = %self.answer.id, code = error.code().name(), "an answer failed");
                record.end(Outcome::Error);
                // If nobody reads it, nobody needs it.
                let _ = self.send(Event::Failed(error)).await;
            }
            Broken::Cancelled => record.end(Outcome::Cancelled),
        }
    }

    /// # Errors
    /// `Cancelled`; `future` is dropped then.
    async fn unless_cancelled<T>(&self, future: impl Future<Output = T>) -> Result<T, Broken> {
        tokio::select! {
            biased;
            () = self.answer.cancelled.cancelled() => Err(Broken::Cancelled),
            output = future => Ok(output),
        }
    }

    /// # Errors
    /// `Cancelled`: also if the reader takes nothing for too long.
    async fn send(&self, event: Event) -> Result<(), Broken> {
        let patience = self.gateway.config().reader_patience;
        let sent = timeout(patience, self.events.send(event));
        match self.unless_cancelled(sent).await? {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Broken::Cancelled),
            Err(_) => {
                let why = format!("nobody read the answer for {} s", patience.as_secs_f64());
                self.answer.cancel(ApiError::new(ErrorCode::Cancelled, why));
                Err(Broken::Cancelled)
            }
        }
    }

    async fn open(&self, plan: &ChoicePlan) -> Result<Session, ApiError> {
        let remote = self.model.remote();
        let config = self.gateway.config();
        // What the servers already hold of the prompt is theirs; the session asks for all.
        let max_length = plan
            .prompt
            .len()
            .saturating_add(plan.config.max_tokens)
            .max(1);
        // Blocks without a server are told early: whoever waits for them does not wait for a slow one.
        let route = RouteRequest {
            pinned: plan.route.clone(),
            allowed: plan.allowed.clone(),
            ..RouteRequest::new(0..remote.view.num_blocks(), max_length)
        };
        remote
            .view
            .route_soon(&route, config.no_route_patience)
            .await?;
        let session = SessionConfig {
            pinned: plan.route.clone(),
            allowed: plan.allowed.clone(),
            open_deadline: config.open_deadline,
            repair_deadline: config.repair_deadline,
            ..SessionConfig::new(max_length)
        };
        Ok(remote.session(session).await?)
    }

    async fn tell(
        &self,
        plan: ChoicePlan,
        session: &mut Session,
        record: &mut GenerationRecord,
    ) -> Result<Ended, Broken> {
        let ChoicePlan {
            choice,
            mut prompt,
            echo,
            config,
            arrived,
            ..
        } = plan;
        let route = session.stats().route;
        self.answer.note(choice, |progress| {
            progress.stage = Stage::Prefill;
            progress.route = route;
        });
        let texts = config
            .logprobs
            .map(|_| TokenTexts::new(self.model.remote().local.tokenizer.clone()));
        let mut held = Held::new(texts, prompt.last().copied());
        if let Some(text) = echo {
            if let Some(top) = config.logprobs {
                let logprobs = echo::logprobs(session, &prompt, top);
                held = held.after_echo(self.unless_cancelled(logprobs).await??);
                prompt.clear();
            }
            self.send_piece(choice, text, &mut held).await?;
        }
        if config.max_tokens == 0 {
            return Ok(Ended {
                choice,
                reason: FinishReason::Length.as_str(),
                tokens: 0,
                account: Account {
                    route: session.stats().route,
                    ..Account::default()
                },
            });
        }
        let mut first = None;
        let mut generation = session.generate(prompt, config)?;
        loop {
            let Some(token) = self.unless_cancelled(generation.next()).await? else {
                break;
            };
            let token = token?;
            first.get_or_insert_with(|| arrived.elapsed());
            record.token(token.took);
            self.answer.note(choice, |progress| {
                progress.stage = Stage::Generating;
                progress.tokens += 1;
            });
            held.push(&token)?;
            if !token.text.is_empty() {
                self.send_piece(choice, token.text, &mut held).await?;
            }
        }
        let finished = generation.finish();
        held.finish(&finished, &self.model.remote().local.eos);
        let logprobs = held.take_rest();
        if !logprobs.is_empty() {
            let text = String::new();
            self.send(Event::Piece(Piece {
                choice,
                text,
                logprobs,
            }))
            .await?;
        }
        let stats = session.stats();
        Ok(Ended {
            choice,
            reason: finished.reason.as_str(),
            tokens: finished.ids.len(),
            account: Account {
                route: stats.route,
                first_token_ms: first.map(|first: Duration| first.as_secs_f64() * 1e3),
                tokens_per_second: finished.tokens_per_second(),
                failovers: stats.failovers,
            },
        })
    }

    async fn send_piece(&self, choice: usize, text: String, held: &mut Held) -> Result<(), Broken> {
        let logprobs = held.take_with(&text);
        self.send(Event::Piece(Piece {
            choice,
            text,
            logprobs,
        }))
        .await
    }
}
