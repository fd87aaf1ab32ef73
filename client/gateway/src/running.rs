//! The answers under way: who may be looked at, and cancelled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use block_client::RouteStop;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api_error::{ApiError, ErrorCode};

/// All answers under way, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Running {
    answers: Mutex<HashMap<String, Arc<RunningAnswer>>>,
    /// Sessions that are open or being opened, those of cancelled answers included.
    sessions: watch::Sender<usize>,
}

/// An answer under way.
#[derive(Debug)]
pub(crate) struct RunningAnswer {
    pub(crate) id: String,
    /// The name of who asked.
    pub(crate) caller: Arc<str>,
    pub(crate) model: String,
    pub(crate) began: Instant,
    pub(crate) prompt_tokens: usize,
    /// Ends its choices.
    pub(crate) cancelled: CancellationToken,
    /// Why it ended, if not by itself.
    why: OnceLock<ApiError>,
    choices: Mutex<Vec<Progress>>,
}

/// How far one choice is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    pub(crate) tokens: usize,
    pub(crate) route: Vec<RouteStop>,
}

/// What one choice does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Stage {
    /// Looks for servers.
    #[default]
    Opening,
    /// Servers read the prompt.
    Prefill,
    /// Tokens come.
    Generating,
    /// It has ended.
    Ended,
}

/// Keeps an answer in the list; its choices end when this is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) answer: Arc<RunningAnswer>,
    gateway: crate::Gateway,
}

/// Counts the session of a choice as open; the choice has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct CountedSession {
    gateway: crate::Gateway,
    answer: Arc<RunningAnswer>,
    choice: usize,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Prefill => "prefill",
            Self::Generating => "generating",
            Self::Ended => "ended",
        }
    }
}

impl Running {
    fn answers(&self) -> MutexGuard<'_, HashMap<String, Arc<RunningAnswer>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that hold sessions or wait for some, the oldest first. What has ended may still be read by somebody slow.
    pub(crate) fn all(&self) -> Vec<Arc<RunningAnswer>> {
        let mut all: Vec<_> = self.answers().values().cloned().collect();
        all.retain(|answer| answer.stage() != Stage::Ended);
        all.sort_by(|one, other| one.began.cmp(&other.began).then(one.id.cmp(&other.id)));
        all
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<RunningAnswer>> {
        self.answers().get(id).cloned()
    }

    /// Returns when no session is open.
    pub(crate) async fn idle(&self) {
        let mut sessions = self.sessions.subscribe();
        // The sender lives as long as this.
        let _ = sessions.wait_for(|count| *count == 0).await;
    }
}

impl RunningAnswer {
    /// Ends it with an error, unless it has one.
    pub(crate) fn cancel(&self, why: ApiError) {
        // The first reason counts.
        let _ = self.why.set(why);
        self.cancelled.cancel();
    }

    /// Why it ended without having been told to its end.
    pub(crate) fn why(&self) -> ApiError {
        let why = self.why.get().cloned();
        why.unwrap_or_else(|| {
            if self.cancelled.is_cancelled() {
                ApiError::new(ErrorCode::Cancelled, "the gateway is shutting down")
            } else {
                ApiError::new(
                    ErrorCode::InternalError,
                    "the answer broke off: a defect of this gateway",
                )
            }
        })
    }

    /// What the choice does that is furthest ahead, of those that have not ended.
    pub(crate) fn stage(&self) -> Stage {
        let choices = self.choices();
        let stages = choices.iter().map(|choice| choice.stage);
        let ahead = stages.filter(|stage| *stage != Stage::Ended).max();
        ahead.unwrap_or(Stage::Ended)
    }

    pub(crate) fn progress(&self) -> Vec<Progress> {
        self.choices().clone()
    }

    /// Notes what a choice does.
    pub(crate) fn note(&self, choice: usize, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = self.choices().get_mut(choice) {
            change(progress);
        }
    }

    fn choices(&self) -> MutexGuard<'_, Vec<Progress>> {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    /// Lists an answer with `choices` choices.
    ///
    /// # Errors
    /// The gateway stops.
    pub(crate) fn new(
        gateway: &crate::Gateway,
        (id, caller, model): (String, Arc<str>, &str),
        prompt_tokens: usize,
        choices: usize,
    ) -> Result<Self, ApiError> {
        if gateway.stopping().is_cancelled() {
            return Err(ApiError::new(
                ErrorCode::NoRoute,
                "the gateway is shutting down",
            ));
        }
        let answer = Arc::new(RunningAnswer {
            id: id.clone(),
            caller,
            model: model.to_owned(),
            began: Instant::now(),
            prompt_tokens,
            cancelled: gateway.stopping().child_token(),
            why: OnceLock::new(),
            choices: Mutex::new(vec![Progress::default(); choices]),
        });
        gateway.running().answers().insert(id, Arc::clone(&answer));
        Ok(Self {
            answer,
            gateway: gateway.clone(),
        })
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.answer.cancelled.cancel();
        self.gateway.running().answers().remove(&self.answer.id);
    }
}

impl CountedSession {
    pub(crate) fn new(
        gateway: &crate::Gateway,
        (answer, choice): (&Arc<RunningAnswer>, usize),
    ) -> Self {
        gateway.running().sessions.send_modify(|count| *count += 1);
        Self {
            gateway: gateway.clone(),
            answer: Arc::clone(answer),
            choice,
        }
    }
}

impl Drop for CountedSession {
    fn drop(&mut self) {
        self.answer
            .note(self.choice, |progress| progress.stage = Stage::Ended);
        self.gateway
            .running()
            .sessions
            .send_modify(|count| *count -= 1);
    }
}
