//! The task of one choice: finds a session, brings its tokens, keeps the session for the next turn or closes it.
//!
//! It ends by itself, by an error, when its answer is cancelled or dropped, or when the reader takes nothing for too
//! long. Only after the first may the session be kept; otherwise it is closed, which frees its caches at the servers.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use block_client::{FinishReason, GenerateConfig, RouteStop, Session, SessionError};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::pace::Pace;
use super::session::{Found, Sessions};
use super::token_texts::{Held, TokenTexts};
use super::{Account, Ended, Event, Piece, echo};
use crate::api_error::{ApiError, ErrorCode};
use crate::gateway::Gateway;
use crate::kept::Owner;
use crate::metrics::{GenerationRecord, Outcome, record_reuse};
use crate::room;
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
    /// Whose conversation it is, if it may go on in a session that waited, and wait itself.
    pub(crate) keep: Option<Owner>,
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
        let sessions = Sessions {
            gateway: &self.gateway,
            model: &self.model,
            plan: &plan,
        };
        let mut found = match self.unless_cancelled(sessions.find()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return self.end(record, Broken::Failed(error)).await,
            Err(broken) => return self.end(record, broken).await,
        };
        record.opened();
        let mut told = self.tell(&plan, &mut found, &mut record).await;
        if let Err(Broken::Failed(error)) = &told
            && found.held > 0
            && record.is_silent()
        {
            // Servers that it knew may be gone, or have lost it: the caller asked for an answer, not for this session.
            tracing::debug!(id = %self.answer.id, code = error.code().name(), "a kept session failed");
            found.session.close().await;
            found = match self.unless_cancelled(sessions.open()).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => return self.end(record, Broken::Failed(error)).await,
                Err(broken) => return self.end(record, broken).await,
            };
            told = self.tell(&plan, &mut found, &mut record).await;
        }
        if plan.keep.is_some()
            && self.gateway.kept().keeps_any()
            && (told.is_ok() || !record.is_silent())
        {
            record_reuse(self.model.name(), (found.held > 0).then_some(found.cached));
        }
        let session = found.session;
        match told {
            Ok(ended) => {
                record.end(Outcome::of(ended.reason));
                // Before its caller knows that it has ended, who may go on at once.
                let left = self.keep(&plan, session);
                // If nobody reads it, nobody needs it.
                let _ = tokio::join!(self.send(Event::Ended(ended)), close(left));
            }
            Err(broken) => {
                tokio::join!(self.end(record, broken), session.close());
            }
        }
    }

    /// Lets the session wait for the next turn; gives it back if it may not.
    fn keep(&self, plan: &ChoicePlan, session: Session) -> Option<Session> {
        match &plan.keep {
            Some(owner)
                if !self.answer.cancelled.is_cancelled() && self.may_wait(owner, &session) =>
            {
                let kept = self.gateway.kept();
                let left = kept.keep(owner, &self.answer.id, session);
                // Whoever cancelled it just now may have looked too early.
                if self.answer.cancelled.is_cancelled() {
                    kept.end(&self.answer.id, |_| true);
                }
                left
            }
            Some(_) | None => Some(session),
        }
    }

    /// Servers that list no codecs reserve all that a session may ever hold: it would keep others out while it waits.
    /// Whoever asked for certain servers is not to go on at those that took over.
    fn may_wait(&self, owner: &Owner, session: &Session) -> bool {
        let stats = session.stats();
        let view = &self.model.remote().view;
        let grows = |stop: &RouteStop| {
            let server = view.server(&stop.peer);
            server.is_some_and(|server| server.lists_codecs())
        };
        stats.route.iter().all(grows) && (owner.route.is_none() || stats.failovers == 0)
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

    async fn tell(
        &self,
        plan: &ChoicePlan,
        found: &mut Found,
        record: &mut GenerationRecord,
    ) -> Result<Ended, Broken> {
        let mut pace = Pace::default();
        let told = self.tell_pieces(plan, found, record, &mut pace).await;
        // Whoever cancelled it wants no more; an error comes after the text that was made before it.
        if !matches!(told, Err(Broken::Cancelled)) {
            self.send_held(&mut pace).await?;
        }
        told
    }

    /// The last pieces are left to `pace`.
    async fn tell_pieces(
        &self,
        plan: &ChoicePlan,
        found: &mut Found,
        record: &mut GenerationRecord,
        pace: &mut Pace,
    ) -> Result<Ended, Broken> {
        let choice = plan.choice;
        let before = found.session.stats();
        let route = before.route;
        self.answer.note(choice, |progress| {
            progress.stage = Stage::Prefill;
            progress.route = route;
        });
        let (mut held, prompt) = self.begin(plan, found, pace).await?;
        let Found {
            session, cached, ..
        } = found;
        if plan.config.max_tokens == 0 {
            return Ok(Ended {
                choice,
                reason: FinishReason::Length.as_str(),
                tokens: 0,
                cached: *cached,
                account: Account {
                    route: session.stats().route,
                    ..Account::default()
                },
            });
        }
        let mut first = None;
        let mut failovers = before.failovers;
        let mut generation = session.generate(prompt, plan.config.clone())?;
        loop {
            let next = room::step((&self.gateway, &self.model), generation.next());
            let Some(token) = self.while_sending(pace, next).await? else {
                break;
            };
            let token = token?;
            first.get_or_insert_with(|| plan.arrived.elapsed());
            record.token(token.took);
            let stats = generation.stats();
            self.answer.note(choice, |progress| {
                progress.stage = Stage::Generating;
                progress.tokens += 1;
                if stats.failovers != failovers {
                    progress.route = stats.route;
                }
            });
            failovers = stats.failovers;
            held.push(&token)?;
            if !token.text.is_empty() {
                let piece = Piece {
                    choice,
                    logprobs: held.take_with(&token.text),
                    text: token.text,
                };
                self.send_piece(pace, piece).await?;
            }
        }
        let finished = generation.finish();
        held.finish(&finished, &self.model.remote().local.eos);
        let logprobs = held.take_rest();
        if !logprobs.is_empty() {
            let piece = Piece {
                choice,
                text: String::new(),
                logprobs,
            };
            self.send_piece(pace, piece).await?;
        }
        let stats = session.stats();
        Ok(Ended {
            choice,
            reason: finished.reason.as_str(),
            tokens: finished.ids.len(),
            cached: *cached,
            account: Account {
                route: stats.route,
                first_token_ms: first.map(|first: Duration| first.as_secs_f64() * 1e3),
                tokens_per_second: finished.tokens_per_second(),
                // A session that waited has a past.
                failovers: stats.failovers - before.failovers,
            },
        })
    }

    /// What holds logarithms back until their text is certain, and the part of the prompt that is left to run: none where
    /// its own logarithms were asked for.
    async fn begin(
        &self,
        plan: &ChoicePlan,
        found: &mut Found,
        pace: &mut Pace,
    ) -> Result<(Held, Vec<u32>), Broken> {
        let texts = plan
            .config
            .logprobs
            .map(|_| TokenTexts::new(self.model.remote().local.tokenizer.clone()));
        let mut held = Held::new(texts, plan.prompt.last().copied());
        let mut prompt: Vec<u32> = plan.prompt.iter().skip(found.held).copied().collect();
        if let Some(text) = plan.echo.clone() {
            if let Some(top) = plan.config.logprobs {
                let logprobs = echo::logprobs(&mut found.session, &prompt, top);
                let logprobs = room::step((&self.gateway, &self.model), logprobs);
                held = held.after_echo(self.unless_cancelled(logprobs).await??);
                prompt.clear();
            }
            let piece = Piece {
                choice: plan.choice,
                logprobs: held.take_with(&text),
                text,
            };
            self.send_piece(pace, piece).await?;
        }
        Ok((held, prompt))
    }

    /// Sends a piece, or leaves it to `pace`.
    async fn send_piece(&self, pace: &mut Pace, piece: Piece) -> Result<(), Broken> {
        match pace.push(piece, Instant::now()) {
            Some(pieces) => self.send(Event::Pieces(pieces)).await,
            None => Ok(()),
        }
    }

    /// Sends what `pace` holds.
    async fn send_held(&self, pace: &mut Pace) -> Result<(), Broken> {
        match pace.due() {
            Some(_) => self.send(Event::Pieces(pace.take(Instant::now()))).await,
            None => Ok(()),
        }
    }

    /// Waits for `future`, and sends what `pace` holds when it is due.
    ///
    /// # Errors
    /// `Cancelled`; `future` is dropped then.
    async fn while_sending<T>(
        &self,
        pace: &mut Pace,
        future: impl Future<Output = T>,
    ) -> Result<T, Broken> {
        let mut future = pin!(self.unless_cancelled(future));
        while let Some(due) = pace.due() {
            tokio::select! {
                biased;
                output = &mut future => return output,
                () = sleep_until(due) => self.send_held(pace).await?,
            }
        }
        future.await
    }
}

async fn close(session: Option<Session>) {
    if let Some(session) = session {
        session.close().await;
    }
}
