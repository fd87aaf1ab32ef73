//! Sessions of answers that ended well, which wait for the next turn of their conversation.
//!
//! They yield to whoever needs their place: servers give a client few sessions, and a cache is worth less than an answer.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use block_client::{Session, SessionPool, SessionPoolLimits};
use block_network::PeerId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::KeptSession;

/// How many sessions wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepConfig {
    /// Sessions at most; 0 keeps none. Default 4: half of what our servers give to one client unless told otherwise.
    pub sessions: usize,
    /// How long each may wait. Default 2 minutes: most people have answered by then, and Petals' servers end a session
    /// that sends nothing for 5.
    pub idle: Duration,
}

/// The sessions that wait.
#[derive(Debug)]
pub(crate) struct KeptSessions {
    pool: Arc<SessionPool<Whose>>,
    keeps_any: bool,
    /// Servers had no room for a session: until then none waits.
    crowded_until: Mutex<Option<Instant>>,
    tending: Once,
    stop: CancellationToken,
}

/// Who may go on in a session: the same caller with the same model. So nobody learns from an answer's speed what others
/// have asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) model: String,
    /// The name of the key.
    pub(crate) caller: Arc<str>,
    /// Of who has no key.
    pub(crate) address: Option<IpAddr>,
    /// The servers that were asked for.
    pub(crate) route: Option<Vec<PeerId>>,
}

/// What the pool knows a session by. Only the owner decides what is found.
#[derive(Debug)]
struct Whose {
    owner: Owner,
    /// The answer that it gave last, while it waits.
    waiting: Option<(String, KeptSession)>,
}

impl PartialEq for Whose {
    fn eq(&self, other: &Self) -> bool {
        self.owner == other.owner
    }
}

impl Default for KeepConfig {
    fn default() -> Self {
        Self {
            sessions: 4,
            idle: Duration::from_secs(120),
        }
    }
}

impl KeptSessions {
    /// None yet. All end with `stop`.
    pub(crate) fn new(config: KeepConfig, stop: CancellationToken) -> Self {
        let limits = SessionPoolLimits {
            max_sessions: config.sessions,
            max_idle: config.idle,
            ..SessionPoolLimits::default()
        };
        Self {
            pool: Arc::new(SessionPool::new(limits)),
            keeps_any: config.sessions > 0 && !config.idle.is_zero(),
            crowded_until: Mutex::new(None),
            tending: Once::new(),
            stop,
        }
    }

    /// Whether sessions wait at all here.
    pub(crate) fn keeps_any(&self) -> bool {
        self.keeps_any
    }

    /// A session that holds a beginning of `prompt` and has room for `length` tokens, and how many it holds.
    pub(crate) fn take(
        &self,
        owner: &Owner,
        prompt: &[u32],
        length: usize,
    ) -> Option<(Session, usize)> {
        if !self.keeps_any {
            return None;
        }
        let whose = Whose {
            owner: owner.clone(),
            waiting: None,
        };
        self.pool.take(&whose, prompt, length)
    }

    /// Lets the session of an answer wait; gives it back if it may not.
    pub(crate) fn keep(&self, owner: &Owner, answer: &str, session: Session) -> Option<Session> {
        if !self.keeps_any || self.is_crowded() || !session.is_usable() {
            return Some(session);
        }
        let (pool, stop) = (Arc::clone(&self.pool), self.stop.clone());
        self.tending.call_once(|| {
            // Ends with the gateway.
            tokio::spawn(async move { stop.run_until_cancelled(pool.expire()).await });
        });
        let whose = Whose {
            owner: owner.clone(),
            waiting: Some((answer.to_owned(), KeptSession::begin())),
        };
        self.pool.give_back(whose, session);
        if self.stop.is_cancelled() {
            self.end_all();
        }
        None
    }

    /// Ends the session that waits after an answer, if its owner `is_theirs`, and says whether there was one.
    pub(crate) fn end(&self, answer: &str, is_theirs: impl Fn(&str) -> bool) -> bool {
        let is_meant = |whose: &Whose| {
            let after = whose.waiting.as_ref().map(|(after, _)| after.as_str());
            after == Some(answer) && is_theirs(&whose.owner.caller)
        };
        self.pool.end_where(is_meant) > 0
    }

    /// Ends all.
    pub(crate) fn end_all(&self) {
        self.pool.end_where(|_| true);
    }

    /// Whether a session waits with a model.
    pub(crate) fn any_waits(&self, model: &str) -> bool {
        self.pool.holds(|whose| whose.owner.model == model)
    }

    /// Servers have no room: ends the sessions that wait with a model and keeps no others for a while. Says whether it
    /// ended any.
    pub(crate) fn make_room(&self, model: &str) -> bool {
        let ended = self.pool.end_where(|whose| whose.owner.model == model);
        if ended > 0 {
            tracing::debug!(model, ended, "kept sessions made room");
            *self.crowded() = Some(Instant::now() + CROWDED);
        }
        ended > 0
    }

    fn is_crowded(&self) -> bool {
        self.crowded().is_some_and(|until| Instant::now() < until)
    }

    fn crowded(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.crowded_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long no session waits after servers had no room: so that a crowd meets it once a minute, not at every answer.
const CROWDED: Duration = Duration::from_secs(60);
